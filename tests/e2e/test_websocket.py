"""WebSocket through a pair of sidecars: a real client and a real server, over HTTP/1.1 and over HTTP/2 (RFC 8441)."""

import os
import socket as sockets

import pytest
from support.origin import Origin, Reset, ok
from support.processes import free_port, program, running, until
from support.websocket import Http2WebSocket, dial, echo_server
from websockets.exceptions import ConnectionClosed, InvalidStatus

from meshd.http.upgrade import accept

MIB = 1048576


@pytest.fixture(scope="module")
def app():
    """An echo server: the requests it got, and its address."""
    with echo_server() as server:
        yield server


ALLOW = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: callers, namespace: default}
    spec:
      rules:
        - from: [{source: {principals: ["mesh.test/ns/default/sa/client"]}}]
          to: [{operation: {methods: [GET], notPaths: ["/secret*"]}}]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """nghttpd, which takes no extended CONNECT."""
    folder, port = tmp_path_factory.mktemp("site"), free_port()
    argv = [program("nghttpd"), "--no-tls", "--address=127.0.0.1", "--htdocs", str(folder), str(port)]
    with running(argv, folder.with_suffix(".log")):
        until(lambda: listening(port), what="nghttpd listens")
        yield f"127.0.0.1:{port}"


def listening(port):
    with sockets.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def pair(shared_mesh, app, site):
    """The outbound address of the client's sidecar, and an app that answers in HTTP as it is told to."""
    with Origin() as plain:
        shared_mesh.policy("allow", ALLOW)
        inbound = [{"listen": "127.0.0.1:0", "app": address} for address in (app[1], plain.address)]
        server = shared_mesh.run("server", inbound=inbound)
        for number, name in enumerate(("chat.test", "plain.test")):
            shared_mesh.entry(name, server.address(f"inbound-{number}"), mesh=True, account="server")
        shared_mesh.entry("h2only.test", site, protocol="HTTP2")
        client = shared_mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}])
        yield client.address("outbound-0"), plain


def test_in_http1(pair, app):
    with dial(pair[0], "/room?a=b", "chat.test", subprotocols=["chat"]) as socket:
        assert socket.subprotocol == "chat"
        large = os.urandom(MIB)
        for message in ("hello", large, b"", "ß"):
            socket.send(message)
            assert socket.recv(10) == message
        assert socket.ping().wait(10)
        socket.send("close")
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(10)
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4000, "as you wish")
    assert app[0][-1].path == "/room?a=b"


def test_in_http2(pair, app):
    with Http2WebSocket(pair[0], "/room?a=b", "chat.test") as socket:
        assert socket.status == 200
        assert not {"upgrade", "connection"} & set(socket.fields)
        for message in ("hello", "x" * 200_000, "ß"):
            socket.send(message)
            assert socket.receive() == message
        assert socket.close() == 1000
        assert (socket.ended, socket.reset) == (True, None)
    request = app[0][-1]
    assert request.path == "/room?a=b"
    assert "client" in request.headers["x-forwarded-client-cert"]


def test_the_app_closes_first(pair):
    with Http2WebSocket(pair[0], "/", "chat.test") as socket:
        socket.send("close")
        socket.read_until(lambda: socket.ended or socket.reset is not None)
        assert (socket.frames.close_code, socket.reset) == (4000, None)


def test_policies_see_a_get(pair):
    with pytest.raises(InvalidStatus) as caught:
        dial(pair[0], "/secret", "chat.test")
    assert caught.value.response.status_code == 403
    with Http2WebSocket(pair[0], "/secret", "chat.test") as socket:
        assert socket.status == 403


def test_a_refusal_of_the_app_is_passed_on(pair):
    address, plain = pair
    plain.behave = lambda wire, request: wire.sock.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 4\r\n\r\nwho?")
    with Http2WebSocket(address, "/", "plain.test") as socket:
        socket.read_until(lambda: socket.ended)
        assert (socket.status, socket.body) == (401, b"who?")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (ok(b"<html>"), "answered 200 instead of 101"),
        (
            b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
            "does not fit the key",
        ),
        (b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n", "another protocol"),
    ],
)
def test_what_is_no_websocket_does_not_become_a_tunnel(pair, answer, why):
    address, plain = pair
    plain.behave = lambda wire, request: wire.sock.sendall(answer)
    with Http2WebSocket(address, "/", "plain.test") as socket:
        assert socket.status == 502
        assert "http_upgrade_failed" in socket.fields["proxy-status"]
        assert why in socket.fields["proxy-status"]


def test_an_app_that_is_gone_ends_the_stream_alone(pair):
    """A reset, so that nobody takes it for the end of the conversation."""
    address, plain = pair

    def behave(wire, request):
        grant = b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %b\r\n\r\n"
        wire.sock.sendall(grant % accept(request.header("sec-websocket-key").encode()))
        raise Reset

    plain.behave = behave
    with Http2WebSocket(address, "/", "plain.test") as socket:
        assert socket.status == 200
        socket.read_until(lambda: socket.ended or socket.reset is not None)
        assert socket.reset is not None


def test_an_app_of_http2_that_takes_no_websockets(pair):
    """Nothing is sent that it would not understand, and the reply says what to do."""
    with Http2WebSocket(pair[0], "/", "h2only.test") as socket:
        assert socket.status == 502
        assert "declare its port http" in socket.fields["proxy-status"]
    with pytest.raises(InvalidStatus) as caught:
        dial(pair[0], "/", "h2only.test")
    assert caught.value.response.status_code == 502
