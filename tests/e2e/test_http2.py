"""HTTP/2 on every leg: curl and h2load in front, nghttpd or an HTTP/1.1 app behind a pair of sidecars."""

import hashlib
import json
import os
import re
import socket
import subprocess
import threading
import urllib.request

import pytest
from support.h2_peers import HyperPeer
from support.origin import Origin, ok
from support.processes import free_port, program, running, until

ALLOW = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: callers, namespace: default}
    spec:
      rules:
        - from: [{source: {principals: ["mesh.test/ns/default/sa/client"]}}]
          to: [{operation: {notPaths: ["/secret*"]}}]
"""
MIB = 1024 * 1024


def curl(*arguments, data=None):
    argv = [program("curl"), "-sS", "--max-time", "20", *arguments]
    return subprocess.run(argv, input=data, capture_output=True, check=True, timeout=30).stdout


def listening(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """nghttpd with a file, and the port it serves HTTP/2 on without TLS."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "large").write_bytes(os.urandom(8 * MIB))
    (folder / "small").write_bytes(b"hello\n")
    port = free_port()
    argv = [program("nghttpd"), "--no-tls", "--address=127.0.0.1", "--htdocs", str(folder), "--echo-upload", str(port)]
    with running(argv, folder.with_suffix(".log")):
        until(lambda: listening(port), what="nghttpd listens")
        yield folder, f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def pair(shared_mesh, site):
    """An HTTP/1.1 origin, and the outbound address of the client's sidecar; apps: reviews (HTTP/1.1), files (h2c)."""
    _, files = site
    with Origin() as origin:
        shared_mesh.policy("allow", ALLOW)
        server = shared_mesh.run(
            "server",
            inbound=[
                {"listen": "127.0.0.1:0", "app": origin.address},
                {"listen": "127.0.0.1:0", "app": files, "protocol": "http2"},
            ],
        )
        shared_mesh.entry("reviews.test", server.address("inbound-0"), mesh=True, account="server")
        shared_mesh.entry("files.test", server.address("inbound-1"), mesh=True, account="server", protocol="HTTP2")
        shared_mesh.entry("direct.test", files, protocol="HTTP2")
        client = shared_mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}])
        origin.server, origin.client = server, client
        yield origin, client.address("outbound-0")


@pytest.fixture(autouse=True)
def clean(pair):
    origin, _ = pair
    origin.behave = lambda wire, request: wire.sock.sendall(ok(b"" if request.method == "HEAD" else b"ok"))
    origin.take()


def call(address, host, path="/", *arguments, version="--http2-prior-knowledge", data=None):
    """Version, status, fields and body of one request."""
    out = curl(version, "-i", "-H", f"Host: {host}", *arguments, f"http://{address}{path}", data=data)
    head, _, body = out.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    spoken, status = lines[0].split()[:2]
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    return spoken, int(status), fields, body


def test_http2_in_front_http1_behind(pair):
    origin, address = pair
    assert call(address, "reviews.test", "/a?b=c")[:2] == ("HTTP/2", 200)
    (request,) = origin.take()
    assert (request.version, request.target, request.header("host")) == ("HTTP/1.1", "/a?b=c", "reviews.test")
    assert "URI=spiffe://mesh.test/ns/default/sa/client" in request.header("x-forwarded-client-cert")
    assert re.search(r"\b2 client\.default-out, 2 server\.default-in", request.header("via"))


def test_http2_on_every_leg(pair, site):
    folder, _ = site
    _, address = pair
    spoken, status, _, body = call(address, "files.test", "/large")
    assert (spoken, status) == ("HTTP/2", 200)
    assert hashlib.sha256(body).digest() == hashlib.sha256((folder / "large").read_bytes()).digest()


@pytest.mark.parametrize("host", ["files.test", "direct.test"])
def test_http1_in_front_http2_behind(pair, host):
    _, address = pair
    spoken, status, _, body = call(address, host, "/small", version="--http1.1")
    assert (spoken, status, body) == ("HTTP/1.1", 200, b"hello\n")


@pytest.mark.parametrize("host", ["reviews.test", "files.test"])
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_a_large_body_up_and_down(pair, host, version):
    origin, address = pair
    origin.behave = lambda wire, request: wire.sock.sendall(ok(request.body))
    sent = os.urandom(4 * MIB)
    body = call(address, host, "/echo", "--data-binary", "@-", "-H", "Expect:", version=version, data=sent)[3]
    assert hashlib.sha256(body).digest() == hashlib.sha256(sent).digest()


