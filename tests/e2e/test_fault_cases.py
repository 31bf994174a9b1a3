"""What a client sees of an app that cannot be reached or breaks off, and how often the app was asked.

The rows of the fault cases about the way to the upstream and about breaking off; test_fault_rows.py knows where every
row is.
"""

import contextlib
import socket
import threading
import time

import pytest
from support.fault_rig import FaultRig, request_of, reset, send, then
from support.origin import Hangup, Origin, Reset, ok
from support.processes import free_port, until

KB, MB = 1024, 1024 * 1024
BACK = {"warm": {"min": 0}}
SERVICES = {
    "plain": None,
    "closed": BACK,
    "three": BACK,
    "hole": {**BACK, "connectTimeout": "300ms"},
    "timed": {"timeout": "500ms"},
    "down": BACK,
}


@pytest.fixture(scope="module")
def places():
    """Addresses that are no apps, or not yet: `closed` refuses, `hole` answers no SYN, `two` work beside a refusal."""
    with contextlib.ExitStack() as stack:
        hole = stack.enter_context(socket.socket())
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        for _ in range(2):  # its queue is full now, and SYNs are dropped
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(hole.getsockname())
        two = [stack.enter_context(Origin()) for _ in range(2)]
        ports = {name: free_port() for name in ("closed", "third", "down")}
        yield {
            "ports": ports,
            "two": two,
            "closed": [f"127.0.0.1:{ports['closed']}"],
            "hole": [f"127.0.0.1:{hole.getsockname()[1]}"],
            "three": [f"127.0.0.1:{ports['third']}", *(each.address for each in two)],
            "down": [f"127.0.0.1:{ports['down']}"],
        }


@pytest.fixture(scope="module")
def rig(shared_mesh, places):
    made = FaultRig(shared_mesh, SERVICES, {name: places[name] for name in SERVICES if name in places})
    yield made
    made.close()


@pytest.fixture
def plain(rig):
    return rig.apps["plain"]


# -- the way there ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_fault_refuse(rig, method):
    answer = rig.ask("closed", f"/refuse-{method}", method, b"x" if method == "POST" else b"")
    assert answer.status in (502, 503)
    assert answer.error == "connection_refused"
    assert "UF" in rig.flags(f"/refuse-{method}")


def test_fault_refuse_one_of_3(rig, places):
    for number in range(100):
        assert rig.ask("three", f"/three-{number}").status == 200
    assert sum(len(each.take()) for each in places["two"]) == 100
    with Origin(port=places["ports"]["third"]) as third:
        until(lambda: rig.ask("three", "/back").status == 200 and third.requests, 60, "the third endpoint's return")


def test_fault_blackhole(rig):
    answer = rig.ask("hole", "/hole")
    assert answer.status in (503, 504)
    assert answer.error == "connection_timeout"
    assert "UF" in rig.flags("/hole")
    until(lambda: rig.endpoint("hole")["dials_failed"] > 0, 10)
    until(lambda: [rig.endpoint("hole")[key] for key in ("active", "leased", "waiting")] == [0, 0, 0], 10)


def test_fault_all_down_and_start_order(rig, places):
    """While nobody is there each request fails at once; when somebody comes it is noticed at once."""
    for number in range(50):
        assert rig.ask("down", f"/down-{number}", wait=2).status in (502, 503)
    with Origin(port=places["ports"]["down"]):
        until(lambda: rig.ask("down", "/up").status == 200, 10, "recovery")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_fault_accept_then_close(rig, plain, method):
    path, body = f"/accept-close-{method}", b"x" if method == "POST" else b""
    left = [2]

    def close(_sock):
        if left[0]:
            left[0] -= 1
            raise Hangup

    plain.origin.on_accept = close
    try:
        plain.origin.drop_connections()
        answers = [rig.ask("plain", path, method, body) for _ in range(4)]
    finally:
        plain.origin.on_accept = None
    assert {each.status for each in answers} <= {200, 502}
    assert answers[-1].status == 200
    assert plain.delivered(path) == sum(each.status == 200 for each in answers)


def test_fault_accept_never_answers(rig):
    app, over = rig.apps["timed"], threading.Event()

    def never(wire, request):
        if not wire.sock.recv(1):  # until the other side gives up
            over.set()
        raise Hangup

    app.on("/never", never)
    answer = rig.ask("timed", "/never")
    assert (answer.status, answer.error) == (504, "http_response_timeout")
    assert "UT" in rig.flags("/never")
    assert over.wait(5)  # its connection was closed and not kept
    assert app.delivered("/never") == 1


