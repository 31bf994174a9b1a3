"""`meshd run -f proxy.yaml -- app`: an app inside its sidecar, from the first octet it sends to its exit code."""

import contextlib
import http.client
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest
from support.origin import Origin, ok
from support.processes import Sidecar, free_port, until

APP = Path(__file__).with_name("app.py")
PLAIN = """
    apiVersion: security.istio.io/v1
    kind: PeerAuthentication
    metadata: {name: plain, namespace: default}
    spec: {mtls: {mode: DISABLE}}
    ---
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: everybody, namespace: default}
    spec: {rules: [{}]}
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: warm, namespace: default}
    spec:
      targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: reviews-test}]
      warm: {mode: eager, min: 3}
"""


class Around:
    """An origin that notes how many connections it had at each request, and sidecars around apps that call it."""

    def __init__(self, mesh, origin):
        self.mesh = mesh
        self.folder = mesh.folder
        self.connections = {}
        self.origin = origin
        origin.behave = self._answer
        mesh.policy("plain", PLAIN)
        mesh.entry("reviews.test", origin.address)

    def _answer(self, wire, request):
        self.connections[request.target] = self.origin.connections
        wire.sock.sendall(ok())

    def start(self, *command, app_port=9, **spec):
        """A sidecar around this command, not waited for."""
        document = self.mesh.document(
            "orders",
            inbound=[{"listen": "127.0.0.1:0", "app": f"127.0.0.1:{app_port}"}],
            outbound=[{"listen": "127.0.0.1:0"}],
            **spec,
        )
        sidecar = Sidecar(document, "--", *map(str, command), env={"APP_PORT": str(app_port)})
        self.mesh.sidecars.append(sidecar)
        return sidecar

    def start_app(self, **spec):
        """A sidecar around the app beside this file, which serves."""
        ready = self.folder / "orders.proxy.ready.json"
        sidecar = self.start(sys.executable, APP, ready, self.folder, app_port=free_port(), **spec)

        def up():
            assert sidecar.process.poll() is None, sidecar.log
            return (self.folder / "up").exists()

        until(up, 20, "the app")
        return sidecar.wait_ready()

    def note(self, name):
        """What the app has noted under this name, once it has."""
        return until(lambda: (found := self.folder / name).exists() and (found.read_text() or " "), 20, name)


@pytest.fixture
def around(mesh):
    with Origin() as origin:
        yield Around(mesh, origin)


def get(address, path="/"):
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request("GET", path, headers={"host": "orders.test"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def ready(sidecar):
    connection = http.client.HTTPConnection(sidecar.address("admin"), timeout=30)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status
    finally:
        connection.close()


def is_refused(address):
    host, _, port = address.rpartition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) != 0


def test_the_first_thing_an_app_does_works(around):
    sidecar = around.start_app()
    assert around.note("first") == "200"
    assert around.connections["/first"] >= 3  # the warm floor was there before the app was
    assert get(sidecar.address("inbound-0")) == (200, b"done")
    assert ready(sidecar) == 200


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_app_that_is_told_to_end_finishes_what_it_does_and_may_still_call_out(around, number):
    sidecar = around.start_app(drain="20s")
    address, answers = sidecar.address("inbound-0"), []
    asking = threading.Thread(target=lambda: answers.append(get(address, "/slow")))
    asking.start()
    until(lambda: around.note("asked") == "/slow", 10, "the slow request")
    sidecar.signal(number)
    assert around.note("signal") == str(int(number))
    assert around.note("last") == "200"
    until(lambda: ready(sidecar) == 503, 10, "who sends traffic to know")
    (around.folder / "go").touch()
    asking.join(20)
    assert answers == [(200, b"done")]
    assert sidecar.process.wait(20) == 40
    assert is_refused(address)
    assert not sidecar.ready_file.exists()


def test_an_app_that_waits_for_its_connections_is_not_kept_waiting_by_ours(around):
    """Python's own server, for one, closes only when whoever keeps a connection to it has let go."""
    sidecar = around.start_app(drain="60s")
    assert get(sidecar.address("inbound-0")) == (200, b"done")
    sidecar.signal(signal.SIGTERM)
    assert sidecar.process.wait(30) == 40


def test_a_reload_is_not_the_end_of_the_app(around):
    """SIGHUP means reload to us, and death to an app that does not handle it: it is not passed on."""
    sidecar = around.start_app()
    sidecar.signal(signal.SIGHUP)
    until(lambda: "reload" in sidecar.log, 10, "the reload")
    assert get(sidecar.address("inbound-0")) == (200, b"done")
    assert not (around.folder / "signal").exists()


def test_what_only_the_app_understands_is_passed_on(around):
    sidecar = around.start_app()
    sidecar.signal(signal.SIGUSR2)
    assert around.note("signal") == str(int(signal.SIGUSR2))
    assert get(sidecar.address("inbound-0")) == (200, b"done")


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 128 + signal.SIGTERM), ("exit 255", 255)]
)
def test_the_exit_code_is_the_apps(around, script, code):
    assert around.start("sh", "-c", script).process.wait(20) == code


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [("no-such-app", 127, "no-such-app: command not found"), ("{folder}/text", 126, "text: Permission denied")],
)
def test_an_app_that_cannot_start_is_one_line_and_a_code(around, command, code, told):
    (around.folder / "text").write_text("no program")
    sidecar = around.start(command.format(folder=around.folder), "argument")
    assert sidecar.process.wait(20) == code
    assert [line for line in sidecar.log.splitlines() if told in line]
    assert "Traceback" not in sidecar.log


def test_no_app_without_its_sidecar(around):
    proof = around.folder / "ran"
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = f"127.0.0.1:{holder.getsockname()[1]}"
        sidecar = around.start("touch", proof, admin={"listen": taken})
        assert sidecar.process.wait(20) == 1
    assert f"cannot listen on {taken}" in sidecar.log
    assert not proof.exists()


@pytest.mark.slow
def test_an_app_that_does_not_end_is_killed_when_the_drain_is_over(around):
    script = f'trap "" TERM; touch {around.folder}/up; while :; do sleep 0.02; done'
    sidecar = around.start("sh", "-c", script, drain="300ms")
    around.note("up")
    sidecar.signal(signal.SIGTERM)
    assert sidecar.process.wait(20) == 128 + signal.SIGKILL
    assert "did not end in time" in sidecar.log


def test_an_app_does_not_outlive_a_sidecar_that_was_killed(around):
    sidecar = around.start_app()
    app = os.pidfd_open(int(around.note("up")))
    try:
        sidecar.kill_hard()
        assert around.note("signal") == str(int(signal.SIGTERM))
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(app, signal.SIGKILL)
        os.close(app)
