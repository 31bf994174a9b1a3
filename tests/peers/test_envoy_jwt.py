"""Envoy's filter for tokens and ours believe and refuse the same ones.

The same request goes to a real Envoy, over a socket, and through our codec to our filter. Where ours refuses more the
table at the end says why; it never believes more.
"""

import json
import socket
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from peers.test_envoy import TYPE, envoy_binary
from support.processes import Running, free_port, until
from support.requests import exchange_of
from support.tokens import ALGORITHMS, compact, key_set, public, token

from meshd.config.request_authentication import RequestAuthentication
from meshd.filters.base import Scope
from meshd.filters.jwt import authentication_chain
from meshd.filters.key_ring import KeyRing
from meshd.http.h1 import ServerCodec

NOW = time.time()
ISSUER = "https://issuer.test"
# Named with their algorithms: without, Envoy goes by the type of the key, whatever algorithm a token names.
KEYS = key_set(
    *(public(name, kid=name, alg=name) for name in ("ES256", "ES384", "RS256", "EdDSA")), public("ES512", alg="ES512")
)
CLAIMS = {"iss": ISSUER, "sub": "alice"}


def good(algorithm="ES256", which=0, header=(), **claims):
    return token(algorithm, which, header, **({"exp": NOW + 600, "aud": "shop"} | claims))


def bearer(text):
    return f"Authorization: Bearer {text}"


SAME = {
    **{algorithm: [bearer(good(algorithm))] for algorithm in ALGORITHMS},
    "none": [],
    "basic": ["Authorization: Basic YTpi"],
    "another header": [f"x-jwt: {good()}"],
    "wrong key": [bearer(good(which=1))],
    "kid of another": [bearer(good(header={"kid": "RS256"}))],
    "kid of its own": [bearer(good(header={"kid": "ES256"}))],
    "kid of nobody": [bearer(good(header={"kid": "nobody"}))],
    "no kid on the key": [bearer(good("ES512", header={"kid": "any"}))],
    "algorithm none": [bearer(f"{good(header={'alg': 'none'}).rpartition('.')[0]}.")],
    "algorithm of secrets": [bearer(good(header={"alg": "HS256"}))],
    "algorithm of another key": [bearer(good(header={"alg": "RS256"}))],
    "algorithm missing": [bearer(good(header={"alg": None}))],
    "expired": [bearer(good(exp=NOW - 90))],
    "just expired": [bearer(good(exp=NOW - 20))],
    "not yet": [bearer(good(nbf=NOW + 90))],
    "almost yet": [bearer(good(nbf=NOW + 20))],
    "for ever": [bearer(good(exp=None))],
    "another issuer": [bearer(good(iss="https://evil.test"))],
    "no issuer": [bearer(good(iss=None))],
    "another audience": [bearer(good(aud="bank"))],
    "one of the audiences": [bearer(good(aud=["bank", "shop"]))],
    "no audience": [bearer(good(aud=None))],
    "no subject": [bearer(good(sub=None))],
    "two parts": [bearer("a.b")],
    "four parts": [bearer(good() + ".x")],
    "nonsense": [bearer("nonsense")],
    "no JSON": [bearer(compact(b"{", CLAIMS))],
    "no object": [bearer(compact({"alg": "ES256"}, b"7"))],
    "short signature": [bearer(good()[:-4])],
    "no signature": [bearer(good().rpartition(".")[0] + ".")],
    "nothing after the scheme": ["Authorization: Bearer"],
    "expiry in words": [bearer(good(exp="soon"))],
    "a bad one as well": [f"QUERY access_token={good(which=1)}", bearer(good())],
    "a good one as well": [f"QUERY access_token={good()}", bearer(good(which=1))],
    "in the query": [f"QUERY access_token={good()}"],
    "bad in the query": ["QUERY access_token=nonsense"],
    "expired in the query": [f"QUERY access_token={good(exp=NOW - 90)}"],
}
# Envoy believes these, and ours does not.
STRICTER = {
    # RFC 7515: what is critical and not understood must refuse the token.
    "critical": [bearer(good(header={"crit": ["x"], "x": 1}))],
    # Envoy takes a token to end where an octet is that no token has; this one ends before it begins, so there is none.
    "no base64": [bearer("!" + good())],
    # The scheme in another case is none for Envoy, and may be one for the app.
    "scheme in another case": ["Authorization: bearer nonsense"],
}


def octets(lines):
    query = next((f"?{line[6:]}" for line in lines if line.startswith("QUERY ")), "")
    fields = [line for line in lines if not line.startswith("QUERY ")]
    return "\r\n".join([f"GET /{query} HTTP/1.1", "Host: a.test", *fields, "", ""]).encode()


def ours(lines):
    codec = ServerCodec()
    codec.receive(octets(lines))
    rule = {"issuer": ISSUER, "jwks": KEYS, "audiences": ["shop"]}
    document = RequestAuthentication.model_validate(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "RequestAuthentication",
            "metadata": {"name": "r", "namespace": "foo"},
            "spec": {"jwtRules": [rule]},
        }
    )
    [step] = authentication_chain([document], KeyRing(), Scope("foo", {}, 80), time.time).on_request
    reply = step(exchange_of(codec.next_event()))
    return 200 if reply is None else reply.status


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """What Envoy answers to a request; for an audience that is not ours it says 403, and so it is refused as well."""
    folder, port = tmp_path_factory.mktemp("envoy"), free_port()
    provider = {
        "issuer": ISSUER,
        "audiences": ["shop"],
        "local_jwks": {"inline_string": KEYS},
        "payload_in_metadata": "payload",
    }
    either = {"requires_any": {"requirements": [{"provider_name": "one"}, {"allow_missing": {}}]}}
    jwt = {
        "@type": f"{TYPE}filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": {"one": provider},
        "rules": [{"match": {"prefix": "/"}, "requires": either}],
    }
    router = {"@type": f"{TYPE}filters.http.router.v3.Router"}
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    manager = {
        "@type": f"{TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "tokens",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "jwt", "typed_config": jwt}, {"name": "router", "typed_config": router}],
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }
    config = folder / "envoy.json"
    config.write_text(json.dumps({"static_resources": {"listeners": [listener]}}))
    argv = [envoy_binary(), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    envoy = Running(argv, folder / "envoy.log")

    def status(lines):
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            sock.sendall(octets(lines))
            found = int(sock.recv(65536).split(b" ", 2)[1])
            return 401 if found == 403 else found

    try:
        try:
            until(lambda: status([]), 15)
        except TimeoutError:
            pytest.fail(f"Envoy does not listen: {envoy.log}")
        yield status
    finally:
        envoy.stop()


@pytest.mark.slow
def test_the_same_tokens_are_believed(theirs):
    found = {name: (theirs(lines), ours(lines)) for name, lines in SAME.items()}
    assert {name: each for name, each in found.items() if each[0] != each[1]} == {}
    assert {status for status, _ in found.values()} == {200, 401}


@pytest.mark.slow
def test_where_ours_believes_less(theirs):
    found = {name: (theirs(lines), ours(lines)) for name, lines in STRICTER.items()}
    assert found == dict.fromkeys(STRICTER, (200, 401))


@pytest.mark.slow
def test_every_algorithm_with_a_key_is_believed(theirs):
    for algorithm in ALGORITHMS:
        wanted = 200 if f'"{algorithm}"' in KEYS else 401
        assert (theirs(SAME[algorithm]), ours(SAME[algorithm])) == (wanted, wanted), algorithm
