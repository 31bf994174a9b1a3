"""Clients that say all they have to say, end their direction, and wait for the answer: printf | nc, and others."""

import contextlib
import socket
import struct
import threading
import time

import pytest
from OpenSSL import SSL
from support.origin import Hangup, ok
from support.wire import RawClient

SLOW = 0.7  # seconds an app takes: several looks at whether the client is still there
POLICIES = {
    "slow.test": """
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: slow, namespace: default}
    spec: {targetRefs: [{kind: ServiceEntry, name: slow-test}]}
"""
}
GET = b"GET /%d HTTP/1.1\r\nHost: slow.test\r\n\r\n"
POST = b"POST /%d HTTP/1.1\r\nHost: slow.test\r\nContent-Length: 4\r\n\r\nbody"


@pytest.fixture
def slow(pair):
    """The pair before an app that takes its time."""

    def behave(wire, request):
        time.sleep(SLOW)
        wire.sock.sendall(ok(request.target.encode()))

    pair.origin.behave = behave
    return pair


@pytest.mark.parametrize("request_", [GET, POST], ids=["GET", "POST"])
@pytest.mark.parametrize("times", [1, 3])
def test_every_whole_request_in_front_of_the_end_is_answered(slow, request_, times):
    with RawClient(slow.address) as client:
        client.send(b"".join(request_ % number for number in range(times)))
        client.end()
        assert client.read_until(lambda: client.closed, 20)
        answers = [(status, body) for status, _, body in client.responses()]
        assert answers == [(200, b"/%d" % number) for number in range(times)]
        assert not client.reset
    assert len(slow.origin.take()) == times


def test_a_long_response_comes_whole(pair):
    def behave(wire, request):
        wire.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n")
        for _ in range(4):
            time.sleep(SLOW / 4)
            wire.sock.sendall(b"x" * 1_000_000)

    pair.origin.behave = behave
    with RawClient(pair.address) as client:
        client.send(GET % 1)
        client.end()
        assert client.read_until(lambda: client.closed, 20)
        assert client.received.endswith(b"x" * 4_000_000)


@pytest.mark.parametrize(
    "half", [POST[:-2] % 1, GET[:-2] % 1, GET[:-2] % 1 + b"Accept: */*\r\n"], ids=["body", "head", "field"]
)
def test_half_a_request_in_front_of_the_end_is_none(slow, half):
    with RawClient(slow.address) as client:
        client.send(half)
        client.end()
        assert client.read_until(lambda: client.closed, 10)
        assert [status for status, *_ in client.responses()] in ([], [400])
    assert not [request for request in slow.origin.take() if request.complete]


class TlsClient:
    """One that ends as it is told, in good order or not."""

    def __init__(self, address, folder):
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.use_certificate_chain_file(str(folder / "tls.crt"))
        context.use_privatekey_file(str(folder / "tls.key"))
        host, _, port = address.rpartition(":")
        self.sock = socket.create_connection((host, int(port)), 10)
        self.sock.settimeout(None)  # OpenSSL waits itself
        self.connection = SSL.Connection(context, self.sock)
        self.connection.set_connect_state()
        self.connection.do_handshake()

    def read(self):
        octets = b""
        with contextlib.suppress(SSL.Error):
            while True:
                octets += self.connection.recv(65536)
        return octets


def test_close_notify_ends_one_direction_of_tls_too(shared_mesh, slow):
    client = TlsClient(slow.server.address("inbound-0"), shared_mesh.identity("client"))
    with client.sock:
        client.connection.sendall(GET % 1 + GET % 2)
        client.connection.shutdown()
        client.sock.shutdown(socket.SHUT_WR)
        heard = client.read()
    assert heard.count(b"HTTP/1.1 200") == 2
    assert heard.endswith(b"/2")


@pytest.fixture
def watched(pair):
    """The pair before an app that works until it is told that nobody waits any more."""
    pair.began, pair.over = threading.Event(), threading.Event()

    def behave(wire, request):
        pair.began.set()
        if not wire.sock.recv(1):
            pair.over.set()
        raise Hangup

    pair.origin.behave = behave
    return pair


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("halved", [False, True], ids=["at once", "after half"])
def test_a_client_that_is_gone_is_told_from_one_that_waits(watched, how, halved):
    """It shut its direction first, or did not; then its process let go of the socket, in whichever way."""
    client, path = RawClient(watched.address), f"/{how}-{halved}"
    with client:
        client.send((GET % 1).replace(b"/1 ", path.encode() + b" ", 1))
        if halved:
            client.end()
        assert watched.began.wait(10)
        if halved:
            assert not watched.over.wait(0.5)
        if how == "reset":
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert watched.over.wait(10)
    assert watched.logged(path)["response_flags"] == "DC"


def test_tls_that_is_cut_off_waits_for_nothing(shared_mesh, watched):
    """A sidecar that wants no answer any more ends its connection without close_notify."""
    client = TlsClient(watched.server.address("inbound-0"), shared_mesh.identity("client"))
    with client.sock:
        client.connection.sendall(GET % 1)
        assert watched.began.wait(10)
        client.sock.shutdown(socket.SHUT_WR)
        assert watched.over.wait(10)
