"""Pools, retries and clients under faults: who is asked how often, and that nothing is left behind.

Rows of the fault cases, scaled down to seconds; test_fault_rows.py knows where every row is.
"""

import contextlib
import random
import resource
import socket
import struct
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.fault_rig import FaultRig, answers, request_of, reset, send, then
from support.origin import Hangup, ok
from support.processes import until

MB = 1024 * 1024
SLOW = 50  # clients that send a head octet by octet
HEAD_TIMEOUT = 10.0
SERVICES = {
    "plain": None,
    "short": {"warm": {"min": 20}},  # an app that closes its idle connections early
    "small": {"connections": {"max": 2, "maxPending": 2}, "warm": {"min": 0}},
    "tried": {"timeout": "2s", "retry": {"attempts": 1, "perTryTimeout": "300ms"}},
    "deadline": {"timeout": "600ms", "retry": {"attempts": 5, "perTryTimeout": "250ms"}},
    "repeated": {"retry": {"attempts": 2, "on": ["gateway-error"], "methods": ["POST"], "bufferLimit": "64Ki"}},
    "budget": {"retry": {"attempts": 1, "budget": {"percent": 20, "minPerSecond": 0}}},
}


@pytest.fixture(scope="module")
def rig(shared_mesh):
    made = FaultRig(shared_mesh, SERVICES)
    yield made
    made.close()


@pytest.fixture
def plain(rig):
    return rig.apps["plain"]


