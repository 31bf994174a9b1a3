"""Paths that may be read in several ways, fields that come twice, the client behind proxies: through a running pair."""

import json
import subprocess

import pytest
from support.origin import Origin, ok
from support.processes import program, until

POLICIES = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: closed, namespace: default}
spec:
  selector: {matchLabels: {app: server}}
  action: DENY
  rules:
    - to: [{operation: {paths: ["/admin*"]}}]
    - from: [{source: {remoteIpBlocks: [203.0.113.0/24]}}]
      to: [{operation: {paths: [/by-client]}}]
---
apiVersion: meshd.dev/v1alpha1
kind: RequestPolicy
metadata: {name: bots, namespace: default}
spec:
  selector: {matchLabels: {app: server}}
  rules:
    - match: {headers: [{name: x-bot, value: "1"}]}
      respond: {status: 418}
"""
VERSIONS = ("--http1.1", "--http2-prior-knowledge")
KEPT = (
    "/api/v4/projects/group%2Fproject",
    "/api/queues/%2F/orders",
    "/share/a%5Cb",
    "/items[0]",
    "/a|b",
    "/tpl/{id}",
    "/caf%C3%A9%41",
    "/wiki/Topic://Sub",
    "/bucket//key/",
    "/a\\b;v=1",
    "/100%",
)


@pytest.fixture(scope="module")
def pair(shared_mesh):
    with Origin() as origin:
        origin.behave = lambda wire, _: wire.sock.sendall(ok())
        shared_mesh.policy("policies", POLICIES)
        log = shared_mesh.folder / "server.jsonl"
        server = shared_mesh.run(
            "server",
            inbound=[{"listen": "127.0.0.1:0", "app": origin.address}],
            numTrustedProxies=1,
            telemetry={"accessLog": {"path": str(log), "format": "json"}},
        )
        shared_mesh.entry("shop.test", server.address("inbound-0"), mesh=True, account="server")
        client = shared_mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}])
        origin.log, origin.outbound = log, client.address("outbound-0")
        yield origin


def status(origin, target, *arguments):
    argv = [program("curl"), "-s", "-g", "--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20"]
    argv += ["-H", "Host: shop.test", *arguments, f"http://{origin.outbound}{target}"]
    return int(subprocess.run(argv, capture_output=True, check=True, timeout=30).stdout)


def lines(origin, path):
    """The access lines of the server's sidecar about a path."""

    def find():
        entries = map(json.loads, origin.log.read_text().splitlines()) if origin.log.exists() else ()
        return [entry for entry in entries if entry["path"].partition("?")[0] == path]

    return until(find, what=f"an access line about {path}")


@pytest.mark.parametrize("version", VERSIONS)
def test_paths_reach_the_app_byte_for_byte(pair, version):
    pair.take()
    for path in KEPT:
        assert status(pair, path + "?q=[1]//%2f", version) == 200, path
    assert [request.target for request in pair.take()] == [path + "?q=[1]//%2f" for path in KEPT]


@pytest.mark.parametrize("version", VERSIONS)
def test_no_way_to_write_a_path_gets_past_a_denial(pair, version):
    pair.take()
    for path in ("//admin", "/%2Fadmin", "/x/..%2fadmin", "/x\\..\\admin", "/%61dmin", "/;v=1/admin", "/x//../admin"):
        assert status(pair, path, version) == 403, path
    assert pair.take() == []


@pytest.mark.parametrize(
    ("client", "expected"), [("203.0.113.9", 403), ("192.0.2.1", 200), ("203.0.113.9, 192.0.2.1", 200)]
)
def test_a_denial_by_the_clients_address(pair, client, expected):
    assert status(pair, "/by-client", "-H", f"X-Forwarded-For: {client}") == expected
    named = client.rpartition(", ")[2]
    until(lambda: named in [entry["facts"]["client_address"] for entry in lines(pair, "/by-client")], what="its line")


@pytest.mark.parametrize("values", [("0", "1"), ("1", "0")])
def test_a_field_that_comes_twice(pair, values):
    fields = [word for value in values for word in ("-H", f"X-Bot: {value}")]
    assert status(pair, "/", *fields) == 418


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_a_refused_request_is_found_in_the_log(pair, version, shared_mesh):
    """Its line said `-` for method, path and authority."""
    path, folder = f"/refused{version}/%00", shared_mesh.identity("client")
    argv = [program("curl"), "-s", "-k", "-o", "/dev/null", "-w", "%{http_code}", version, "-H", "Host: shop.test"]
    argv += ["--cert", f"{folder}/tls.crt", "--key", f"{folder}/tls.key"]
    url = f"https://{shared_mesh.sidecars[0].address('inbound-0')}{path}"
    done = subprocess.run([*argv, url], capture_output=True, check=True, timeout=30)
    assert done.stdout == b"400"
    (entry,) = lines(pair, path)
    assert (entry["method"], entry["authority"], entry["response_flags"]) == ("GET", "shop.test", "DPE")
    assert (entry["response_code"], entry["protocol"]) == (400, {"--http2": "HTTP/2"}.get(version, "HTTP/1.1"))
