"""Envoy 1.40 as the other sidecar over HTTP/2, in both positions: mutual TLS, ALPN h2, many streams at a time."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from peers.test_envoy import SPIFFE, envoys, mesh, origin, settled, tls
from support.origin import ok
from support.processes import program

__all__ = ["envoys", "mesh", "origin"]  # fixtures

MIB = 1048576
H2 = ("h2",)


def ask(address: str, path: str, *arguments: str, data: bytes | None = None) -> bytes:
    """The body of one answer."""
    argv = [program("curl"), "-sS", "--fail", "--max-time", "20", "-H", "Host: reviews.test", *arguments]
    return subprocess.run([*argv, f"http://{address}{path}"], input=data, capture_output=True, check=True).stdout


def check_bodies(address: str, origin) -> None:
    """Large bodies either way, and many small ones at a time, come through unharmed."""
    origin.behave = lambda wire, request: wire.sock.sendall(ok(request.body or request.target.encode()))
    sent = os.urandom(4 * MIB)
    back = ask(address, "/echo", "--data-binary", "@-", "-H", "Expect:", data=sent)
    assert hashlib.sha256(back).digest() == hashlib.sha256(sent).digest()
    paths = [f"/{number}" for number in range(40)]
    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(lambda path: ask(address, path).decode(), paths)) == paths


@pytest.mark.slow
def test_envoy_calls_meshd(mesh, origin, envoys):
    server = mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": origin.address}])
    up = tls(mesh.identity("client"), "server", "Upstream", H2)
    caller = envoys("caller", server.address("inbound-0"), up=up, http2=True)
    assert settled(caller.address, 200)
    request = origin.take()[-1]
    assert request.header("x-forwarded-client-cert").endswith(f"URI={SPIFFE}client")
    assert request.header("via").startswith("2 "), "Envoy was heard in HTTP/2"
    check_bodies(caller.address, origin)


@pytest.mark.slow
def test_meshd_calls_envoy(mesh, origin, envoys):
    origin.behave = lambda wire, request: wire.sock.sendall(ok(b"ok"))
    down = tls(mesh.identity("server"), "client", "Downstream", H2)
    callee = envoys("callee", origin.address, down=down, http2=True)
    mesh.entry("reviews.test", callee.address, mesh=True, account="server", protocol="HTTP2")
    client = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}])
    outbound = client.address("outbound-0")
    assert settled(outbound, 200)
    assert f"URI={SPIFFE}client" in origin.take()[-1].header("x-forwarded-client-cert")
    check_bodies(outbound, origin)
    assert origin.connections