# -- breaking off ----------------------------------------------------------------------------------------------------


def test_fault_rst_before_head(rig, plain):
    plain.on("/rst-get", then(reset, send(ok(b"second"))))
    plain.on("/rst-post", then(reset, send(ok(b"second"))))
    assert rig.ask("plain", "/rst-get").body == b"second"
    assert plain.delivered("/rst-get") == 2
    answer = rig.ask("plain", "/rst-post", "POST", b"x")
    assert (answer.status, answer.error) == (502, "connection_terminated")
    assert plain.delivered("/rst-post") == 1
    assert rig.flags("/rst-post") == "UC"


def test_fault_retry_idempotent(rig, plain):
    """An app that answers 502 itself, after it had all of a POST, is not asked again."""
    plain.on("/answered-502", send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"))
    assert rig.ask("plain", "/answered-502", "POST", b"x").status == 502
    assert plain.delivered("/answered-502") == 1


@pytest.mark.parametrize("ending", [Reset, Hangup])
@pytest.mark.parametrize("octets", [b"HTTP/1", b"HTTP/1.1 200 OK\r\nContent-Len"])
def test_fault_rst_mid_head(rig, plain, octets, ending):
    path = f"/mid-head-{len(octets)}-{ending.__name__}"
    plain.on(path, send(octets, ending))
    answer = rig.ask("plain", path)
    assert answer.status == 502
    assert b" 200 " not in answer.received
    assert plain.delivered(path) <= 2


TEN = b"x" * 10 * KB
BROKEN = {
    "cl": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MB + TEN,
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2800\r\n" + TEN + b"\r\n",
}


@pytest.mark.parametrize("ending", [Reset, Hangup])
@pytest.mark.parametrize("kind", BROKEN)
def test_fault_rst_mid_body_and_fin(rig, plain, kind, ending):
    path = f"/mid-body-{kind}-{ending.__name__}"
    plain.on(path, send(BROKEN[kind], ending))
    answer = rig.ask("plain", path)
    assert answer.closed
    assert answer.status in (0, 502)
    assert not answer.received.endswith(b"0\r\n\r\n")
    assert len(answer.received) < MB
    assert plain.delivered(path) <= (1 if b" 200 " in answer.received else 2)
    # As Envoy has it: the codec finds the message cut short at FIN, while RST ends the connection under it.
    assert rig.flags(path) == ("UC" if ending is Reset else "UPE")


def test_fault_half_close_upstream(rig, plain):
    """A whole response, then FIN, while the request is still on its way: delivered, and nothing is left behind."""

    def half_close(wire, request):
        wire.sock.sendall(ok(b"early"))
        wire.sock.shutdown(socket.SHUT_WR)

    plain.on("/half-close", half_close, head=True)
    assert rig.ask("plain", "/half-close", "POST", b"x" * MB).body == b"early"
    until(lambda: rig.endpoint("plain")["leased"] == 0, 5)


def _send_for(sock, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sock.send(b"x" * 64 * KB)
        time.sleep(0.002)


@pytest.mark.parametrize("status", [b"200 OK", b"413 Content Too Large"])
def test_fault_early_200(rig, plain, status):
    """A response before the request was read: the client gets it, and the rest of its upload ends within a bound."""

    def early(wire, request):
        wire.sock.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\nearly")
        wire.sock.recv(1)
        over.wait(10)
        raise Hangup

    over, path = threading.Event(), f"/early-{status[:3].decode()}"
    plain.on(path, early, head=True)
    with rig.connect() as client:
        client.send(request_of("plain", path, "POST", b"", f"Content-Length: {MB * MB}") + b"x" * KB)
        answer = rig.read(client, "POST")
        assert (answer.status, answer.body) == (int(status[:3]), b"early")
        client.sock.settimeout(10)
        with pytest.raises(OSError, match=r"reset|pipe"):
            _send_for(client.sock, 30.0)  # an upload that would never end
        over.set()
        assert client.read_until(lambda: client.closed, 5)


@pytest.mark.parametrize("ending", [Reset, Hangup])
def test_fault_early_close_upload(rig, plain, ending):
    path = f"/early-close-{ending.__name__}"

    def leave(wire, request):
        raise ending

    plain.on(path, leave, head=True)
    with rig.connect() as client:
        client.send(request_of("plain", path, "POST", b"", f"Content-Length: {16 * MB}"))
        client.send(b"x" * 16 * MB)
        answer = rig.read(client, "POST")
        assert answer.status in (502, 503) or (answer.status == 0 and answer.closed)
    assert plain.delivered(path, whole=False) == 1
