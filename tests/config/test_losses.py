"""What a set of documents may lose: by deletion and on purpose, never by a copy that failed."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from meshd.config.errors import ConfigError
from meshd.config.load import load_policies
from meshd.config.losses import RESTRICTING, find_losses

NONE = "apiVersion: v1\nkind: List\nitems: []\n"
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {ports: [{port: 80}]}\n"
DENY = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: %s}
spec: {action: DENY, rules: [{}]}
"""
MODE = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: %s}\nspec: {mtls: {}}\n"
LIMIT = "apiVersion: meshd.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {name: %s}\nspec: {rules: [{requests: 1}]}\n"
FAULT = (
    "apiVersion: meshd.dev/v1alpha1\nkind: FaultPolicy\nmetadata: {name: %s}\nspec: {rules: [{abort: {status: 503}}]}\n"
)
EMPTY = ("", "\n", "# a comment\n", "---\n", "---\n# nothing\n---\n", "null\n")


class Served:
    """Two folders of documents, and the set that a sidecar would serve: the last one that was not refused."""

    def __init__(self, root: Path):
        self.root = root
        self.named = [root / "policies", root / "services"]
        for folder in self.named:
            folder.mkdir()
        self.write("services/reviews.yaml", SERVICE % "reviews")
        self.write("policies/allow.yaml", DENY % "first")
        self.documents = load_policies(self.named)
        self.refused = ""

    def write(self, name, text):
        (self.root / name).parent.mkdir(exist_ok=True, parents=True)
        (self.root / name).write_text(text)
        return self.root / name

    def reload(self, named=None):
        """Whether what is on disk is served now."""
        named = self.named if named is None else named
        try:
            documents = load_policies(named)
        except ConfigError as error:
            self.refused = str(error)
            return False
        self.refused = "\n".join(map(str, find_losses(self.documents, documents, named)))
        self.documents = self.documents if self.refused else documents
        return not self.refused

    def titles(self):
        return {each.title for each in self.documents.each()}


@pytest.fixture
def served(tmp_path):
    return Served(tmp_path)


@pytest.mark.parametrize("text", EMPTY)
def test_an_emptied_file_lifts_nothing(served, text):
    served.write("policies/deny.yaml", DENY % "second")
    assert served.reload()
    served.write("policies/deny.yaml", text)
    assert not served.reload()
    assert "policies/deny.yaml:1:1: expected a document" in served.refused
    served.write("policies/deny.yaml", NONE)
    assert served.reload()
    assert "AuthorizationPolicy default/second" not in served.titles()


def test_one_file_that_goes_is_a_deletion(served):
    file = served.write("policies/deny.yaml", DENY % "second")
    assert served.reload()
    file.unlink()
    assert served.reload()
    assert len(served.documents) == 2


def test_an_emptied_folder_lifts_nothing(served):
    (served.root / "policies" / "allow.yaml").unlink()
    assert not served.reload()
    assert f"{served.root}/policies: the folder holds no document any more; AuthorizationPolicy" in served.refused
    served.write("policies/none.yaml", NONE)
    assert served.reload()
    assert len(served.documents) == 1


def test_endpoints_are_not_lost_with_an_emptied_folder_either(served):
    (served.root / "services" / "reviews.yaml").unlink()
    assert not served.reload()


def test_a_folder_within_that_was_emptied_is_missed_and_one_that_was_removed_is_not(served):
    file = served.write("policies/team/deny.yaml", DENY % "second")
    assert served.reload()
    file.unlink()  # as a mount that goes leaves its folder
    assert not served.reload()
    file.parent.rmdir()
    assert served.reload()


def test_a_folder_in_the_place_of_a_file_is_no_deletion(served):
    """What containers make of a mount whose file is not there."""
    file = served.write("policies/deny.yaml", DENY % "second")
    assert served.reload()
    file.unlink()
    file.mkdir()
    assert not served.reload()
    assert f"{file}: the folder holds no document any more" in served.refused


def test_what_moved_is_not_lost(served):
    served.write("services/allow.yaml", (served.root / "policies" / "allow.yaml").read_text())
    (served.root / "policies" / "allow.yaml").unlink()
    assert served.reload()


