"""Heads larger than usual, and limits smaller than usual: both protocols, both ways, over a pair of sidecars."""

import subprocess

import pytest
from support.origin import Origin
from support.processes import program

LARGE = {
    "maxRequestHeaders": {"size": "256Ki", "line": "64Ki", "count": 300},
    "maxResponseHeaders": {"size": "256Ki", "count": 300},
}
SMALL = {
    "maxRequestHeaders": {"size": "2Ki", "line": "1Ki", "count": 12},
    "maxResponseHeaders": {"size": "2Ki", "count": 8},
}


def answer(wire, request):
    """The app: as many fields of so many octets as the path asks for, behind what it heard of the request."""
    _, count, octets, *_ = request.target.split("/")
    fields = "".join(f"x-{number}: {'v' * int(octets)}\r\n" for number in range(int(count)))
    heard = str(len(request.header("x-large") or "")).encode()
    wire.sock.sendall(f"HTTP/1.1 200 OK\r\n{fields}content-length: {len(heard)}\r\n\r\n".encode() + heard)


@pytest.fixture(scope="module", params=[LARGE, SMALL], ids=["large", "small"])
def pair(request, shared_mesh):
    name = "large" if request.param is LARGE else "small"
    allow = "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: all}, spec: {rules: [{}]}}"
    shared_mesh.policy("allow", allow)
    with Origin(answer) as app:
        inbound = [{"listen": "127.0.0.1:0", "app": app.address}]
        server = shared_mesh.run(f"{name}-server", inbound=inbound, **(LARGE if name == "large" else {}))
        shared_mesh.entry(f"{name}.test", server.address("inbound-0"), mesh=True, account=f"{name}-server")
        client = shared_mesh.run(f"{name}-client", outbound=[{"listen": "127.0.0.1:0"}], **request.param)
        yield name, client.address("outbound-0")
        assert [each.stop() for each in (client, server)] == [0, 0]


@pytest.fixture(params=["--http1.1", "--http2-prior-knowledge"])
def ask(request, pair):
    """The status, the head and the body of a GET."""
    name, address = pair

    def asked(path, *arguments):
        argv = [program("curl"), "-sS", "-i", "--max-time", "30", request.param, "-H", f"Host: {name}.test", *arguments]
        done = subprocess.run([*argv, f"http://{address}{path}"], capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), head.decode(), body

    asked.protocol = request.param
    return asked


def only(pair, name):
    if pair[0] != name:
        pytest.skip(f"for the pair with {name} limits")


def test_large_heads_pass_where_they_may(pair, ask):
    only(pair, "large")
    large = "a" * (90_000 if ask.protocol == "--http1.1" else 50_000)  # in HTTP/2 curl sends no head above 60 KB
    status, head, body = ask("/150/600", "-H", f"x-large: {large}", *["-H", "x-one: b"] * 150)
    assert (status, body) == (200, str(len(large)).encode())
    assert head.count("x-1") > 50
    assert len(head) > 150 * 600
    assert ask(f"/0/0/{'p' * 30_000}")[0] == 200


@pytest.mark.parametrize(
    ("path", "arguments", "status"),
    [
        ("/0/0", ("-H", f"x-large: {'a' * 3000}"), 431),
        ("/0/0", ("-H", "x-one: b") * 20, 431),
        (f"/0/0/{'p' * 1500}", (), 414),
        ("/0/0", ("-H", f"x-large: {'a' * 500}"), 200),
    ],
)
def test_what_is_larger_than_a_document_allows_is_refused(pair, ask, path, arguments, status):
    only(pair, "small")
    assert ask(path, *arguments)[0] == status


@pytest.mark.parametrize("path", ["/1/3000", "/30/1"])
def test_a_response_head_that_is_too_large_is_told_as_such(pair, ask, path):
    only(pair, "small")
    status, head, _ = ask(path)
    assert status == 502
    assert "error=http_response_header_section_size" in head
    assert ask("/2/10")[0] == 200
