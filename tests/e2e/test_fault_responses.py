"""What a client sees of an app whose responses are odd, endless or no HTTP at all: rows of the fault cases."""

import os
import threading
import time

import pytest
from support.fault_rig import FaultRig, request_of, send
from support.origin import Hangup, ok
from support.processes import until

MB = 1024 * 1024


@pytest.fixture(scope="module")
def rig(shared_mesh):
    made = FaultRig(shared_mesh, {"plain": None, "timed": {"timeout": "500ms"}})
    yield made
    made.close()


@pytest.fixture
def plain(rig):
    return rig.apps["plain"]


def test_fault_1xx_many(rig, plain):
    plain.on("/hints", send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100 + ok(b"final")))
    answer = rig.ask("plain", "/hints")
    assert (answer.status, answer.body) == (200, b"final") or answer.status == 502
    assert answer.received.count(b"HTTP/1.1 103") <= 100


def test_fault_101_unasked(rig, plain):
    plain.on("/switch", send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"))
    answer = rig.ask("plain", "/switch")
    assert (answer.status, answer.error) == (502, "http_protocol_error")
    assert "UPE" in rig.flags("/switch")


def test_fault_trailers(rig, plain):
    chunks = b"2\r\nhi\r\n0\r\ngrpc-status: 0\r\n\r\n"
    plain.on(
        "/trailers", send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n" + chunks)
    )
    answer = rig.ask("plain", "/trailers")
    assert answer.body == b"hi"
    assert answer.received.lower().endswith(b"0\r\ngrpc-status: 0\r\n\r\n")


def test_fault_no_length_and_http10(rig, plain):
    plain.on("/no-length", send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", Hangup))
    plain.on("/http10", send(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    assert rig.ask("plain", "/no-length").body == b"until the end"
    before = plain.origin.connections
    assert rig.ask("plain", "/http10").body == b"ok"
    until(lambda: plain.origin.connections > before, 5, "a fresh connection, for HTTP/1.0 is not kept")
    assert rig.ask("plain", "/after").status == 200


TOO_LARGE = "http_response_header_section_size"  # RFC 9209 section 2.3: the most specific type
GARBAGE = {
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "random": bytes([0xFE]) + os.urandom(200),
    "h2": b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00d",
    "head-huge": b"HTTP/1.1 200 OK\r\nX: " + b"y" * MB + b"\r\n\r\n",
    "head-many": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_fault_garbage_and_heads_too_large(rig, plain, kind):
    assert rig.ask("plain", "/before").status == 200
    plain.on(f"/garbage-{kind}", send(GARBAGE[kind], Hangup))
    answer = rig.ask("plain", f"/garbage-{kind}")
    assert answer.status == 502
    specific = {"alert": ("tls_alert_received",), "head-huge": (TOO_LARGE,), "head-many": (TOO_LARGE,)}
    assert answer.error in specific.get(kind, ("http_protocol_error", "connection_terminated"))
    assert "Traceback" not in rig.sidecar.log


def test_fault_head_slow(rig):
    app = rig.apps["timed"]

    def slowly(wire, request):
        for octet in b"HTTP/1.1 200 OK\r\n" * 100:
            wire.sock.sendall(bytes([octet]))
            time.sleep(0.05)

    app.on("/slow-head", slowly)
    answer = rig.ask("timed", "/slow-head", wait=5)
    assert (answer.status, answer.error) == (504, "http_response_timeout")
    assert app.delivered("/slow-head") == 1


def test_fault_body_slow(rig):
    """There is an absolute end: the time-out of the route."""
    app, over = rig.apps["timed"], threading.Event()

    def slowly(wire, request):
        wire.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        try:
            for _ in range(1000):
                wire.sock.sendall(b"x")
                time.sleep(0.05)
        finally:
            over.set()

    app.on("/slow-body", slowly)
    answer = rig.ask("timed", "/slow-body", wait=5)
    assert answer.status == 0
    assert answer.closed
    assert over.wait(5)
    until(lambda: rig.endpoint("timed")["leased"] == 0, 5)


def test_fault_extra_after(rig, plain):
    plain.on("/extra", send(ok(b"mine") + ok(b"POISON")))
    with rig.connect() as client:
        for number, path in enumerate(("/extra", "/next")):
            client.send(request_of("plain", path))
            client.read_until(lambda number=number: client.received.count(b"HTTP/1.1 200") > number, 5)
        assert b"mine" in client.received
        assert b"POISON" not in client.received
        assert client.received.endswith(b"ok")


def test_fault_unsolicited_idle(rig, plain):
    """Octets on an idle connection are nobody's response."""

    def more(wire, request):
        wire.sock.sendall(ok(b"mine"))
        answered.wait(5)
        wire.sock.sendall(ok(b"POISON"))
        done.set()

    answered, done = threading.Event(), threading.Event()
    plain.on("/unsolicited", more)
    assert rig.ask("plain", "/unsolicited").body == b"mine"
    answered.set()
    assert done.wait(5)
    for number in range(20):
        assert rig.ask("plain", f"/idle-{number}").body == b"ok"