@pytest.mark.parametrize("text", [DENY, MODE, LIMIT])
def test_the_last_of_a_kind_that_restricts_is_given_up_on_purpose_only(tmp_path, text):
    served = Served(tmp_path)
    served.write("policies/allow.yaml", FAULT % "slow")
    served.documents = load_policies(served.named)
    file = served.write("policies/one.yaml", text % "one")
    assert served.reload()
    file.unlink()
    assert not served.reload()
    kind = text.split("kind: ")[1].split("\n")[0]
    assert f"the last {kind} is gone" in served.refused
    assert f"kind: {kind}List" in served.refused
    served.write("policies/none.yaml", f"apiVersion: v1\nkind: {kind}List\nitems: []\n")
    assert served.reload()


def test_a_kind_that_restricts_nothing_just_goes(served):
    file = served.write("policies/fault.yaml", FAULT % "slow")
    assert served.reload()
    file.unlink()
    assert served.reload()


def test_a_typed_list_is_about_its_kind_alone(served):
    served.write("policies/mode.yaml", MODE % "mode")
    assert served.reload()
    served.write("policies/mode.yaml", "apiVersion: v1\nkind: AuthorizationPolicyList\nitems: []\n")
    assert not served.reload()
    assert "the last PeerAuthentication" in served.refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: AuthorizationPolicieList\nitems: []\n", "did you mean 'AuthorizationPolicyList'?"),
        ("apiVersion: v1\nkind: Lits\nitems: []\n", "expected a known kind"),
        ("kind: List\nitems:\n", "required: the apiVersion"),
        ("apiVersion: v1\nkind: List\nitems:\n", "expected a known kind"),
        ("items: []\n", "required: the kind"),
    ],
)
def test_what_almost_says_that_there_is_none_says_nothing(served, text, said):
    served.write("policies/deny.yaml", text)
    assert not served.reload()
    assert said in served.refused


def test_what_the_bootstrap_no_longer_names_is_gone_on_purpose(served):
    assert served.reload(named=[served.root / "services"])
    assert served.titles() == {"Service default/reviews"}


def test_a_named_folder_that_is_gone_is_missed_though_a_default_may_be_absent(served):
    shutil.rmtree(served.root / "policies")
    found = load_policies([served.root / "services"])  # what loading makes of a default that is not there
    [emptied, last] = find_losses(served.documents, found, served.named)
    assert emptied.file == str(served.root / "policies")
    assert last.document == "AuthorizationPolicy default/first"


def test_the_swap_of_a_mounted_config_map_is_one_change(tmp_path):
    def publish(version, **texts):
        folder = served.root / "policies" / f"..{version}"
        folder.mkdir()
        for name, text in texts.items():
            (folder / f"{name}.yaml").write_text(text)
        os.symlink(folder.name, folder.parent / "..data_tmp")
        os.replace(folder.parent / "..data_tmp", folder.parent / "..data")

    served = Served(tmp_path)
    (served.root / "policies" / "allow.yaml").unlink()
    publish("1", allow=DENY % "first", deny=DENY % "second")
    for name in ("allow", "deny"):
        os.symlink(f"..data/{name}.yaml", served.root / "policies" / f"{name}.yaml")
    assert served.reload()
    publish("2", allow=DENY % "first", deny="")
    assert not served.reload()  # a key with nothing in it
    publish("3", allow=DENY % "first")
    assert not served.reload()  # its link still stands
    (served.root / "policies" / "deny.yaml").unlink()
    assert served.reload()
    assert len(served.documents) == 2


@pytest.mark.parametrize("kind", ["", "AuthorizationPolicy"])
def test_a_list_that_stood_beside_policies_never_spoke_of_them(served, kind):
    """Whoever keeps an otherwise empty folder with one did not mean the policies of another."""
    served.write("services/team/none.yaml", f"kind: {kind}List\nitems: []\n")
    assert served.reload()
    (served.root / "policies" / "allow.yaml").rename(served.root / "aside")
    assert not served.reload()
    assert "the last AuthorizationPolicy is gone" in served.refused
    warned = [each.expected for each in served.documents.problems]
    told = "an empty AuthorizationPolicyList says that there is none, and there is AuthorizationPolicy default/first"
    assert warned == ([told] if kind else [])
    (served.root / "aside").rename(served.root / "policies" / "allow.yaml")
    assert served.reload()
    (served.root / "policies" / "allow.yaml").write_text("kind: PeerAuthenticationList\nitems: []\n")
    assert not served.reload()
    other = "List" if kind else "AuthorizationPolicyList"
    (served.root / "policies" / "allow.yaml").write_text(f"kind: {other}\nitems: []\n")
    assert served.reload()


def test_a_bootstrap_that_points_where_nothing_is_loses_policies_by_accident(served):
    (served.root / "polices").mkdir()
    assert not served.reload(named=[served.root / "polices"])
    assert "the last AuthorizationPolicy is gone" in served.refused
    assert served.reload(named=[])  # nothing is named: nothing is meant


