"""What Istio makes of a policy for Envoy allows the same requests as what we make of it."""

import json
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.envoy_rbac import allows
from support.requests import exchange_of
from support.shared import shared_folder

from meshd.config.authorization import AuthorizationPolicy
from meshd.core.peer import Peer
from meshd.filters.authz import Authorizer
from meshd.filters.base import Scope

HOME = shared_folder("conformance") / "istio-authz"
PAIRS = [
    pair
    for pair in json.loads((HOME / "pairs.json").read_text())
    if pair["kind"] == "http" and not pair["options"]["custom_builder"]
]
IDENTITY = re.compile(r"([^/]*)/ns/([^/]*)/sa/([^/]*)")


def documents(file):
    return [each for each in yaml.safe_load_all((HOME / file).read_text()) if each]


def strings(value):
    """Every string in a document, a wildcard standing for one letter."""
    if isinstance(value, dict):
        return {found for each in value.values() for found in strings(each)}
    if isinstance(value, list):
        return {found for each in value for found in strings(each)}
    return {re.sub(r"\{\*+\}|\*", "z", value)} if isinstance(value, str) else set()


def requests_for(policies):
    """Requests made of the values that the policies speak of, so that every branch is met."""
    words = sorted(strings([each["spec"] for each in policies]))

    def like(pattern, *more):
        return st.sampled_from([*(word for word in words if re.fullmatch(pattern, word)), *more])

    uris = like(r"[^:\[\]]+/ns/.+/sa/.+", "td/ns/foo/sa/sa-only", "td/ns/my-ns/sa/my-sa", "td/ns/ns/sa/x").map(
        "spiffe://".__add__
    )
    addresses = like(r"[0-9.]+", "5.6.7.8", "192.0.2.1").filter(lambda each: each.count(".") == 3)
    return st.fixed_dictionaries(
        {
            "method": like(r"[\w-]+", "GET", "POST"),
            "path": like(r"/.*", "/", "/x/path/template"),
            "authority": like(r"[\w.-]+", "other.test").map(str.lower),
            "headers": st.dictionaries(like(r"[\w-]+", "x-header").map(str.lower), like(r"[\w-]+"), max_size=2),
            "uri": st.one_of(st.just(""), uris),
            "ip": addresses,
            "destination": addresses,
            "port": like(r"[0-9]+", "80").map(int).filter(lambda each: each < 65536),
            "sni": like(r"[\w.-]+", ""),
        }
    )


def peer_of(request):
    principal = request["uri"].removeprefix("spiffe://")
    domain, namespace, account = (IDENTITY.fullmatch(principal) or IDENTITY.match("/ns//sa/")).groups()
    return Peer(
        request["ip"],
        principal=principal.encode(),
        namespace=namespace.encode(),
        service_account=account.encode(),
        trust_domain=domain.encode(),
        server_name=request["sni"],
        local_address=request["destination"],
    )


@pytest.mark.parametrize("pair", PAIRS, ids=[pair["name"] for pair in PAIRS])
def test_both_allow_the_same(pair):
    sources = [each for each in documents(pair["in"]) if each["spec"].get("action") != "CUSTOM"]
    policies = [AuthorizationPolicy.model_validate(each) for each in sources]
    filters = [each for file in pair["out"] for each in documents(file)]
    workload = pair["workload"]

    @settings(max_examples=40)
    @given(requests_for(sources))
    def same(request):
        scope = Scope(
            workload["namespace"],
            workload["labels"],
            request["port"],
            pair["trust_domain"] or "td",
            tuple(pair["aliases"]),
            root_namespace="",
        )
        exchange = exchange_of(
            target=request["path"],
            method=request["method"],
            authority=request["authority"],
            headers=list(request["headers"].items()),
            peer=peer_of(request),
        )
        assert Authorizer(policies, scope).decide(exchange).allowed is allows(filters, request)

    same()
