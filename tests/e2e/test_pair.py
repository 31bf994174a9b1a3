"""Two sidecars, mutual TLS between them, curl in front and an app behind."""

import json
import re
import subprocess

import pytest
from support.origin import Origin, ok
from support.processes import program, until
from support.wire import RawClient

ALLOW = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: callers, namespace: default}
    spec:
      selector: {matchLabels: {app: server}}
      rules:
        - from: [{source: {principals: ["mesh.test/ns/default/sa/client"]}}]
          to: [{operation: {notPaths: ["/secret*"]}}]
"""


@pytest.fixture(scope="module")
def pair(shared_mesh):
    """The origin, and where the client's sidecar listens."""
    with Origin() as origin:
        shared_mesh.policy("allow", ALLOW)
        server = shared_mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": origin.address}])
        shared_mesh.entry("reviews.test", server.address("inbound-0"), mesh=True, account="server")
        client = shared_mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}])
        origin.client, origin.server = client, server
        yield origin, client.address("outbound-0")


@pytest.fixture(autouse=True)
def clean(pair):
    origin, _ = pair
    origin.behave = lambda wire, request: wire.sock.sendall(ok(b"" if request.method == "HEAD" else b"ok"))
    origin.take()


def curl(*arguments, data=None):
    argv = [program("curl"), "-sS", "--max-time", "20", *arguments]
    return subprocess.run(argv, input=data, capture_output=True, check=True, timeout=30).stdout


def call(address, path="/", *arguments, data=None):
    """Status, fields and body of one request for reviews.test."""
    out = curl("-i", "-H", "Host: reviews.test", *arguments, f"http://{address}{path}", data=data)
    while True:
        head, _, body = out.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        if status >= 200:
            break
        out = body
    return status, {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}, body


def test_a_request_arrives_with_who_sent_it_and_what_it_belongs_to(pair):
    origin, address = pair
    status, fields, body = call(address, "/a?b=c", "-H", "x-forwarded-client-cert: By=me;URI=spiffe://evil/ns/x/sa/y")
    assert (status, body) == (200, b"ok")
    assert "proxy-status" not in fields
    (request,) = origin.take()
    assert request.target == "/a?b=c"
    assert request.header("host") == "reviews.test"
    claim = request.header("x-forwarded-client-cert")
    assert re.fullmatch(
        r"By=spiffe://mesh\.test/ns/default/sa/server;Hash=[0-9a-f]{64};URI=spiffe://mesh\.test/ns/default/sa/client",
        claim,
    )
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", request.header("traceparent"))
    assert re.fullmatch(r"[0-9a-f-]{36}", request.header("x-request-id"))


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_a_forged_identity_went_by_in_underscores(pair, version):
    """A CGI or WSGI app sees one variable for both spellings, and may see the forged one."""
    origin, address = pair
    forged = ["X_Forwarded_Client_Cert", "x_forwarded-for", "X.Forwarded.Host", "x_request_id", "X_Envoy_Internal"]
    fields = [word for name in forged for word in ("-H", f"{name}: forged")]
    status, _, _ = call(address, "/", version, *fields, "-H", "X_Tenant: seven")
    assert status == 200
    (request,) = origin.take()
    assert request.header("x_tenant") == "seven"
    assert "spiffe://" in request.header("x-forwarded-client-cert")
    assert not [name for name, value in request.headers if "forged" in value]


def test_a_trailer_said_who_is_calling(pair):
    origin, address = pair
    trailers = b"X_Forwarded_Client_Cert: forged\r\nX-Forwarded-Host: forged\r\nx_sum: 7\r\n"
    with RawClient(address) as client:
        head = b"POST / HTTP/1.1\r\nhost: reviews.test\r\ntransfer-encoding: chunked\r\n\r\n"
        client.send(head + b"0\r\n%b\r\n" % trailers)
        client.read_until(lambda: client.responses(["POST"]), 10)
    (request,) = origin.take()
    assert request.trailers == [("x_sum", "7")]


def test_a_trace_goes_on(pair):
    origin, address = pair
    trace = "0af7651916cd43dd8448eb211c80319c"
    call(address, "/", "-H", f"traceparent: 00-{trace}-b7ad6b7169203331-01", "-H", "x-request-id: mine-1")
    (request,) = origin.take()
    assert request.header("traceparent").split("-")[1] == trace
    assert request.header("traceparent").endswith("-01")
    assert request.header("x-request-id") == "mine-1"


