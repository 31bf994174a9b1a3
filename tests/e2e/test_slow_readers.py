"""Clients that do not read what they asked for keep nobody else from the app."""

import contextlib
import http.client
import json
import socket
import threading

import pytest
from support.origin import Origin, always_ok
from support.processes import until

BOUND = 4
RULE = """
    apiVersion: networking.istio.io/v1
    kind: DestinationRule
    metadata: {name: reviews, namespace: default}
    spec:
      host: reviews.test
      trafficPolicy: {connectionPool: {tcp: {maxConnections: %d}}}
"""
BIG = b"x" * (16 << 20)


def behave(wire, request):
    if request.target == "/big":
        wire.sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(BIG) + BIG)
    else:
        always_ok(wire, request)


@pytest.fixture
def caller(mesh):
    """Host and port of an outbound listener to an app that takes four connections."""
    with Origin(behave) as app:
        mesh.entry("reviews.test", app.address)
        mesh.policy("rule", RULE % BOUND)
        sidecar = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}])
        host, port = sidecar.address("outbound-0").rsplit(":", 1)
        yield (host, int(port)), app, sidecar
        app.drop_connections()


def records(sidecar):
    connection = http.client.HTTPConnection(sidecar.address("admin").removeprefix("http://").strip("/"), timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", "/records?limit=1000")
        return json.loads(connection.getresponse().read())


@contextlib.contextmanager
def slow_readers(address, count):
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(20)
            sock.connect(address)
            sock.sendall(b"GET /big HTTP/1.1\r\nHost: reviews.test\r\n\r\n")
        yield


def get(address):
    connection = http.client.HTTPConnection(*address, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", "/", headers={"host": "reviews.test"})
        response = connection.getresponse()
        response.read()
        return response.status


@pytest.mark.slow
def test_three_times_as_many_as_there_are_connections_keep_nobody_out(caller):
    address, app, sidecar = caller
    with slow_readers(address, 3 * BOUND):
        until(lambda: sum(each.target == "/big" for each in app.requests) >= BOUND, 30, "slow readers at the app")
        statuses = []

        def good():
            statuses.extend(get(address) for _ in range(10))

        threads = [threading.Thread(target=good) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(120)
        assert statuses == [200] * 40
        until(lambda: any(each["response_flags"] == "OM" for each in records(sidecar)), 30, "a record")
    cut = [each for each in records(sidecar) if each["response_flags"] == "OM"]
    assert {each["response_code_details"] for each in cut} == {"downstream_write_blocked"}


@pytest.mark.slow
def test_where_nobody_waits_a_client_may_be_as_slow_as_it_likes(caller):
    address, app, sidecar = caller
    with slow_readers(address, BOUND - 1):
        until(lambda: sum(each.target == "/big" for each in app.requests) == BOUND - 1, 30, "slow readers at the app")
        assert [get(address) for _ in range(20)] == [200] * 20
        assert not any(each["response_flags"] == "OM" for each in records(sidecar))
