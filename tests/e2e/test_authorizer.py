"""An authorizer outside of a running sidecar: what it is asked, what its answers do, and what becomes of none."""

import http.client
import time

import pytest
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
    if "world" in request.fixturenames:
        world = request.getfixturevalue("world")
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
