"""What comes through CONNECT: HTTP/1.1, HTTP/2, gRPC with http_proxy set, and octets that are none of it."""

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import threading

import pytest
from support.grpc_peer import address_of, start_app
from support.origin import Origin
from support.processes import program
from support.wire import RawClient

CALL = """
import grpc
channel = grpc.insecure_channel("echo.test:80")
echo = channel.unary_unary("/test.Echo/Echo", lambda octets: octets, lambda octets: octets)
for number in range(3):
    assert echo(b"hello", timeout=20) == b"hello"
print("answered")
"""


@contextlib.contextmanager
def talking(greeting=b"", wrap=None):
    """A server of something else than HTTP: it greets, then sends back what it hears in capitals."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(sock):
        with contextlib.suppress(OSError), wrap(sock) if wrap is not None else sock as wire:
            wire.sendall(greeting)
            while octets := wire.recv(65536):
                wire.sendall(octets.upper())

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()


@pytest.fixture(scope="module")
def app():
    with Origin() as origin:
        yield origin


@pytest.fixture(scope="module")
def sidecar(shared_mesh, app, tmp_path_factory):
    """A client's sidecar, before an app of each kind."""
    mesh = shared_mesh
    grpc_app, path = start_app(tmp_path_factory.mktemp("app"))
    with grpc_app, talking() as plain, talking(b"220 ready\n") as first:
        mesh.entry("web.test", app.address)
        mesh.entry("echo.test", address_of(path), protocol="GRPC")
        mesh.entry("odd.test", plain)
        mesh.entry("mail.test", first, protocol="TCP")
        mesh.entry("down.test", "127.0.0.1:1", protocol="TCP")
        yield mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}])


@contextlib.contextmanager
def connected(sidecar, host):
    with RawClient(sidecar.address("outbound-0")) as client:
        client.send(f"CONNECT {host}:80 HTTP/1.1\r\nHost: {host}:80\r\n\r\n".encode())
        assert client.read_until(lambda: b"\r\n\r\n" in client.received, 10)
        yield client


def test_grpc_goes_through_a_proxy_that_it_was_told_of(sidecar):
    environment = os.environ | {"http_proxy": f"http://{sidecar.address('outbound-0')}", "no_proxy": ""}
    done = subprocess.run(
        [sys.executable, "-c", CALL], env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.stdout == "answered\n", done.stderr


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_curl_speaks_either_version_through_a_tunnel(sidecar, app, version):
    proxy = f"http://{sidecar.address('outbound-0')}"
    argv = [program("curl"), "-sS", "--max-time", "20", version, "--proxytunnel", "--proxy", proxy]
    argv += ["-w", " %{http_code} %{http_version}", "http://web.test/a"]
    done = subprocess.run(argv, capture_output=True, timeout=40, check=False, text=True)
    spoken = "1.1" if version == "--http1.1" else "2"
    assert done.stdout == f"ok 200 {spoken}", done.stderr
    assert [request.target for request in app.take()] == ["/a"]


@pytest.mark.parametrize("tunnels", [1, 3], ids=["a tunnel", "tunnels within tunnels"])
def test_requests_may_come_in_pieces_through_a_tunnel(sidecar, app, tunnels):
    """Whose first segments end anywhere, as uploads do."""
    connect = b"CONNECT web.test:80 HTTP/1.1\r\nHost: web.test:80\r\n\r\n" * tunnels
    body = bytes(range(256)) * 4000
    upload = b"POST /%d HTTP/1.1\r\nHost: web.test\r\nContent-Length: %d\r\n\r\n"
    with RawClient(sidecar.address("outbound-0")) as client:
        client.send(connect)
        assert client.read_until(lambda: client.received.count(b"\r\n\r\n") == tunnels, 30)
        client.received = b""
        for number in range(2):
            client.send(upload % (number, len(body)), 1)
            for place in range(0, len(body), 100_003):
                client.send(body[place : place + 100_003])
        assert client.read_until(lambda: client.closed or len(client.responses()) == 2, 30)
        assert [status for status, *_ in client.responses()] == [200, 200]
    assert [(request.target, request.body) for request in app.take()] == [("/0", body), ("/1", body)]


def test_a_request_right_behind_connect_may_come_in_pieces_too(sidecar, app):
    connect = b"CONNECT web.test:80 HTTP/1.1\r\nHost: web.test:80\r\n\r\n"
    for _ in range(8):
        with RawClient(sidecar.address("outbound-0")) as client:
            client.send(connect + b"GET /pieces HTTP/1.1\r\nHost: web.test\r\n\r\n", 1)
            assert client.read_until(lambda client=client: client.closed or client.received.endswith(b"ok"), 30)
            assert client.received.count(b"HTTP/1.1 200") == 2
    assert len(app.take()) == 8


@pytest.mark.parametrize(
    "first", [b"\x16\x03\x01hello", b"*1\r\n$4\r\nping\r\n", b"\x00\x00\x00\x08binary", b"get key\r\n"]
)
def test_octets_that_are_not_http_go_through_as_they_are(sidecar, first):
    with connected(sidecar, "odd.test") as client:
        client.received = b""
        client.send(first)
        assert client.read_until(lambda: client.received == first.upper(), 10)
        client.send(b"GET / HTTP/1.1\r\n\r\n")  # nothing is looked at any more
        assert client.read_until(lambda: client.received.endswith(b"GET / HTTP/1.1\r\n\r\n".upper()), 10)
        client.end()
        assert client.read_until(lambda: client.closed, 10)
        assert not client.reset


def test_octets_that_come_with_the_request_are_not_lost(sidecar):
    with RawClient(sidecar.address("outbound-0")) as client:
        client.send(b"CONNECT odd.test:80 HTTP/1.1\r\nHost: odd.test:80\r\n\r\n\x16early")
        assert client.read_until(lambda: client.received.endswith(b"\x16EARLY"), 10)


def test_a_server_that_speaks_first_is_heard(sidecar):
    with connected(sidecar, "mail.test") as client:
        assert client.read_until(lambda: client.received.endswith(b"220 ready\n"), 10)
        client.send(b"ehlo\r\n")
        assert client.read_until(lambda: client.received.endswith(b"EHLO\r\n"), 10)


def test_tls_of_the_client_s_own_ends_at_the_server(shared_mesh):
    mesh, folder = shared_mesh, shared_mesh.identity("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    with talking(wrap=lambda sock: context.wrap_socket(sock, server_side=True)) as secure:
        mesh.entry("secure.test", secure, protocol="TLS")
        mine = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        mine.check_hostname = False
        mine.load_verify_locations(folder / "ca.crt")
        other = mesh.run("other", outbound=[{"listen": "127.0.0.1:0"}])
        with connected(other, "secure.test") as client:
            client.sock.settimeout(10)
            session = mine.wrap_socket(client.sock)
            session.sendall(b"hello")
            assert session.recv(100) == b"HELLO"
            session.close()


def test_a_service_that_is_down_is_told_before_the_tunnel_begins(sidecar):
    with connected(sidecar, "down.test") as client:
        assert client.read_until(lambda: client.closed, 10)
        (status, fields, _) = client.responses()[0]
        assert (status, fields["proxy-status"].split("; ")[1]) == (502, "error=connection_refused")


def test_a_name_that_nobody_knows_is_no_tunnel(sidecar):
    with connected(sidecar, "unknown.test") as client:
        assert client.read_until(lambda: client.closed, 10)
        assert client.responses()[0][0] == 404
