"""Documents that change or break under a running sidecar, and the ways a sidecar ends: rows of the fault cases."""

import json
import signal
import threading
import time

import pytest
from support.fault_rig import FaultRig, backend_policy, request_of
from support.origin import Origin, ok
from support.processes import until
from support.wire import RawClient

REQUEST = b"GET /secret HTTP/1.1\r\nHost: server\r\n\r\n"
DENY = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: deny, namespace: default}
    spec: {action: DENY, rules: [{to: [{operation: {paths: ["/secret"]}}]}]}
"""
OPEN = """
    apiVersion: security.istio.io/v1
    kind: PeerAuthentication
    metadata: {name: mode, namespace: default}
    spec: {mtls: {mode: DISABLE}}
"""


@pytest.fixture(scope="module")
def steady(shared_mesh):
    """One that no test ends."""
    made = FaultRig(shared_mesh, {"plain": None})
    yield made
    made.close()


@pytest.fixture
def rig(mesh):
    made = FaultRig(mesh, {"plain": None})
    yield made
    made.close()


def test_fault_reload_policy(mesh):
    """A new rule holds for the next request of a connection that is open already."""
    mesh.policy("mode", OPEN)
    with Origin() as origin:
        sidecar = mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": origin.address}])
        with RawClient(sidecar.address("inbound-0")) as client:

            def status() -> int:
                answered = len(client.responses())
                client.send(REQUEST)
                assert client.read_until(lambda: len(client.responses()) > answered, 5)
                return client.responses()[-1][0]

            assert status() == 200
            mesh.policy("deny", DENY)
            until(lambda: status() == 403, 5, "the denial")
            origin.take()
            assert status() == 403
            assert not origin.take()


def refused(steady, name, text) -> str:
    """What the log says of a document that cannot be used, while requests go on."""
    place = len(steady.sidecar.log)
    steady.mesh.policy(name, text)
    until(lambda: "reload refused: documents" in steady.sidecar.log[place:], 15, "the refusal")
    assert steady.ask("plain", "/still").status == 200
    return steady.sidecar.log[place:]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (json.dumps(backend_policy("plain"))[:40], "rules.yaml"),
        (json.dumps(backend_policy("plain", colour="red")), "colour"),
        (json.dumps(backend_policy("plain", timeout=[])), "timeout"),
    ],
)
def test_fault_reload_partial_and_bad(steady, text, told):
    """What cannot be read changes nothing, says where it is wrong, and shows in a metric; what replaces it counts."""
    said = refused(steady, "rules", text)
    assert told in said
    assert "rules.yaml:1" in said
    until(lambda: "meshd_config_ok 0" in steady.admin("/metrics"), 10)
    steady.mesh.policy("rules", json.dumps(backend_policy("plain", timeout="3s")))
    until(lambda: "meshd_config_ok 1" in steady.admin("/metrics"), 10)
    assert steady.ask("plain", "/again").status == 200


@pytest.mark.parametrize("text", ["[" * 10_000, "- " * 10_000 + "x", "{a: " * 10_000])
def test_fault_recursion_deep(steady, text):
    path = steady.mesh.policies / "deep.yaml"
    try:
        assert "deep.yaml" in refused(steady, "deep", text)
        assert "Traceback" not in steady.sidecar.log
    finally:
        path.unlink()


def test_fault_sigterm_load(rig):
    """What is under way is finished, and its client is told that the connection ends."""
    began, go_on = threading.Semaphore(0), threading.Event()

    def work(wire, request):
        began.release()
        go_on.wait(10)
        wire.sock.sendall(ok(b"done"))

    rig.apps["plain"].on("/work", work)
    clients = [rig.connect() for _ in range(10)]
    idle = rig.connect()
    for client in clients:
        client.send(request_of("plain", "/work"))
    for _ in clients:
        assert began.acquire(timeout=5)
    rig.sidecar.signal(signal.SIGTERM)
    assert idle.read_until(lambda: idle.closed, 5)
    go_on.set()
    for client in clients:
        answer = rig.read(client)
        assert (answer.status, answer.body, answer.fields.get("connection")) == (200, b"done", "close")
    assert rig.sidecar.process.wait(5) == 0
    for client in (*clients, idle):
        client.sock.close()


def test_an_early_answer_leaves_nobody_waiting(rig):
    """Who reads the rest of an upload, and who lingers, wait on the same stream: neither is forgotten, so that the
    sidecar can end."""
    go_on = threading.Event()

    def early(wire, request):
        time.sleep(0.3)  # so that what it does not read fills the way up to it
        wire.sock.sendall(ok(b"early"))
        go_on.wait(10)

    rig.apps["plain"].on("/early", early, head=True)
    with rig.connect() as client:
        sending = threading.Thread(
            target=client.send, args=(request_of("plain", "/early", "POST", b"x" * 16 * 1024 * 1024),)
        )
        sending.start()
        assert rig.read(client).body == b"early"
        sending.join(10)
    go_on.set()
    rig.sidecar.signal(signal.SIGTERM)
    assert rig.sidecar.process.wait(5) == 0


def test_fault_sigkill(mesh):
    """Nothing that a killed sidecar leaves behind is in the way of the next one on the same port."""
    with Origin() as origin:
        mesh.entry("plain.test", origin.address)
        first = mesh.run("out", outbound=[{"listen": "127.0.0.1:0"}])
        address = first.address("outbound-0")
        first.kill_hard()
        second = mesh.run("out", outbound=[{"listen": address}])
        assert second.address("outbound-0") == address
        with RawClient(address) as client:
            client.send(request_of("plain", "/"))
            assert client.read_until(lambda: client.received.endswith(b"ok"), 5)


def test_fault_no_secrets(mesh):
    """Neither a key nor what a request proves itself with is in any log, at the level that tells most."""
    secrets = ("Bearer tell-nobody", "session=tell-nobody")
    with Origin() as origin:
        mesh.entry("plain.test", origin.address)
        log = mesh.folder / "access.log"
        telemetry = {"otlp": None, "accessLog": {"path": str(log)}}
        sidecar = mesh.run("out", "--log-level", "debug", outbound=[{"listen": "127.0.0.1:0"}], telemetry=telemetry)
        with RawClient(sidecar.address("outbound-0")) as client:
            fields = (f"Authorization: {secrets[0]}", f"Cookie: {secrets[1]}")
            client.send(request_of("plain", "/", "GET", b"", *fields))
            assert client.read_until(lambda: client.received.endswith(b"ok"), 5)
        assert origin.take()[0].header("authorization") == secrets[0]
        until(lambda: "plain.test" in log.read_text(), 5)
        key = (mesh.identity("out") / "tls.key").read_text().splitlines()[1]
        for text in (sidecar.log, log.read_text()):
            assert "tell-nobody" not in text
            assert key not in text