NAMES = st.sampled_from(["policies/a.yaml", "policies/b.yaml", "policies/team/c.yaml", "services/d.yaml"])
TEXTS = st.sampled_from([SERVICE, DENY, MODE, LIMIT, FAULT])


class Accidents(RuleBasedStateMachine):
    """Files that come, go, are emptied, swapped, linked and cut, one after the other, and what is served meanwhile."""

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="meshd-losses-"))
        self.served = Served(self.root)

    def teardown(self):
        shutil.rmtree(self.root)

    def files(self):
        return sorted(path for path in self.root.rglob("*.yaml") if path.is_file())

    def accident(self, happens, undo):
        """It changes nothing, and is over when it is undone."""
        before = self.served.documents
        happens()
        assert not self.served.reload()
        assert self.served.documents is before
        undo()
        assert self.served.reload()
        assert self.served.documents.digest == before.digest

    def pick(self, data):
        return data.draw(st.sampled_from(self.files()))

    @rule(name=NAMES, texts=st.lists(TEXTS, min_size=1, max_size=3, unique=True))
    def write(self, name, texts):
        documents = [text % f"x-{name.replace('/', '-').removesuffix('.yaml')}" for text in texts]
        self.change(lambda: self.served.write(name, "---\n".join(documents)))

    @rule(data=st.data())
    @precondition(lambda self: self.files())
    def delete(self, data):
        self.change(self.pick(data).unlink)

    @rule(data=st.data())
    @precondition(lambda self: len(self.files()) > 1)
    def swap(self, data):
        one, other = self.pick(data), self.pick(data)
        texts = one.read_text(), other.read_text()
        titles = self.served.titles()
        other.write_text(texts[0])
        one.write_text(texts[1])
        assert self.served.reload()
        assert self.served.titles() == titles

    @rule(data=st.data(), text=st.sampled_from(EMPTY))
    @precondition(lambda self: self.files())
    def empty(self, data, text):
        file = self.pick(data)
        before = file.read_text()
        self.accident(lambda: file.write_text(text), lambda: file.write_text(before))

    @rule(data=st.data())
    @precondition(lambda self: self.files())
    def link_to_nowhere(self, data):
        file = self.pick(data)
        aside = file.with_suffix(".aside")

        def happens():
            file.rename(aside)
            os.symlink("nowhere.yaml", file)

        self.accident(happens, lambda: aside.rename(file))

    @rule(folder=st.sampled_from(["policies", "services"]), leave=st.booleans())
    def take_the_folder(self, folder, leave):
        if not any(self.root / folder in file.parents for file in self.files()):
            return
        path, aside = self.root / folder, self.root / "aside"

        def happens():
            path.rename(aside)
            if leave:
                path.mkdir()

        def undo():
            if leave:
                path.rmdir()
            aside.rename(path)

        self.accident(happens, undo)

    @rule(data=st.data(), share=st.floats(0.05, 0.95))
    @precondition(lambda self: self.files())
    def cut(self, data, share):
        """Half a file may be valid by chance; then it is a change like any other."""
        file = self.pick(data)
        before = file.read_text()
        self.change(lambda: file.write_text(before[: int(len(before) * share)]))

    @rule(kind=st.sampled_from(["", *RESTRICTING]))
    def say_none(self, kind):
        self.change(lambda: self.served.write("policies/none.yaml", f"kind: {kind}List\nitems: []\n"))
        (self.root / "policies" / "none.yaml").unlink(missing_ok=True)
        self.settle()

    def change(self, happens):
        """What somebody may have meant: served or refused, but never the loss of a kind that nobody wrote down."""
        kept = {file: file.read_text() for file in self.files()}
        before = {each.model.kind for each in self.served.documents.each()}
        happens()
        if not self.served.reload():
            assert self.served.refused
            for file in self.files():
                file.unlink()
            for file, text in kept.items():
                file.parent.mkdir(exist_ok=True)
                file.write_text(text)
            assert self.served.reload()
            return
        after = {each.model.kind for each in self.served.documents.each()}
        written = self.served.documents.empty_lists
        assert "List" in written or not (before - after - written) & set(RESTRICTING)

    def settle(self):
        """Without the list that said so, what is gone is gone."""
        self.served.reload()

    @invariant()
    def what_is_served_is_what_is_on_disk(self):
        assert not self.served.refused, self.served.refused


Accidents.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
TestAccidents = pytest.mark.slow(Accidents.TestCase)
