"""Tokens at a running sidecar: keys fetched from their issuer, replaced while it serves, and kept when it is away."""

import json
import signal
import subprocess
import time

import pytest
from support.origin import Origin, ok
from support.processes import program, until
from support.tokens import key_set, public, token

PLAIN = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: plain}
spec: {mtls: {mode: DISABLE}}
"""
AUTHENTICATION = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec:
  jwtRules:
  - {issuer: "https://issuer.test", jwksUri: "http://ISSUER/keys", outputClaimToHeaders: [{header: x-user, claim: sub}]}
"""
AUTHORIZATION = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: alice}
spec:
  rules:
  - from: [{source: {requestPrincipals: ["https://issuer.test/alice"]}}]
  - to: [{operation: {paths: [/open]}}]
"""


def status(address, path="/", text=""):
    argv = [
        program("curl"),
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "--max-time",
        "5",
        f"http://{address}{path}",
    ]
    argv += ["-H", f"Authorization: Bearer {text}"] if text else []
    return int(subprocess.run(argv, capture_output=True, check=True, timeout=10).stdout)


@pytest.mark.slow
def test_tokens_of_an_issuer_elsewhere(mesh):
    keys = [key_set()]
    later = time.time() + 600
    with Origin() as app, Origin(lambda wire, _: wire.sock.sendall(ok(keys[0].encode()))) as issuer:
        mesh.policy("plain", PLAIN)
        mesh.policy("tokens", AUTHENTICATION.replace("ISSUER", issuer.address))
        mesh.policy("alice", AUTHORIZATION)
        server = mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": app.address}])
        address = server.address("inbound-0")
        good = token(exp=later)
        until(lambda: status(address, text=good) == 200)
        request = app.take()[-1]
        assert (request.header("x-user"), request.header("authorization")) == ("alice", None)
        assert status(address, text=token(exp=later, sub="bob")) == 403
        assert status(address) == 403
        assert status(address, "/open") == 200
        assert status(address, "/open", token(exp=later, which=1)) == 401
        assert status(address, "/open", token(exp=1)) == 401
        issuer.close()  # the keys stay, also over a reload
        mesh.policy("alice", AUTHORIZATION.replace("/alice", "/bob"))
        until(lambda: status(address, text=token(exp=later, sub="bob")) == 200)
        assert status(address, text=good) == 403
        assert status(address, "/open") == 200


@pytest.mark.slow
def test_a_token_of_a_new_key_is_good_soon_and_one_of_a_key_taken_back_is_not(mesh):
    """Nothing else than a token of an unknown key makes the set be fetched before its time; SIGHUP does too."""
    later = time.time() + 600
    keys = [key_set(public("ES256", kid="old"))]
    old, new = token(exp=later, header={"kid": "old"}), token("EdDSA", exp=later, header={"kid": "new"})
    with Origin() as app, Origin(lambda wire, _: wire.sock.sendall(ok(keys[0].encode()))) as issuer:
        mesh.policy("plain", PLAIN)
        mesh.policy("tokens", AUTHENTICATION.replace("ISSUER", issuer.address))
        server = mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": app.address}])
        address = server.address("inbound-0")
        until(lambda: status(address, text=old) == 200)
        fetches = len(issuer.take())
        assert status(address, text=new) == 401
        keys[0] = key_set(public("EdDSA", kid="new"))
        until(lambda: status(address, text=new) == 200)
        assert status(address, text=old) == 401
        assert fetches + len(issuer.take()) <= 5
        keys[0] = key_set(public("ES256", kid="old"))
        server.signal(signal.SIGHUP)
        until(lambda: status(address, text=new) == 401)
        assert status(address, text=old) == 200


@pytest.mark.slow
def test_an_issuer_that_cannot_be_reached_holds_up_nobody_else(mesh):
    inline = json.dumps(json.loads(key_set(public("EdDSA"))))
    with Origin() as app, Origin() as gone:
        gone.close()
        mesh.policy("plain", PLAIN)
        mesh.policy("tokens", AUTHENTICATION.replace("ISSUER", gone.address))
        rule = {"issuer": "https://two.test", "jwks": inline}
        document = {
            "apiVersion": "security.istio.io/v1",
            "kind": "RequestAuthentication",
            "metadata": {"name": "two"},
            "spec": {"jwtRules": [rule]},
        }
        mesh.policy("two", json.dumps(document))
        server = mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": app.address}])
        address = server.address("inbound-0")
        later = time.time() + 600
        assert status(address) == 200
        assert status(address, text=token("EdDSA", iss="https://two.test", exp=later)) == 200
        assert status(address, text=token(exp=later)) == 401
