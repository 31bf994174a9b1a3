"""WebSocket over HTTP/2 (RFC 8441) with Envoy 1.40 at either end: a real client and a real server outside."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from peers.test_envoy import envoys, mesh, settled, tls
from support.websocket import Http2WebSocket, dial, echo_server

__all__ = ["envoys", "mesh"]  # fixtures

H2 = ("h2",)
CLOSE = b"\x88\x02\x03\xe8"  # the frame that closes with 1000


@pytest.fixture
def app():
    with echo_server() as server:
        yield server


def check(address: str, app: tuple) -> None:
    """A conversation over HTTP/1.1 at the near end."""
    assert settled(address, 426)  # the server's answer to who wants no WebSocket
    with dial(address, "/room", "reviews.test", subprotocols=["chat"]) as connection:
        assert connection.subprotocol == "chat"
        for message in ("hello", "x" * 300_000, b"\0" * 70_000):
            connection.send(message)
            assert connection.recv(10) == message
    assert app[0][-1].path == "/room"


@pytest.mark.slow
def test_envoy_asks_meshd_in_http2(mesh, app, envoys):
    """HTTP/1.1 to Envoy, extended CONNECT over mutual TLS to the sidecar, HTTP/1.1 to the app."""
    server = mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": app[1]}])
    up = tls(mesh.identity("client"), "server", "Upstream", H2)
    caller = envoys("caller", server.address("inbound-0"), up=up, http2=True, websocket=True)
    check(caller.address, app)
    assert app[0][-1].headers["via"].startswith("2 "), "Envoy was heard in HTTP/2"


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["HTTP", "HTTP2"])
def test_meshd_asks_envoy(mesh, app, envoys, protocol):
    """To an upstream that is declared to speak HTTP/2 by extended CONNECT, else in HTTP/1.1."""
    callee = envoys("callee", app[1], http2=True, websocket=True)
    mesh.entry("reviews.test", callee.address, protocol=protocol)
    client = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}])
    address = client.address("outbound-0")
    check(address, app)
    with Http2WebSocket(address, "/room", "reviews.test") as connection:
        connection.send("hello")
        assert connection.receive() == "hello"
        connection.close()
        assert connection.body.endswith(CLOSE)  # behind it Envoy resets an extended CONNECT, and so do we
