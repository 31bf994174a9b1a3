"""Policies that vanish from the disk of a running sidecar: what was denied stays denied, and it says so."""

import contextlib
import json
import os
import signal
import urllib.error
import urllib.request

import pytest
from support.origin import Origin
from support.processes import Sidecar, until

ALLOW = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: everybody, namespace: default}
    spec: {rules: [{}]}
"""
DENY = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: no-secrets, namespace: default}
    spec: {action: DENY, rules: [{to: [{operation: {paths: ["/secret"]}}]}]}
"""
PLAIN = """
    apiVersion: security.istio.io/v1
    kind: PeerAuthentication
    metadata: {name: plain, namespace: default}
    spec: {mtls: {mode: DISABLE}}
"""
NONE = "apiVersion: v1\nkind: List\nitems: []\n"


class Guarded:
    """A sidecar with a DENY, without certificates."""

    def __init__(self, mesh, app):
        self.mesh = mesh
        for name, text in (("plain", PLAIN), ("allow", ALLOW), ("deny", DENY)):
            mesh.policy(name, text)
        self.sidecar = mesh.run("svc", identity=None, inbound=[{"listen": "127.0.0.1:0", "app": app}])

    def ask(self, path):
        try:
            with urllib.request.urlopen(f"http://{self.sidecar.address('inbound-0')}{path}", timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def page(self, path):
        with urllib.request.urlopen(f"http://{self.sidecar.address('admin')}{path}", timeout=10) as answer:
            return answer.read().decode()

    def refuses(self):
        return "documents on disk refused" in self.page("/ready")

    def wait_refused(self):
        until(self.refuses, 30, "the refusal")
        assert "meshd_config_ok 0" in self.page("/metrics")
        assert (self.ask("/secret"), self.ask("/open")) == (403, 200)

    def controller(self):
        return json.loads(self.page("/server_info"))["controller"]["pid"]

    def next_controller(self):
        """End the one that runs, and wait for its successor."""
        before = self.controller()
        os.kill(before, signal.SIGKILL)
        until(lambda: self.controller() != before, 30, "the next controller")

    def wait_taken(self):
        until(lambda: not self.refuses(), 30, "the documents to be taken")


@pytest.fixture
def guarded(mesh):
    with Origin() as origin:
        yield Guarded(mesh, origin.address)


def test_an_emptied_policy_keeps_denying_also_under_the_next_controller(guarded):
    deny = guarded.mesh.policies / "deny.yaml"
    assert (guarded.ask("/secret"), guarded.ask("/open")) == (403, 200)
    deny.write_text("")
    guarded.wait_refused()
    guarded.next_controller()
    guarded.wait_refused()
    guarded.mesh.policy("deny", NONE)
    until(lambda: guarded.ask("/secret") == 200, 30, "the list that says none")
    guarded.wait_taken()


def test_what_was_given_at_runtime_is_kept_by_the_next_controller_when_the_folder_looks_as_at_the_start(mesh):
    with Origin() as origin:
        guarded = Guarded(mesh, origin.address)
        limit = (
            "apiVersion: meshd.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {name: few}\n"
            "spec: {rules: [{requests: 1, per: hour}]}\n"
        )
        path = mesh.policy("limit", limit)
        until(lambda: guarded.ask("/open") == 429, 30, "the limit")
        path.unlink()
        until(guarded.refuses, 30, "the refusal")
        guarded.next_controller()
        until(guarded.refuses, 30, "the refusal, said again")
        assert guarded.ask("/open") == 429


def test_a_policy_that_is_cut_off_keeps_denying_and_admitting(guarded):
    """Without its spec it would be one that admits nobody."""
    deny = guarded.mesh.policies / "deny.yaml"
    whole = deny.read_text()
    deny.write_text(whole[: whole.index("spec:") - 1])
    guarded.wait_refused()
    deny.write_text(whole)
    guarded.wait_taken()


def test_an_emptied_folder_keeps_what_it_held(guarded):
    kept = {path: path.read_text() for path in guarded.mesh.policies.iterdir()}
    for path in kept:
        path.unlink()
    guarded.wait_refused()
    for path, text in kept.items():
        path.write_text(text)
    guarded.wait_taken()
    assert guarded.ask("/secret") == 403


def test_a_policy_that_moved_to_another_folder_is_missed_there(guarded):
    """That it moved is no change of what the documents say."""
    team = guarded.mesh.policies / "team"
    team.mkdir()
    (guarded.mesh.policies / "deny.yaml").rename(team / "deny.yaml")
    until(lambda: "team/deny.yaml" in guarded.page("/config_dump"), 30, "the move")
    (team / "deny.yaml").unlink()
    guarded.wait_refused()
    team.rmdir()  # a folder that is removed was meant to be
    until(lambda: guarded.ask("/secret") == 200, 30, "the deletion")


def test_one_policy_of_several_can_be_deleted(guarded):
    assert guarded.ask("/secret") == 403
    (guarded.mesh.policies / "deny.yaml").unlink()
    until(lambda: guarded.ask("/secret") == 200, 30, "the deletion")
    assert not guarded.refuses()


def test_a_new_bootstrap_loses_nothing_either(guarded):
    """The controller of the new processes would have nothing to compare with."""
    document = guarded.sidecar.ready_file.with_name("svc.proxy.yaml")
    bootstrap = json.loads(document.read_text())
    (guarded.mesh.policies / "deny.yaml").write_text("# was here\n")
    bootstrap["spec"]["drain"] = "7s"
    document.write_text(json.dumps(bootstrap))
    guarded.sidecar.signal(signal.SIGHUP)
    until(lambda: "bootstrap on disk refused" in guarded.page("/ready"), 30, "the refusal")
    assert guarded.ask("/secret") == 403


def test_the_default_folder_counts_once_it_is_there_and_is_missed_when_it_goes(mesh):
    """Who names no policies has those beside the document, if there are any: none at first, and then a DENY."""
    with Origin() as origin:
        mesh.policies.rename(mesh.folder / "away")
        document = mesh.document("svc", inbound=[{"listen": "127.0.0.1:0", "app": origin.address}])
        bootstrap = json.loads(document.read_text())
        del bootstrap["spec"]["policies"]
        document.write_text(json.dumps(bootstrap))
        sidecar = Sidecar(document)
        mesh.sidecars.append(sidecar)
        sidecar.wait_ready()

        def served():
            with urllib.request.urlopen(f"http://{sidecar.address('admin')}/config_dump", timeout=10) as answer:
                return len(json.load(answer)["documents"])

        def ready():
            with urllib.request.urlopen(f"http://{sidecar.address('admin')}/ready", timeout=10) as answer:
                return answer.read().decode()

        assert served() == 0
        (mesh.folder / "away").rename(mesh.policies)
        mesh.policy("deny", DENY)
        sidecar.signal(signal.SIGHUP)

        def taken():
            with contextlib.suppress(KeyError, StopIteration, FileNotFoundError):
                sidecar.told = json.loads(sidecar.ready_file.read_text())  # the admin page may have another port now
            return served() == 1

        until(taken, 30, "the folder to be read")
        mesh.policies.rename(mesh.folder / "away")
        sidecar.signal(signal.SIGHUP)
        until(lambda: "refused" in ready(), 30, "the refusal")
        assert served() == 1