def test_a_head_request_has_no_body(pair):
    _, address = pair
    assert call(address, "reviews.test", "/", "--head")[1] == 200


def test_a_denial_says_who_and_why(pair):
    origin, address = pair
    spoken, status, fields, _ = call(address, "reviews.test", "/secret/x")
    assert (spoken, status) == ("HTTP/2", 403)
    assert "rbac_access_denied" in fields["proxy-status"]
    assert "server.default" in fields["proxy-status"]
    assert not origin.take()


def test_a_name_nobody_knows(pair):
    _, address = pair
    assert call(address, "nobody.test")[1] == 404


def test_trailers_pass_through(pair):
    origin, address = pair

    def behave(wire, _request):
        wire.sock.sendall(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 42\r\n\r\n"
        )

    origin.behave = behave
    out = curl("--http2-prior-knowledge", "-v", "--stderr", "-", "-H", "Host: reviews.test", f"http://{address}/")
    assert b"x-sum: 42" in out


def test_many_streams_share_one_connection_between_the_sidecars(pair):
    origin, address = pair
    out = subprocess.run(
        [program("h2load"), "-n2000", "-c4", "-m20", "-H", ":authority: files.test", f"http://{address}/small"],
        capture_output=True,
        check=True,
        timeout=60,
        text=True,
    ).stdout
    assert "2000 succeeded, 0 failed, 0 errored" in out

    def dialled():
        """How often each worker has dialled, once all have told of it."""
        with urllib.request.urlopen(f"http://{origin.client.address('admin')}/clusters", timeout=10) as answer:
            clusters = json.load(answer)
        if not all(clusters.values()):
            return None
        pools = [
            endpoint["other_protocol"] if endpoint["protocol"] == "http1" else endpoint
            for worker in clusters.values()
            for name, cluster in worker["clusters"].items()
            for endpoint in cluster["endpoints"]
            if "files" in name
        ]
        counts = [pool["dialled"] for pool in pools if pool is not None]
        return counts if len(counts) == len(clusters) and all(counts) else None

    assert max(until(dialled, what="every worker tells of its connections")) <= 2


def test_forty_responses_that_nobody_reads_stop_nobody_elses(pair):
    """All share one connection to the server, whose window sixteen of them filled."""
    _, address = pair
    host, _, port = address.rpartition(":")
    slow = HyperPeer(client=True)
    slow.reads = False
    with socket.create_connection((host, int(port)), 10) as sock:
        streams = [slow.request(path=b"/large", authority=b"direct.test") for _ in range(40)]
        sock.sendall(slow.say())
        while sum(map(len, slow.bodies.values())) < 1048576:  # all that its own window takes
            slow.hear(sock.recv(65536))
        assert set(slow.heads) == set(streams)
        for _ in range(3):  # not only once the time limit of a route has ended the forty
            assert call(address, "direct.test", "/small", "--max-time", "10")[3] == b"hello\n"


class Crasher:
    """An app of HTTP/2 that reads a request to its end, says so much as window updates, and crashes without an answer
    unless it is asked for /ok."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with sock:
                self._serve(sock)

    def _serve(self, sock):
        peer = HyperPeer(client=False)
        sock.sendall(peer.say())
        while octets := sock.recv(65536):
            peer.hear(octets)
            for stream in tuple(peer.ended):
                if peer.heads[stream][0][b":path"] != b"/ok":
                    sock.sendall(peer.say())
                    return
                peer.ended.discard(stream)
                peer.answer(stream, 200, end=True)
            sock.sendall(peer.say())

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)


def test_an_app_that_crashes_under_a_request_is_held_against_its_endpoint(mesh):
    """On a connection that had carried others it was taken for one that died of idleness, and forgiven."""
    app = Crasher()
    try:
        mesh.entry("app.test", app.address, protocol="HTTP2")
        sidecar = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}])
        address = sidecar.address("outbound-0")
        assert call(address, "app.test", "/ok")[1] == 200
        status, fields = call(address, "app.test", "/crash", "--data-binary", "@-", data=bytes(100_000))[1:3]
        assert status == 502
        assert "upstream_reset_before_response_started{the peer closed the connection}" in fields["proxy-status"]

        def failures():
            with urllib.request.urlopen(f"http://{sidecar.address('admin')}/clusters", timeout=10) as answer:
                [worker] = json.load(answer).values()
            return worker and sum(each["failures"] for each in worker["clusters"]["app.test:80"]["endpoints"])

        assert until(failures, what="the failure is counted") == 1
    finally:
        app.close()
