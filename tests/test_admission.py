"""Authorizers outside, of a workload whose policies name them."""

import pytest
from support.compiled import ENTRY, INBOUND, PLAIN

from meshd.config.errors import ConfigError
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
    with pytest.raises(ConfigError) as caught:
        build(PLAIN, ASK.replace("APP", "web"), spec=spec)
    [problem] = caught.value.problems
    assert problem.field == "spec.extensionProviders[0].envoyExtAuthzGrpc.service"


def test_nobody_is_asked_where_no_policy_says_so(build):
    for documents in ([PLAIN, ENTRY, TOKENS], [PLAIN, ENTRY, TOKENS, ASK.replace("APP", "other")]):
        snapshot = build(*documents, spec=f"{INBOUND}\n{DOOR.replace('HOST', 'api.test')}")
        plan = snapshot.plans["inbound-0"]
        assert plan.gate is None
        assert len(plan.chain.on_request) == 1
        assert "api.test:80" not in snapshot.clusters


def test_an_authorizer_that_does_not_exist(build):
    asked = (PLAIN, ENTRY, ASK.replace("APP", "web"))
    with pytest.raises(ConfigError, match="expected one of the Proxy's extensionProviders: it has none") as caught:
        build(*asked, spec=INBOUND)
    assert [each.field for each in caught.value.problems] == ["spec.provider.name"]
    with pytest.raises(ConfigError, match="the host and port of a known service") as caught:
        build(*asked, spec=f"{INBOUND}\n{DOOR.replace('HOST', 'nowhere.test')}")
    [problem] = caught.value.problems
    assert problem.field == "spec.extensionProviders[0].envoyExtAuthzHttp.service"