def test_what_policy_forbids_is_denied_and_says_who_and_why(pair):
    origin, address = pair
    status, fields, _ = call(address, "/secret/x")
    assert status == 403
    assert fields["proxy-status"].startswith('"server.default"; error=http_request_denied')
    assert "callers rule 0" in fields["proxy-status"]
    assert not origin.take()


def test_a_host_nobody_knows_is_told_by_our_own_sidecar(pair):
    _, address = pair
    out = curl("-i", "-H", "Host: nobody.test", f"http://{address}/")
    assert b"404" in out.split(b"\r\n")[0]
    assert b'proxy-status: "client.default"; error=destination_not_found' in out.lower()


@pytest.mark.parametrize("size", [0, 1, 65_536, 8 * 1024 * 1024])
@pytest.mark.parametrize("way", ["length", "chunked"])
def test_bodies_of_any_size_both_ways(pair, size, way):
    origin, address = pair
    origin.behave = lambda wire, request: wire.sock.sendall(ok(request.body))
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    chunked = ["-H", "Transfer-Encoding: chunked"] if way == "chunked" else []
    status, _, body = call(address, "/", "--data-binary", "@-", "-H", "Expect:", *chunked, data=data)
    assert status == 200
    assert body == data
    (request,) = origin.take()
    assert request.body == data


def test_a_client_that_waits_for_100_gets_it(pair):
    origin, address = pair
    origin.on_head = lambda wire, request: wire.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        status, _, _ = call(address, "/", "-H", "Expect: 100-continue", "--data-binary", "@-", data=b"body")
    finally:
        origin.on_head = None
    assert status == 200
    assert origin.take()[0].body == b"body"


def test_head_and_answers_without_a_body(pair):
    origin, address = pair
    status, fields, body = call(address, "/", "-I")
    assert (status, fields["content-length"], body) == (200, "0", b"")
    for status in (204, 304):
        origin.behave = lambda wire, request, status=status: wire.sock.sendall(b"HTTP/1.1 %d X\r\n\r\n" % status)
        assert call(address)[0] == status


def test_a_body_that_ends_with_the_connection(pair):
    origin, address = pair

    def behave(wire, request):
        wire.sock.sendall(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")
        raise EOFError

    origin.behave = behave
    assert call(address)[2] == b"until the end"


def test_trailers_arrive(pair):
    origin, address = pair
    origin.behave = lambda wire, request: wire.sock.sendall(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n"
    )
    out = curl("-i", "--raw", "-H", "Host: reviews.test", f"http://{address}/")
    assert b"x-sum: 7" in out.lower()


def test_as_a_forward_proxy_by_absolute_form_and_by_connect(pair):
    origin, address = pair
    assert curl("-x", f"http://{address}", "http://reviews.test/by-proxy") == b"ok"
    assert curl("-p", "-x", f"http://{address}", "http://reviews.test/by-connect") == b"ok"
    assert [request.target for request in origin.take()] == ["/by-proxy", "/by-connect"]


def test_http_1_0_and_keep_alive(pair):
    _origin, address = pair
    assert call(address, "/", "--http1.0")[0] == 200
    out = curl("-H", "Host: reviews.test", f"http://{address}/1", f"http://{address}/2", "-w", "%{num_connects} ")
    assert out == b"ok1 ok0 "


def test_an_upgrade_is_a_tunnel(pair):
    origin, address = pair

    def behave(wire, request):
        assert request.header("upgrade") == "websocket"
        wire.sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := wire.sock.recv(100):
            wire.sock.sendall(data.upper())
        raise EOFError

    origin.behave = behave
    with RawClient(address) as client:
        client.send(b"GET /ws HTTP/1.1\r\nHost: reviews.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert client.read_until(lambda: b"\r\n\r\n" in client.received, 10)
        assert client.received.startswith(b"HTTP/1.1 101 ")
        client.send(b"hello")
        assert client.read_until(lambda: client.received.endswith(b"HELLO"), 10)


def test_connections_between_sidecars_are_kept(pair):
    origin, address = pair
    admin = origin.client.address("admin")
    for _ in range(20):
        call(address)

    def dialled():
        """By every worker that has told of itself yet."""
        text = json.dumps(json.loads(curl(f"http://{admin}/clusters")))
        return [int(number) for number in re.findall(r'"dialled": (\d+)', text)]

    assert max(until(dialled, what="the account of a worker")) <= 4
