"""A reload of the bootstrap, which puts new processes in the place of the old ones, and the clients that were there."""

import contextlib
import json
import signal
import threading
import time
import urllib.request

import pytest
from support.origin import Origin, ok
from support.processes import until
from support.wire import RawClient

DRAIN = 6.0  # seconds
POST = "POST /{} HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\n\r\nbody"


class Reloading:
    """A sidecar before an app, whose bootstrap changes when a test says so."""

    def __init__(self, mesh, origin):
        self.mesh, self.origin = mesh, origin
        mesh.entry("app.test", origin.address)
        self.sidecar = mesh.run("client", **self._spec(1.0, "127.0.0.1:0"))
        self.address = self.sidecar.address("outbound-0")

    def _spec(self, sampling, listen):
        telemetry = {"otlp": None, "sampling": sampling, "accessLog": None}
        return {"outbound": [{"listen": listen}], "telemetry": telemetry, "drain": f"{DRAIN:.0f}s", "workers": 2}

    def workers(self):
        with urllib.request.urlopen(f"http://{self.sidecar.address('admin')}/server_info") as answer:
            return {each["pid"] for each in json.load(answer)["workers"]}

    def reload(self):
        """Another bootstrap; returns when the new processes serve and the old ones have been told to leave."""
        before = self.workers()
        self.mesh.document("client", **self._spec(0.5, self.address), admin={"listen": self.sidecar.address("admin")})
        self.sidecar.process.send_signal(signal.SIGHUP)
        until(lambda: "processes of the old one drain" in self.sidecar.log, what="the old processes drain")
        until(lambda: self._fresh(before), what="the new processes tell of themselves")

    def _fresh(self, before):
        with contextlib.suppress(OSError):
            return not before & self.workers()


@pytest.fixture
def reloading(mesh):
    with Origin() as origin:
        yield Reloading(mesh, origin)


def opened(address, count):
    """Connections that have carried a request each, and wait for the next."""
    clients = [RawClient(address) for _ in range(count)]
    for number, client in enumerate(clients):
        client.send(POST.format(f"before-{number}").encode())
        assert client.read_until(lambda client=client: len(client.responses()) == 1, 10)
    return clients


def test_connections_that_are_about_to_be_used_are_let_go_with_their_next_response(reloading):
    clients = opened(reloading.address, 10)
    silent = RawClient(reloading.address)  # it has only connected
    reloading.reload()
    time.sleep(0.5)  # several looks at what is idle
    for number, client in enumerate([*clients, silent]):
        client.send(POST.format(f"after-{number}").encode())
        assert client.read_until(lambda client=client: client.closed, 10)
        status, fields, body = client.responses()[-1]
        assert (status, body, fields["connection"]) == (200, b"ok", "close")
        assert not client.reset
        client.sock.close()
    asked = [request.target for request in reloading.origin.take() if "after" in request.target]
    assert sorted(asked) == sorted(f"/after-{number}" for number in range(11))


def test_an_exchange_that_goes_on_is_not_cut(reloading):
    release = threading.Event()

    def behave(wire, request):
        wire.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        release.wait(20)
        wire.sock.sendall(b"half")

    reloading.origin.behave = behave
    with RawClient(reloading.address) as client:
        client.send(POST.format("long").encode())
        assert client.read_until(lambda: client.received.endswith(b"half"), 10)
        reloading.reload()
        release.set()
        assert client.read_until(lambda: client.closed, 10)
        assert client.responses()[0][2] == b"halfhalf"


def test_connections_that_nobody_uses_end_before_the_drain_does(reloading):
    (client,) = opened(reloading.address, 1)
    began = time.monotonic()
    reloading.reload()
    with client:
        assert client.read_until(lambda: client.closed, DRAIN + 20)
        assert not client.reset
    assert time.monotonic() - began > 1.0  # not at the first look


def test_a_sidecar_that_ends_waits_for_no_idle_connection_of_the_fleet_before(reloading):
    clients = opened(reloading.address, 3)
    reloading.reload()
    reloading.sidecar.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert reloading.sidecar.process.wait(DRAIN + 20) == 0
    assert time.monotonic() - began < DRAIN - 2
    for client in clients:
        client.sock.close()


def test_posts_on_kept_connections_through_reloads_lose_nothing(reloading):
    """Clients that use a connection again and again, as pools do, at any moment of the reload."""
    over, failures, done = threading.Event(), [], []

    def run(number):
        count = 0
        client = RawClient(reloading.address)
        while not over.is_set():
            count += 1
            client.send(POST.format(f"{number}-{count}").encode())
            client.read_until(lambda client=client: client.closed or client.responses(), 10)
            answers = client.responses()
            if [each[0] for each in answers] != [200]:
                failures.append((number, count, client.received))
            elif answers[0][1].get("connection") == "close":
                client.sock.close()
                client = RawClient(reloading.address)
            client.received = b""
            time.sleep(0.01)
        client.sock.close()
        done.append(count)

    reloading.origin.behave = lambda wire, request: wire.sock.sendall(ok())
    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        reloading.reload()
        time.sleep(1.0)
    finally:
        over.set()
        for thread in threads:
            thread.join(20)
    assert not failures
    asked = [request.target for request in reloading.origin.take() if request.method == "POST"]
    assert len(asked) == len(set(asked)) == sum(done) > 50
