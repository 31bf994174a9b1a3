"""An authorizer outside of a running sidecar: what it is asked, what its answers do, and what becomes of none."""

import contextlib
import http.client
import socket
import time

import pytest
from e2e.conftest import Mesh
from support.origin import Hangup, Origin, ok

PLAIN = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: plain}
spec: {mtls: {mode: DISABLE}}
"""
CUSTOM = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask}
spec:
  action: CUSTOM
  provider: {name: door}
  rules: [{to: [{operation: {notPaths: [/open]}}]}]
"""
DENY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: never}
spec:
  action: DENY
  rules: [{when: [{key: "request.headers[x-user]", values: [mallory]}]}]
"""


def answer(wire, request):
    """Judges by the path."""
    path = request.target.removeprefix("/check")
    if path.startswith("/hang"):
        time.sleep(3)
    if path.startswith("/break"):
        raise Hangup
    extra = [b"x-user: mallory" if path == "/mallory" else b"x-user: alice", b"x-told: yes", b"x-other: no"]
    if path == "/large":
        wire.sock.sendall(ok(b"x" * 100_000, *extra))
    elif path in ("/denied", "/error", "/moved"):
        status = {"/denied": b"418 Teapot", "/error": b"500 Oh", "/moved": b"302 Found"}[path]
        head = b"HTTP/1.1 " + status + b"\r\nlocation: http://login.test/\r\nx-told: no\r\nx-other: no\r\n"
        wire.sock.sendall(head + b"content-type: text/html\r\ncontent-length: 4\r\n\r\nno\r\n")
    else:
        wire.sock.sendall(ok(b"" if request.method == "HEAD" else b"ok", *extra))


PROVIDER = {
    "service": "door.test",
    "port": 80,
    "timeout": "300ms",
    "pathPrefix": "/check",
    "includeRequestHeadersInCheck": ["x-asked-*"],
    "includeAdditionalHeadersInCheck": {"X-From": "orders"},
    "headersToUpstreamOnAllow": ["x-user"],
    "headersToDownstreamOnDeny": ["x-told"],
    "headersToDownstreamOnAllow": ["x-told"],
}


class World:
    def __init__(self, mesh, app, door, **more):
        self.app, self.door = app, door
        mesh.policy("plain", PLAIN)
        mesh.policy("custom", CUSTOM)
        mesh.policy("deny", DENY)
        mesh.entry("door.test", door.address)
        provider = {"name": "door", "envoyExtAuthzHttp": PROVIDER | more}
        inbound = [{"listen": "127.0.0.1:0", "app": app.address}]
        self.sidecar = mesh.run("server", inbound=inbound, extensionProviders=[provider])

    def ask(self, path, method="GET", body=None, **headers):
        host, _, port = self.sidecar.address("inbound-0").rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"Host": "a.test"} | fields)
        found = connection.getresponse()
        content = found.read()
        connection.close()
        return found.status, found, content


@pytest.fixture(scope="module")
def world(shared_mesh):
    with Origin() as app, Origin(answer) as door:
        yield World(shared_mesh, app, door)


@pytest.fixture(autouse=True)
def nothing_before(request):
    for name in {"world", "body_world"} & {*request.fixturenames}:
        world = request.getfixturevalue(name)
        world.app.take()
        world.door.take()


@pytest.mark.slow
def test_what_is_asked_and_what_an_admitted_request_looks_like(world):
    sent = {"x_asked_a": "1", "x_hidden": "2", "x_user": "root", "authorization": "Basic YTpi"}
    status, head, content = world.ask("/path?q=1", "POST", b"a body", **sent)
    assert (status, content) == (200, b"ok")
    [asked] = world.door.take()
    assert (asked.method, asked.target, asked.header("host"), asked.body) == ("POST", "/check/path?q=1", "a.test", b"")
    assert [asked.header(name) for name in ("x-asked-a", "x-from", "authorization")] == ["1", "orders", "Basic YTpi"]
    assert asked.header("x-hidden") is None
    [request] = world.app.take()
    assert (request.target, request.body) == ("/path?q=1", b"a body")
    assert (request.header("x-user"), request.header("x-hidden"), request.header("x-told")) == ("alice", "2", None)
    assert (head.getheader("x-told"), head.getheader("x-other")) == ("yes", None)


@pytest.mark.slow
def test_a_denial_is_the_authorizers_own(world):
    status, head, content = world.ask("/denied")
    assert (status, content.strip()) == (418, b"no")
    assert (head.getheader("content-type"), head.getheader("x-told")) == ("text/html", "no")
    assert head.getheader("x-other") is None
    assert world.app.take() == []


@pytest.mark.slow
def test_a_redirect_to_a_login(world):
    status, head, _ = world.ask("/moved")
    assert (status, head.getheader("location")) == (302, "http://login.test/")


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/error", "/break", "/hang", "/large"])
def test_no_answer_admits_nobody(world, path):
    status, _, content = world.ask(path)
    assert (status, content.strip()) == (403, b"denied")
    assert world.app.take() == []


@pytest.mark.slow
def test_what_no_rule_takes_is_not_asked_about(world):
    assert world.ask("/open")[0] == 200
    assert world.door.take() == []


@pytest.mark.slow
def test_the_other_policies_are_about_what_the_authorizer_made_of_the_request(world):
    assert world.ask("/mallory")[0] == 403
    assert world.ask("/open", x_user="mallory")[0] == 403
    assert world.app.take() == []


@pytest.mark.slow
def test_a_head_request(world):
    assert world.ask("/path", "HEAD")[0] == 200
    assert world.door.take()[0].method == "HEAD"


@pytest.fixture(scope="module")
def body_world(tmp_path_factory):
    with Origin() as app, Origin(answer) as door:
        mesh = Mesh(tmp_path_factory.mktemp("bodies"))
        made = World(mesh, app, door, includeRequestBodyInCheck={"maxRequestBytes": 1000, "allowPartialMessage": True})
        yield made
        mesh.close()


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 1000, 1001, 3_000_000])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_is_shown_as_far_as_said_and_goes_on_whole(body_world, size, chunked):
    body = bytes(range(250)) * (size // 250) + b"x" * (size % 250)
    sent = (body[at : at + 60_000] for at in range(0, size, 60_000)) if chunked else body
    assert body_world.ask("/path", "POST", sent)[0] == 200
    [asked], [request] = body_world.door.take(), body_world.app.take()
    assert (asked.body, asked.header("x-envoy-auth-partial-body")) == (body[:1000], str(size > 1000).lower())
    assert request.body == body
    assert request.header("x-envoy-auth-partial-body") is None


@pytest.mark.slow
def test_a_client_that_waits_for_a_word_gets_it_from_the_sidecar(body_world):
    host, _, port = body_world.sidecar.address("inbound-0").rpartition(":")
    with socket.create_connection((host, int(port)), 10) as sock:
        sock.sendall(b"PUT /path HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 100 ")
        assert body_world.door.take() == []
        sock.sendall(b"ab")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
    [asked], [request] = body_world.door.take(), body_world.app.take()
    assert (asked.body, request.body, request.header("expect")) == (b"ab", b"ab", None)


@pytest.mark.slow
def test_a_refused_body_does_not_end_as_a_request(body_world):
    """The rest of a body that nobody read any more must not be taken for what follows it."""
    host, _, port = body_world.sidecar.address("inbound-0").rpartition(":")
    with socket.create_connection((host, int(port)), 10) as sock:
        sock.sendall(b"POST /denied HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3000\r\n\r\n" + b"a" * 1500)
        told = b""
        while b"\r\n\r\n" not in told:
            told += sock.recv(65536)
        sock.sendall(b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n" * 20)
        with contextlib.suppress(ConnectionError):
            while more := sock.recv(65536):
                told += more
    assert (told.startswith(b"HTTP/1.1 418 "), told.count(b"HTTP/1.1")) == (True, 1)
    assert body_world.app.take() == []


@pytest.mark.slow
def test_a_client_that_leaves_before_its_body_is_there(body_world):
    host, _, port = body_world.sidecar.address("inbound-0").rpartition(":")
    with socket.create_connection((host, int(port)), 10) as sock:
        sock.sendall(b"POST /path HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\n" + b"a" * 50)
    assert body_world.ask("/open")[0] == 200
    assert body_world.door.take() == []


@pytest.mark.slow
def test_failing_open_and_another_status(mesh):
    with Origin() as app, Origin(answer) as door:
        world = World(mesh, app, door, failOpen=True)
        assert world.ask("/error")[0] == 200
        assert world.ask("/denied")[0] == 418
        door.close()
        assert world.ask("/path")[0] == 200
        assert [request.target for request in app.take()] == ["/error", "/path"]


@pytest.mark.slow
def test_an_authorizer_that_is_away(mesh):
    with Origin() as app, Origin(answer) as door:
        world = World(mesh, app, door, statusOnError="503")
        door.close()
        assert world.ask("/path")[0] == 503
        assert world.ask("/open")[0] == 200
