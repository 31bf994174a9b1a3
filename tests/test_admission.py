"""Authorizers outside, of a workload whose policies name them."""

import pytest
from support.compiled import ENTRY, INBOUND, PLAIN
from support.requests import exchange_of

from meshd.filters.ext_authz_grpc import GrpcCheck

# -- authorizers outside ----------------------------------------------------------------------------------------------

ASK = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask, namespace: shop}
spec: {action: CUSTOM, provider: {name: door}, rules: [{}], selector: {matchLabels: {app: APP}}}
"""
TOKENS = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: shop}
spec: {jwtRules: [{issuer: a, jwksUri: "http://a.test/"}]}
"""
DOOR = "extensionProviders: [{name: door, envoyExtAuthzHttp: {service: shop/HOST, port: 80}}]"


def test_an_authorizer_is_asked_by_a_cluster_of_its_own(build):
    spec = f"{INBOUND}\n{DOOR.replace('HOST', 'api.test')}"
    snapshot = build(PLAIN, ENTRY, TOKENS, ASK.replace("APP", "web"), spec=spec)
    plan = snapshot.plans["inbound-0"]
    [check] = plan.gate.checks
    asking = check.asking
    assert (asking.name, asking.cluster, asking.route.timeout) == ("door", "api.test:80", 5.0)
    assert set(snapshot.clusters) == {"app:127.0.0.1:8080", "api.test:80"}
    assert len(plan.gate.before.on_request) == 1  # tokens come first, and once
    assert len(plan.chain.on_request) == 1
    again = build(PLAIN, ENTRY, TOKENS, ASK.replace("APP", "web"), spec=spec, previous=snapshot)
    assert again.clusters["api.test:80"] is snapshot.clusters["api.test:80"]


def test_an_authorizer_of_grpc_is_called_by_its_host(build):
    spec = f"{INBOUND}\n{DOOR.replace('HOST', 'api.test').replace('Http', 'Grpc')}"
    [check] = build(PLAIN, ENTRY, ASK.replace("APP", "web"), spec=spec).plans["inbound-0"].gate.checks
    assert (type(check), check.authority, check.asking.cluster) == (GrpcCheck, b"api.test", "api.test:80")


def test_nobody_is_asked_where_no_policy_says_so(build):
    for documents in ([PLAIN, ENTRY, TOKENS], [PLAIN, ENTRY, TOKENS, ASK.replace("APP", "other")]):
        snapshot = build(*documents, spec=f"{INBOUND}\n{DOOR.replace('HOST', 'api.test')}")
        plan = snapshot.plans["inbound-0"]
        assert plan.gate is None
        assert len(plan.chain.on_request) == 1
        assert "api.test:80" not in snapshot.clusters


ONE = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: one, namespace: shop}
spec: {action: CUSTOM, provider: {name: NAME}, rules: [{to: [{operation: {paths: [/one]}}]}]}
"""
REASON = "rbac_access_denied_matched_policy[ns[shop]-policy[one]-rule[0]-deny-due-to-bad-CUSTOM-action]"


@pytest.mark.parametrize(
    ("name", "providers"), [("nobody", ""), ("door", DOOR.replace("HOST", "nowhere.test"))], ids=["provider", "service"]
)
def test_an_authorizer_that_nobody_knows_closes_what_it_would_be_asked_about_and_nothing_else(build, name, providers):
    plan = build(PLAIN, ENTRY, ONE.replace("NAME", name), spec=f"{INBOUND}\n{providers}").plans["inbound-0"]
    assert plan.gate is None
    [step] = plan.chain.on_request
    exchange = exchange_of(target="/one")
    reply = step(exchange)
    assert (reply.status, reply.details) == (403, REASON)
    assert (exchange.verdict.action, exchange.verdict.policy, exchange.verdict.rule) == ("CUSTOM", "shop/one", 0)
    assert step(exchange_of(target="/two")) is None


def test_an_authorizer_that_is_known_is_asked_beside_one_that_is_not(build):
    spec = f"{INBOUND}\n{DOOR.replace('HOST', 'api.test')}"
    asked = ASK.replace("APP", "web")
    plan = build(PLAIN, ENTRY, asked, ONE.replace("NAME", "nobody"), spec=spec).plans["inbound-0"]
    assert [check.asking.name for check in plan.gate.checks] == ["door"]
    assert [step(exchange_of(target="/one")).details for step in plan.chain.on_request] == [REASON]


def test_a_policy_that_is_only_tried_closes_nothing(build):
    tried = ONE.replace("NAME", "nobody").replace(
        "namespace: shop}", "namespace: shop, annotations: {istio.io/dry-run: 'true'}}"
    )
    [step] = build(PLAIN, tried, spec=INBOUND).plans["inbound-0"].chain.on_request
    assert step(exchange_of(target="/one")) is None
