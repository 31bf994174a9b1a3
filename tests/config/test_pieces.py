"""A file read in pieces says what it says as a whole, to the line; of one that changed only the changes are read."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from meshd.config import pieces as module
from meshd.config.errors import ConfigError
from meshd.config.load import load_policies
from meshd.config.pieces import Pieces
from meshd.config.yaml_file import parse

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {ports: [{port: 80}]}\n"
PARTS = [
    SERVICE % "a",
    SERVICE % "b",
    "# a comment\n" + SERVICE % "c" + "\n\n",
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n",  # a warning
    "apiVersion: v1\nkind: List\nitems:\n- " + (SERVICE % "d").replace("\n", "\n  ") + "\n",
    "apiVersion: v1\nkind: ServiceList\nitems: []\n",
    "# nothing\n",
    "",
    "apiVersion: v1\nkind: Service\nmetadata: {name: e}\nspec: {ports: [{port: x}]}\n",  # a mistake
    (SERVICE % "f").replace("{name: f}", '{name: f, annotations: {a: "one\n\n  two"}}'),
    "a: [1\n",
    'b: "never closed\n',
    "text: |\n  ---\n  no end\n",
    "...\n",
    "%YAML 1.2\n",
    "a: *unknown\n",
    "a: &x 1\nb: *x\n",
    "a: 1\na: 2\n",
    "{apiVersion: v1, kind: Service, metadata: {name: g},\r\nspec: {ports: [{port: 1}]}}\r\n",
    "apiVersion: v1\rkind: Service\n",
]
CUTS = ["---\n", "--- # more\n", "---\r\n", "---   \n", " ---\n", "--- "]
TEXTS = st.lists(st.tuples(st.sampled_from(CUTS), st.sampled_from(PARTS)), max_size=5).map(
    lambda found: "".join(cut + part for cut, part in found)
)


def told(path, pieces=None):
    """Everything that can be told of a load: documents and where they stand, warnings, or every mistake."""
    try:
        documents = load_policies([path], pieces)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    places = [(each.title, each.where(), each.where(("spec", "ports", 0, "port"))) for each in documents.each()]
    return places, [str(problem) for problem in documents.problems], documents.digest, documents.empty_lists, documents


def whole(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module, "_cut", lambda content: [content])
        return told(path)


@given(st.tuples(st.sampled_from(PARTS), TEXTS).map("".join), TEXTS)
def test_pieces_say_what_the_whole_says(tmp_path_factory, first, second):
    texts = [text.encode() for text in (first, first + second, second)]
    assume(not any(module._is_cut_off(text, before) for text in texts for before in texts))
    path = tmp_path_factory.mktemp("pieces") / "a.yaml"
    pieces = Pieces()
    with pytest.MonkeyPatch.context() as monkeypatch:
        for text in (first, first + second, second, first):
            path.write_bytes(text.encode())
            assert told(path, pieces) == whole(path, monkeypatch)


def services(*names):
    return "---\n".join(SERVICE % name for name in names)


def test_of_a_large_file_only_what_changed_is_read(tmp_path):
    path, pieces = tmp_path / "a.yaml", Pieces()
    names = [f"s{number}" for number in range(50)]
    path.write_text(services(*names))
    before = {each.title: each.model for each in load_policies([path], pieces).each()}
    assert pieces.read == 50
    path.write_text("# longer\n" + services(*names[:20], "new", *names[21:]))
    after = load_policies([path], pieces)
    assert pieces.read == 52  # the first has another head
    assert [each.title for each in after.each() if before.get(each.title) is not each.model] == ["Service default/new"]
    lines = path.read_text().splitlines()
    assert all(f"name: {each.model.name}}}" in lines[each.where(("metadata", "name"))[1] - 1] for each in after.each())
    load_policies([path], pieces)
    assert pieces.read == 52


def test_what_says_the_same_is_the_same_model_wherever_it_stands(tmp_path):
    pieces = Pieces()
    (tmp_path / "a.yaml").write_text(services("a", "b"))
    first = load_policies([tmp_path], pieces)
    (tmp_path / "a.yaml").unlink()
    (tmp_path / "b.yaml").write_text(
        "# moved\n"
        + services("b")
        + "---\n{kind: Service, apiVersion: v1, "
        + ("metadata: {name: a, resourceVersion: '7'}, spec: {ports: [{port: 80}]}}")
    )
    second = load_policies([tmp_path], pieces)
    assert [each.model for each in second.services] == [each.model for each in first.services]
    assert all(one.model is other.model for one, other in zip(first.services, second.services, strict=True))
    assert [each.where()[:2] for each in second.services] == [(str(tmp_path / "b.yaml"), line) for line in (7, 2)]


def test_what_was_read_of_the_rest_outlives_a_mistake(tmp_path):
    path, pieces = tmp_path / "a.yaml", Pieces()
    path.write_text(services("a", "b", "c"))
    load_policies([path], pieces)
    read = pieces.read
    path.write_text(services("a", "b", "c") + "---\nkind: [\n")
    with pytest.raises(ConfigError):
        load_policies([path], pieces)
    path.write_text(services("a", "b", "c"))
    load_policies([path], pieces)
    assert pieces.read - read == 2  # the piece that is wrong, and then the whole file


def test_a_file_has_no_more_values_in_pieces_than_as_a_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.yaml"
    path.write_text(services("a", "b", "c"))
    nodes = sum(text.nodes for text in parse(path.read_bytes(), "a.yaml")[0])
    for most, is_refused in ((nodes, False), (nodes - 1, True)):
        for where in (module, __import__("meshd.config.yaml_file", fromlist=["parse"])):
            monkeypatch.setattr(where, "MAX_NODES", most)
        assert isinstance(told(path), list) is is_refused


DENY = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: no-admin
spec:
  action: DENY
  rules:
  - to:
    - operation:
        paths:
        - /private
        - /admin
"""


def test_a_file_that_was_cut_off_is_no_policy_of_less(tmp_path):
    """Wherever the end is missing: of some beginnings YAML would make a policy that admits nobody, or one that denies
    other paths."""
    file = tmp_path / "a.yaml"
    pieces = Pieces()
    for before in (DENY, SERVICE % "a" + "---\n" + DENY):
        file.write_text(before)
        served = told(tmp_path, pieces)
        for end in range(1, len(before) - 1):
            if before[end - 1] == "\n":
                continue  # whole lines may have been meant
            file.write_text(before[:end])
            [said] = told(tmp_path, pieces)
            assert said.endswith("it was cut off; write it again, with a line break at its end")
        file.write_text(before.rstrip("\n"))
        assert told(tmp_path, pieces)[2] == served[2]


def test_what_is_shorter_and_no_beginning_of_what_was_is_a_change(tmp_path):
    file = tmp_path / "a.yaml"
    pieces = Pieces()
    file.write_text(SERVICE % "longer")
    told(tmp_path, pieces)
    file.write_text((SERVICE % "b").rstrip("\n"))
    assert told(tmp_path, pieces)[0][0][0] == "Service default/b"


def test_mistakes_that_follow_each_other_are_not_kept(tmp_path):
    file = tmp_path / "a.yaml"
    pieces = Pieces()
    file.write_text(SERVICE % "a")
    told(tmp_path, pieces)
    sizes = set()
    for number in range(5):
        file.write_text(f"mistake: {number}\n---\n" + SERVICE % "a")
        assert len(told(tmp_path, pieces)) == 1
        sizes.add(len(pieces._known))
    assert len(sizes) == 1
    file.write_text(SERVICE % "a")
    before = pieces.read
    told(tmp_path, pieces)
    assert pieces.read == before
