"""Calls find the rule of the longest service, then of the longest method, then of the most headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.requests import request

from meshd.config.grpc_route import GRPCRoute
from meshd.config.http_route import HTTPRoute
from meshd.core.chain import EMPTY_CHAIN, Chain
from meshd.core.route import Route
from meshd.routing.http_routes import Defaults, Parent, World, build_table

PARENT = Parent("Service", "shop", "echo", 7070, "grpc")
SERVICES, METHODS = ("a.Echo", "a.Echoes", "b.Echo"), ("Say", "SayTwice")


def chain_of(filters, prefix, _cluster_of):
    return Chain(tuple(each.type for each in filters)) if filters else EMPTY_CHAIN


def no_sessions(_document, _rule, _clusters):
    raise AssertionError("no rule here keeps sessions")


WORLD = World(lambda kind, name, port: f"{name}:{port}", chain_of, no_sessions)


def route(*matches, kind=GRPCRoute, name="r", rules=None):
    """A route with one rule a match, each with a backend named like its place."""
    made = [{"matches": [match], "backendRefs": [backend(place)]} for place, match in enumerate(matches)]
    document = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind.__name__,
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "echo"}], "rules": rules or made},
    }
    return kind.model_validate(document)


def backend(place, **more):
    return {"name": f"v{place}", "port": 7070} | more


def find(path, *routes, headers=()):
    table = build_table(PARENT, routes, "shop", Defaults(Route("default"), "shop/echo:7070"), WORLD)
    return table.find(request(path, "POST", headers=headers))


def method(service=None, method=None, kind=None, headers=()):
    given = {"service": service, "method": method, "type": kind}
    call = {key: value for key, value in given.items() if value}
    fields = [{"name": name, "value": value} for name, value in headers]
    return ({"method": call} if call else {}) | ({"headers": fields} if fields else {})


@pytest.mark.parametrize(
    ("match", "template", "takes", "leaves"),
    [
        (method("a.Echo", "Say"), "/a.Echo/Say", ["/a.Echo/Say"], ["/a.Echo/Say/", "/a.Echo/SayTwice", "/a.Echo"]),
        (method("a.Echo"), "/a.Echo/*", ["/a.Echo/Say", "/a.Echo/Other"], ["/a.Echoes/Say", "/b/a.Echo"]),
        (method(method="Say"), "/*/Say", ["/a.Echo/Say", "/b/Say"], ["/Say", "/a/b/Say", "/a.Echo/NoSay", "/a/say"]),
        (method("a\\..*", kind="RegularExpression"), "/a\\..*/*", ["/a.Echo/Say"], ["/ab/Say", "/b.Echo/Say", "/a.b"]),
        (method(method="S.y|T", kind="RegularExpression"), "/*/S.y|T", ["/a/Say", "/a/T"], ["/a/SayT", "/T"]),
        ({}, "/*/*", ["/a.Echo/Say", "/"], []),
    ],
)
def test_a_match_takes_its_calls_and_no_others(match, template, takes, leaves):
    found = [find(path, route(match)) for path in takes]
    assert [each.template for each in found] == [template] * len(takes)
    assert [find(path, route(match)) for path in leaves] == [None] * len(leaves)


def test_metadata_must_match_as_well():
    one = route(method("a.Echo", headers=[("x-tenant", "7")]), method("a.Echo"))
    assert find("/a.Echo/Say", one, headers=[("X-Tenant", "7")]).targets[0].cluster == "shop/v0:7070"
    assert find("/a.Echo/Say", one, headers=[("x-tenant", "8")]).targets[0].cluster == "shop/v1:7070"


matches = st.builds(
    method,
    st.sampled_from([None, *SERVICES]),
    st.sampled_from([None, *METHODS]),
    headers=st.sampled_from([(), (("x-a", "1"),), (("x-a", "1"), ("x-b", "1"))]),
)


@given(st.lists(matches, min_size=1, max_size=6), st.sampled_from(SERVICES), st.sampled_from(METHODS), st.booleans())
def test_the_most_specific_match_wins(chosen, service, name, tagged):
    headers = [("x-a", "1")] if tagged else []
    ranks = []
    for place, match in enumerate(chosen):
        call, fields = match.get("method", {}), match.get("headers", [])
        right = call.get("service", service) == service and call.get("method", name) == name
        if right and all((each["name"], each["value"]) in headers for each in fields):
            ranks.append((-len(call.get("service", "")), -len(call.get("method", "")), -len(fields), place))
    found = find(f"/{service}/{name}", route(*chosen), headers=headers)
    assert (found.targets[0].cluster if found else None) == (f"shop/v{min(ranks)[3]}:7070" if ranks else None)


def test_weights_filters_and_names_are_kept():
    modifier = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["x-a"]}}
    rule = {"name": "split", "filters": [modifier], "backendRefs": [backend(1, weight=7), backend(2, weight=3)]}
    found = find("/a.Echo/Say", route(rules=[rule]))
    assert found.name == "GRPCRoute/shop/r/split"
    assert [(each.cluster, each.weight) for each in found.targets] == [("shop/v1:7070", 7), ("shop/v2:7070", 3)]
    assert found.chain.on_request == ("RequestHeaderModifier",)


def test_an_http_route_does_not_act_where_a_grpc_route_is_attached():
    other = route({"path": {"type": "Exact", "value": "/a.Echo/Say"}}, kind=HTTPRoute, name="h")
    assert find("/a.Echo/Say", other, route({})).name == "GRPCRoute/shop/r/0"
    assert find("/a.Echo/Say", other).name == "HTTPRoute/shop/h/0"
