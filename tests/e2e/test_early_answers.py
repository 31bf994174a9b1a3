"""Answers that come before the request is whole, an app's or a sidecar's, and whether the client ever hears them."""

import contextlib
import socket
import ssl
import subprocess
import threading
import time

import pytest
from support.http2 import PREFACE, SETTINGS, SETTINGS_ACK, data, frames, headers
from support.origin import Hangup, Reset, ok
from support.processes import program
from support.wire import RawClient

from meshd.http.h2_frames import Kind, goaway_frame

MB = 1 << 20
MANY = 12
REFUSAL = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large"
SMALL = """
    apiVersion: meshd.dev/v1alpha1
    kind: RequestPolicy
    metadata: {name: small, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: small-test}]
      rules: [{maxRequestBody: 100Ki}]
"""
DENY = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: secret, namespace: default}
    spec: {action: DENY, rules: [{to: [{operation: {paths: [/secret]}}]}]}
"""
POLICIES = {"early.test": DENY, "small.test": SMALL}


def refuse_and_leave(wire, request):
    wire.sock.sendall(REFUSAL)
    raise Hangup


def refuse_and_reset(wire, request):
    wire.sock.sendall(REFUSAL)
    raise Reset


def refuse_after_a_look(wire, request):
    wire.sock.recv(65536)
    wire.sock.sendall(REFUSAL)
    raise Hangup


APPS = [refuse_and_leave, refuse_and_reset, refuse_after_a_look]


def upload(
    address, host="early.test", size=8 * MB, *, path="/upload", chunked=False, piece=65536, pause=0.0, wrap=None
):
    """Upload as much as the server takes, and read what it said only then."""
    with RawClient(address, wrap) as client:
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
        octets = b"x" * piece
        octets = b"%x\r\n%b\r\n" % (piece, octets) if chunked else octets
        client.sock.settimeout(20)
        with contextlib.suppress(OSError):
            client.sock.sendall(f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{framing}\r\n\r\n".encode() + octets)
            for _ in range(size // piece - 1):
                time.sleep(pause)
                client.sock.sendall(octets)
        client.read_until(lambda: client.closed, 10)
        return client.received


@pytest.fixture
def refusing(pair):
    """The pair before an app that refuses as it is told."""
    yield pair
    pair.origin.on_head = None


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_an_early_answer_reaches_a_client_that_sends_before_it_reads(refusing, app, chunked):
    refusing.origin.on_head = app
    heard = [upload(refusing.address, chunked=chunked) for _ in range(MANY)]
    assert [each[9:12] for each in heard] == [b"413"] * MANY
    assert all(each.endswith(b"too large") for each in heard)
    assert len(refusing.origin.take()) == MANY  # a POST that is refused is not asked for again


@pytest.mark.parametrize("app", APPS)
def test_an_early_answer_reaches_a_client_without_a_sidecar_over_tls(shared_mesh, refusing, app):
    folder = shared_mesh.identity("client")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(folder / "ca.crt")
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    refusing.origin.on_head = app
    inbound = refusing.server.address("inbound-0")
    heard = [upload(inbound, size=2 * MB, wrap=context.wrap_socket) for _ in range(MANY)]
    assert [each[9:12] for each in heard] == [b"413"] * MANY


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
@pytest.mark.parametrize("expects", ["Expect: 100-continue", "Expect:"])
def test_curl_hears_an_early_answer(refusing, tmp_path, version, expects):
    refusing.origin.on_head = refuse_after_a_look
    body = tmp_path / "body"
    body.write_bytes(b"x" * 4 * MB)
    url = f"http://{refusing.address}/upload"
    argv = [program("curl"), "-sS", "--max-time", "20", version, "-H", "Host: early.test", "-H", expects]
    argv += ["-w", " %{http_code}", "--data-binary", f"@{body}", url]
    for _ in range(MANY):
        done = subprocess.run(argv, capture_output=True, timeout=30, check=False)
        assert (done.stdout, done.stderr) == (b"too large 413", b"")
    assert len(refusing.origin.take()) == MANY


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl_with_a_certificate_of_its_own_hears_an_early_answer(shared_mesh, refusing, tmp_path, version):
    """A workload without a sidecar, whose library may lose what comes before RST_STREAM(NO_ERROR)."""
    folder, body = shared_mesh.identity("client"), tmp_path / "body"
    body.write_bytes(b"x" * 4 * MB)
    refusing.origin.on_head = refuse_after_a_look
    argv = [program("curl"), "-sSk", "--max-time", "20", version, "-H", "Expect:", "-H", "Host: early.test"]
    argv += ["--cert", str(folder / "tls.crt"), "--key", str(folder / "tls.key"), "--data-binary", f"@{body}"]
    argv += ["-w", " %{http_code}", f"https://{refusing.server.address('inbound-0')}/upload"]
    for _ in range(MANY):
        done = subprocess.run(argv, capture_output=True, timeout=30, check=False)
        assert (done.stdout, done.stderr) == (b"too large 413", b"")
    assert len(refusing.origin.take()) == MANY


def test_a_client_that_takes_its_time_is_waited_for(refusing):
    """Three seconds of upload after the answer, on a path that is slower than ours."""
    refusing.origin.on_head = refuse_and_leave
    heard = upload(refusing.address, size=30 * 4096, piece=4096, pause=0.1)
    assert heard.endswith(b"too large")


@pytest.mark.parametrize(("host", "path", "status"), [("early.test", "/secret", b"403"), ("small.test", "/", b"413")])
def test_what_a_sidecar_refuses_early_is_heard_too(pair, host, path, status):
    heard = [upload(pair.address, host, path=path) for _ in range(MANY)]
    assert [each[9:12] for each in heard] == [status] * MANY


def test_a_client_that_stays_silent_is_not_waited_for(refusing):
    refusing.origin.on_head = refuse_and_leave
    with RawClient(refusing.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: early.test\r\nContent-Length: 100\r\n\r\n")
        assert client.read_until(lambda: client.closed, 10)
        assert client.received.endswith(b"too large")


class RefusingH2App:
    """Answers each request of HTTP/2 as soon as its head is there, says goodbye and closes, whatever still comes."""

    def __init__(self) -> None:
        self.asked = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        with sock, contextlib.suppress(OSError):
            sock.sendall(SETTINGS + SETTINGS_ACK)
            received = b""
            while received.find(PREFACE) < 0 or not self._has_head(received[len(PREFACE) :]):
                octets = sock.recv(65536)
                if not octets:
                    return
                received += octets
            self.asked += 1
            head = headers(1, [(b":status", b"413"), (b"content-length", b"9")])
            sock.sendall(head + data(1, b"too large", end=True) + goaway_frame(1, 0, ""))

    @staticmethod
    def _has_head(octets):
        whole = b""
        while len(octets) >= 9 and len(octets) >= 9 + int.from_bytes(octets[:3], "big"):
            size = 9 + int.from_bytes(octets[:3], "big")
            whole, octets = whole + octets[:size], octets[size:]
        return any(kind == Kind.HEADERS for kind, *_ in frames(whole))


def test_an_app_of_http2_that_answers_and_goes_is_heard(shared_mesh, pair):
    app = RefusingH2App()
    shared_mesh.entry("multiplexed.test", app.address, protocol="HTTP2")
    client = shared_mesh.run("alone", outbound=[{"listen": "127.0.0.1:0"}])
    try:
        heard = [upload(client.address("outbound-0"), "multiplexed.test") for _ in range(MANY)]
        assert [each[9:12] for each in heard] == [b"413"] * MANY
        assert app.asked == MANY
    finally:
        app.close()


def test_octets_behind_an_upgrade_that_is_not_granted_are_no_request(pair):
    """They came before the answer, so they may be of the protocol that was asked for."""
    began, go_on = threading.Event(), threading.Event()

    def ignore(wire, request):
        began.set()
        go_on.wait(30)
        wire.sock.sendall(ok(request.target.encode()))

    pair.origin.behave = ignore
    head = b"GET /first HTTP/1.1\r\nHost: early.test\r\n"
    with RawClient(pair.address) as client:
        client.send(head + b"Connection: Upgrade\r\nUpgrade: foo\r\n\r\n")
        assert began.wait(30)
        client.send(head.replace(b"first", b"smuggled") + b"\r\n")
        go_on.set()
        assert client.read_until(lambda: client.closed, 30)
        assert not client.reset
        assert [(status, body) for status, _, body in client.responses()] == [(200, b"/first")]
    assert [request.target for request in pair.origin.take()] == ["/first"]


def test_more_requests_behind_the_last_one_do_not_cut_its_response(pair):
    """What came and is not read any more would reset the connection, and what was not read yet with it."""
    pair.origin.behave = lambda wire, _: wire.sock.sendall(ok(b"x" * 4 * MB))
    head = b"GET / HTTP/1.1\r\nHost: early.test\r\n"
    with RawClient(pair.address) as client:
        client.send(head + b"Connection: close\r\n\r\n" + (head + b"\r\n") * 6000)
        assert client.read_until(lambda: client.closed, 30)
        assert not client.reset
        assert [(status, len(body)) for status, _, body in client.responses()] == [(200, 4 * MB)]
    assert len(pair.origin.take()) == 1
