"""More connections than there may be: the idle give way, the served are served, and who is turned away is told."""

import contextlib
import re
import socket
import threading

import pytest
from support.origin import Origin, always_ok
from support.plain_sidecar import PlainSidecar
from support.processes import until

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
TOO_MANY = bytes.fromhex("0000080700000000000000000000") + bytes.fromhex("00000b")
GET = b"GET %b HTTP/1.1\r\nHost: svc\r\n\r\n"


@pytest.fixture
def held():
    """Requests for /slow wait until it is set."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def app(held):
    def behave(wire, request):
        if request.target == "/slow":
            held.wait(60)
        always_ok(wire, request)

    with Origin(behave) as origin:
        yield origin


@contextlib.contextmanager
def sidecar_of(folder, app, prefix=(), spec=""):
    log = folder / "stderr.log"
    with log.open("wb") as stderr:
        sidecar = PlainSidecar(folder, stderr, prefix=prefix, app=app.address, spec=spec)
    try:
        yield sidecar
    finally:
        assert sidecar.end() == 0
    assert "Traceback" not in log.read_text()


@contextlib.contextmanager
def connections(port, count):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", port), 20)) for _ in range(count)]


def test_idle_connections_up_to_the_limit_of_descriptors_shut_nobody_out(tmp_path, app):
    limited = ("sh", "-c", 'ulimit -n 200 && exec "$0" "$@"')
    with sidecar_of(tmp_path, app, prefix=limited) as sidecar, connections(sidecar.port, 400):
        for _ in range(20):
            assert sidecar.ask() == b"200"
        until(lambda: sidecar.metric("meshd_connections_shed_total") > 0, 30)


def test_who_keeps_a_connection_idle_gives_way_after_who_never_asked(tmp_path, app):
    spec = "downstream: {maxConnections: 8}"
    with sidecar_of(tmp_path, app, spec=spec) as sidecar, connections(sidecar.port, 3) as asked:
        for each in asked:
            each.sendall(GET % b"/")
            assert each.recv(65536).startswith(b"HTTP/1.1 200")
        with connections(sidecar.port, 20):
            assert sidecar.ask() == b"200"
            for each in asked:
                each.sendall(GET % b"/")
                assert each.recv(65536).startswith(b"HTTP/1.1 200")


def test_when_all_are_served_one_more_is_told_so_and_counted(tmp_path, app, held):
    with sidecar_of(tmp_path, app, spec="downstream: {maxConnections: 4}") as sidecar:
        with connections(sidecar.port, 4) as busy:
            for each in busy:
                each.sendall(GET % b"/slow")
            until(lambda: len(app.requests) == 4, 30, "four requests at the app")
            answer = sidecar._exchange(sidecar.port, GET % b"/")
            assert answer.startswith(b"HTTP/1.1 503 ")
            fields = answer.partition(b"\r\n\r\n")[0].lower()
            assert b"\r\nconnection: close" in fields
            assert b"error=connection_limit_reached" in fields
            assert TOO_MANY in sidecar._exchange(sidecar.port, PREFACE)
            assert sidecar._exchange(sidecar.port, b"\x16\x03\x01\x00\x05hello") == b""
            until(lambda: sidecar.metric("meshd_connections_refused_total") == 3, 30)
            held.set()
            for each in busy:
                each.settimeout(30)
                assert each.recv(65536).startswith(b"HTTP/1.1 200")
        assert sidecar.ask() == b"200"
    said = (tmp_path / "stderr.log").read_text()
    assert re.search(r"refused a connection from 127\.0\.0\.1: all of 4 connections are busy", said)
