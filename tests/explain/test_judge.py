"""Expectations against the engine's answers."""

import pytest
from support.worlds import DOOR, allow, custom, resource, route, service, world_of

from meshd.config.policy_test import Case, Sidecar
from meshd.explain.judge import judge, proxy_of

REWRITE = {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/new"}}}
REDIRECT = {"type": "RequestRedirect", "requestRedirect": {"hostname": "x.test"}}
WORLD = world_of(
    *map(service, ("web", "v1", "v2", "one")),
    allow({"to": [{"operation": {"methods": ["GET"]}}]}),
    route(
        {"backendRefs": [{"name": "v1", "port": 80, "weight": 9}, {"name": "v2", "port": 80, "weight": 1}]},
        {"matches": [{"path": {"value": "/away"}}], "filters": [REDIRECT]},
    ),
    route({"filters": [REWRITE], "backendRefs": [{"name": "v1", "port": 80}]}, name="one", parent="one"),
    resource(
        "FaultPolicy",
        "meshd.dev/v1alpha1",
        "f",
        {
            "targetRefs": [{"name": "one"}],
            "rules": [{"delay": {"fixed": "2s", "percentage": 10}, "abort": {"status": 503, "percentage": 5}}],
        },
    ),
)


def mismatches(expect, **given):
    case = Case.model_validate({"name": "case", "given": given, "expect": expect})
    return [(each.at, each.expected, each.found) for each in judge(case, WORLD)]


@pytest.mark.parametrize(
    ("given", "expect"),
    [
        ({"from": "a"}, {"verdict": "allow", "outcome": "forwarded", "policy": "shop/p", "rule": 0}),
        ({"from": "a"}, {"policy": "p", "backend": "app:127.0.0.1:8080"}),
        ({"from": "a", "method": "PUT"}, {"verdict": "deny", "outcome": "denied", "status": 403}),
        ({}, {"verdict": "deny", "outcome": "refused"}),
        ({"to": "web"}, {"route": "HTTPRoute/shop/r/0", "split": {"v1": 90, "v2": 10}}),
        ({"to": "web"}, {"route": "r/0", "split": {"shop/v1:80": 90, "v2:80": 10, "v3": 0}}),
        ({"to": "web", "path": "/away"}, {"outcome": "answered", "status": 302, "location": "http://x.test/away"}),
        ({"to": "one", "path": "/old"}, {"backend": "v1", "forwarded": "GET one /new", "delay": "0s"}),
        ({"to": "one", "draw": 9}, {"delay": "2s", "outcome": "forwarded"}),
        ({"to": "one", "draw": 4}, {"delay": "2s", "status": 503, "outcome": "answered"}),
        ({"to": "gone"}, {"outcome": "no route", "status": 404}),
        ({"to": "web", "failure": "503"}, {"retried": True}),
        ({"to": "web", "failure": "500"}, {"retried": False}),
        ({"to": "web", "method": "POST", "failure": "connect-failure"}, {"retried": True}),
        ({"to": "web", "method": "POST", "failure": "refused-stream"}, {"retried": True}),
        ({"to": "web", "method": "POST", "failure": "reset-before-request"}, {"retried": True}),
        ({"to": "web", "method": "POST", "failure": "reset"}, {"retried": False}),
        ({"to": "web", "failure": "reset"}, {"retried": True}),
        ({"to": "gone", "failure": "reset"}, {"retried": False}),
    ],
)
def test_what_is_so_is_no_mismatch(given, expect):
    assert mismatches(expect, **given) == []


@pytest.mark.parametrize(
    ("given", "expect", "at", "found"),
    [
        ({"from": "a"}, {"verdict": "deny"}, ("expect", "verdict"), "allow (forwarded by app:127.0.0.1:8080)"),
        ({"from": "a"}, {"policy": "other"}, ("expect", "policy"), "shop/p (forwarded by app:127.0.0.1:8080)"),
        ({"from": "a"}, {"status": 200}, ("expect", "status"), "nothing (forwarded by app:127.0.0.1:8080)"),
        ({"to": "web"}, {"split": {"v1": 50, "v2": 10}}, ("expect", "split", "v1"), "shop/v1:80 90 %, shop/v2:80 10 %"),
        ({"to": "web"}, {"split": {"v1": 90}}, ("expect", "split"), "shop/v1:80 90 %, shop/v2:80 10 %"),
        ({"to": "gone"}, {"split": {"v1": 90}}, ("expect", "split", "v1"), "no split"),
        (
            {"to": "web", "method": "POST", "failure": "reset"},
            {"retried": True},
            ("expect", "retried"),
            "false (POST is not safe to repeat)",
        ),
        (
            {"to": "gone", "failure": "reset"},
            {"retried": True},
            ("expect", "retried"),
            "false (nothing was sent: no route: route_not_found)",
        ),
    ],
)
def test_what_is_not_so_is_named_with_its_place(given, expect, at, found):
    [mismatch] = mismatches(expect, **given)
    assert (mismatch[0], mismatch[2]) == (at, found)


def test_every_expectation_is_looked_at():
    assert len(mismatches({"verdict": "deny", "outcome": "denied", "rule": 3}, **{"from": "a"})) == 3


def test_the_bootstrap_of_a_described_sidecar():
    proxy = proxy_of(Sidecar(name="a", namespace="b", labels={"c": "d"}, port=9))
    assert (proxy.spiffe_id, proxy.metadata.labels) == ("spiffe://cluster.local/ns/b/sa/a", {"c": "d"})
    assert proxy.spec.inbound[0].app.port == 9


@pytest.mark.parametrize(
    ("authorizer", "expect"),
    [
        ({}, {"verdict": "allow"}),
        ({"authorizer": "allow"}, {"verdict": "allow", "outcome": "forwarded"}),
        ({"authorizer": "deny"}, {"verdict": "deny", "outcome": "denied", "policy": "c", "rule": 0}),
        ({"authorizer": "fail"}, {"verdict": "deny", "status": 403, "policy": "c"}),
    ],
)
def test_what_an_authorizer_outside_says_is_given(authorizer, expect):
    world = world_of(service("web"), custom({}), extensionProviders=[DOOR])
    case = Case.model_validate({"name": "case", "given": {"from": "a"} | authorizer, "expect": expect})
    assert judge(case, world) == []