@pytest.fixture(scope="module", autouse=True)
def slow(rig):
    """Clients with half a head, from before the first test on."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(rig.connect()) for _ in range(SLOW)]
        for client in clients:
            client.send(b"GET / HT")
        yield clients


def descriptors(rig) -> int:
    """Open files of the worker."""
    (worker,) = rig.workers()
    return len(list(Path(f"/proc/{worker}/fd").iterdir()))


# -- pools -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_fault_idle_close_race(rig, method):
    """An app that closes what was idle for a moment, and requests at just that moment: no GET fails, no POST is
    delivered twice."""
    app = rig.apps["short"]
    app.origin.on_accept = lambda sock: sock.settimeout(0.03)
    app.origin.drop_connections()
    statuses: Counter = Counter()

    def one(number) -> None:
        time.sleep(random.uniform(0.024, 0.036))
        body = b"charge" if method == "POST" else b""
        statuses[rig.ask("short", f"/race-{method}-{number}", method, body).status] += 1

    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, range(100)))
    finally:
        app.origin.on_accept = None
    assert statuses.keys() <= ({200} if method == "GET" else {200, 502}), statuses
    arrived = Counter(each.target for each in app.origin.take() if each.complete and each.method == method)
    assert method == "GET" or set(arrived.values()) == {1}
    assert len(arrived) >= statuses[200]


def test_fault_stale_after_restart_and_app_restart(rig):
    """Whatever the app drops between two requests costs none of them."""
    app = rig.apps["short"]
    until(lambda: rig.endpoint("short")["idle"] >= 10, 5)
    for number in range(10):
        app.origin.drop_connections()
        assert rig.ask("short", f"/restart-{number}").status == 200
        assert rig.ask("short", f"/restart-post-{number}", "POST", b"x").status == 200
    assert len([each for each in app.origin.take() if each.complete and "/restart" in each.target]) == 20


def test_fault_pool_full(rig):
    """Two at work, two waiting; everybody else is told at once."""
    app, go_on = rig.apps["small"], threading.Event()

    def hold(wire, request):
        go_on.wait(10)
        wire.sock.sendall(ok())

    app.on("/hold", hold)
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(rig.ask, "small", "/hold") for _ in range(20)]
        until(lambda: sum(each.done() for each in waiting) == 16, 10, "the overflow")
        assert {each.result().status for each in waiting if each.done()} == {503}
        assert {each.result().error for each in waiting if each.done()} == {"connection_limit_reached"}
        go_on.set()
    assert Counter(each.result().status for each in waiting) == {503: 16, 200: 4}
    assert app.delivered("/hold") == 4


def test_fault_pool_leak_and_cross_talk(rig, plain):
    """Clients that leave at random points: no answer reaches another request, and no connection stays leased."""
    chance = random.Random(7)

    def token(wire, request):
        time.sleep(0.002)
        wire.sock.sendall(ok(request.target.encode()))

    paths = [f"/token-{number}" for number in range(300)]
    for path in paths:
        plain.on(path, token)
    before = descriptors(rig)

    def one(path) -> bool:
        with rig.connect() as client:
            data = request_of("plain", path)
            if chance.random() < 0.3:
                client.send(data[: chance.randrange(1, len(data) + 1)])
                if chance.random() < 0.5:
                    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return True
            client.send(data)
            return rig.read(client).body == path.encode()

    with ThreadPoolExecutor(10) as pool:
        assert all(pool.map(one, paths))
    until(lambda: (rig.endpoint("plain")["leased"], rig.endpoint("plain")["active"]) == (0, 0), 10)
    until(lambda: descriptors(rig) <= before + 20, 15, "the descriptors")  # idle connections are kept


def test_fault_cancel_mid(rig, plain):
    """A client that leaves while the app works: the app is told by the end of its connection."""
    began, over = threading.Event(), threading.Event()

    def work(wire, request):
        began.set()
        if not wire.sock.recv(1):
            over.set()
        raise Hangup

    plain.on("/cancelled", work)
    with rig.connect() as client:
        client.send(request_of("plain", "/cancelled"))
        assert began.wait(5)
    assert over.wait(5)
    assert "DC" in rig.flags("/cancelled")


# -- retries ---------------------------------------------------------------------------------------------------------


def test_fault_retry_budget(rig):
    """An app that fails every request: it sees a fifth more than the clients sent, not twice as much."""
    app, count = rig.apps["budget"], 200
    app.origin.behave = reset
    for _ in range(count):
        assert rig.ask("budget", "/budget").status == 502
    assert count <= app.delivered("/budget") <= count * 1.2 + 1
    until(lambda: rig.cluster("budget")["budget"]["refused"] > 0, 5)


@pytest.mark.parametrize("size", [1000, MB])
def test_fault_retry_body(rig, size):
    """A body is sent again whole or not at all."""
    app, path = rig.apps["repeated"], f"/repeated-{size}"
    refuse = send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    app.on(path, then(refuse, send(ok())))
    answer = rig.ask("repeated", path, "POST", b"x" * size)
    assert answer.status == (200 if size == 1000 else 503)
    assert app.delivered(path) == app.delivered(path, whole=False) == (2 if size == 1000 else 1)
    assert all(len(each.body) == size for each in app.origin.requests if each.target == path)


def test_fault_retry_deadline(rig):
    """However many tries are left, the time-out of the whole is the end."""
    app = rig.apps["deadline"]

    def never(wire, request):
        wire.sock.recv(1)
        raise Hangup

    app.on("/hanging", never)
    answer = rig.ask("deadline", "/hanging", wait=5)
    assert (answer.status, answer.error) == (504, "http_response_timeout")
    assert 2 <= app.delivered("/hanging") <= 3  # of the six that the attempts alone would allow
    assert "UT" in rig.flags("/hanging")


def test_fault_hedge_cancel(rig):
    """A retry that wins over an answer that comes late: the client gets one, and the late one gets to nobody."""
    app, late = rig.apps["tried"], threading.Event()

    def tardy(wire, request):
        try:
            time.sleep(0.6)
            wire.sock.sendall(ok(b"late"))
        finally:
            late.set()

    app.on("/tardy", then(tardy, send(ok(b"in time"))))
    with rig.connect() as client:
        client.send(request_of("tried", "/tardy"))
        assert rig.read(client).body == b"in time"
        assert late.wait(5)
        client.send(request_of("tried", "/after"))
        assert client.read_until(lambda: len(answers(client.received)) == 2, 5)
        assert answers(client.received) == [(200, b"in time"), (200, b"ok")]
    assert app.delivered("/tardy") == 2


# -- clients ---------------------------------------------------------------------------------------------------------


def test_fault_slow_upload_reader(rig, plain):
    """An app that does not read its upload stops the client, and memory stays where it was."""
    go_on = threading.Event()

    def wait(wire, request):
        go_on.wait(20)
        raise Hangup

    plain.on("/stalled", wait, head=True)
    before = rig.resident()
    with rig.connect() as client:
        client.send(request_of("plain", "/stalled", "POST", b"", f"Content-Length: {64 * MB}"))
        client.sock.settimeout(0.5)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 64 * MB:
                sent += client.sock.send(b"x" * 65536)
        go_on.set()
    assert sent < 32 * MB  # the buffers of the kernel on both sides
    assert rig.resident() - before < 8 * MB


def test_fault_slow_reader(rig, plain):
    """Clients that do not read: the app is held back, and memory stays where it was."""
    stopped = threading.Event()

    def flood(wire, request):
        wire.sock.settimeout(0.5)
        try:
            wire.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MB))
            for _ in range(1024):
                wire.sock.sendall(b"x" * 65536)
        except TimeoutError:
            stopped.set()
            raise

    plain.on("/flood", flood)
    before = rig.resident()
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(rig.connect()).send(request_of("plain", "/flood"))
        assert stopped.wait(10)
        assert rig.resident() - before < 8 * MB


def test_fault_pipelining_1000(rig):
    with rig.connect() as client:
        client.send(b"".join(request_of("plain", f"/pipelined-{number}") for number in range(1000)))
        client.read_until(lambda: client.received.count(b"HTTP/1.1 200") == 1000, 20)
        assert answers(client.received) == [(200, b"ok")] * 1000


def test_fault_half_close_client(rig):
    with rig.connect() as client:
        client.send(request_of("plain", "/half-closed"))
        client.sock.shutdown(socket.SHUT_WR)
        assert client.read_until(lambda: client.closed, 5)
        assert answers(client.received) == [(200, b"ok")]
        assert not client.reset


@pytest.fixture
def starved(shared_mesh):
    """A sidecar of its own: one that is short of descriptors closes connections with half a head first."""
    made = FaultRig(shared_mesh, {"starved": None})
    yield made
    made.close()


def test_fault_emfile(starved):
    """Out of descriptors it stops accepting, without spinning, and goes on when there are some again."""
    rig = starved
    (worker,) = rig.workers()
    used = descriptors(rig)
    limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 20, limits[1]))
    try:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(rig.connect()) for _ in range(100)]
            for client in clients:
                client.send(request_of("starved", "/starved"))
            until(lambda: "accepting stops" in rig.sidecar.log, 30)
            told = rig.sidecar.log.count("accepting stops")
            time.sleep(0.5)
            assert rig.sidecar.log.count("accepting stops") - told < 20
    finally:
        resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)
    assert rig.ask("starved", "/fed").status == 200
    assert rig.workers() == [worker]


def test_fault_slow_headers(rig, slow):
    """Half a head is ended in time, while everybody else was served."""
    for client in slow:
        assert client.read_until(lambda client=client: client.closed, HEAD_TIMEOUT + 50)
        assert client.received.startswith(b"HTTP/1.1 408 ")
    assert rig.ask("plain", "/beside").status == 200
