"""The smallest change that alters the outcome: every one that is told was seen to happen."""

from support.worlds import STOREFRONT, allow, inbound, mtls, outbound, route, service, world_of

from meshd.explain.changes import policy_changes, request_changes, smallest_changes

WEB = (service("web"), service("v1"), service("v2"))
READERS = {
    "from": [{"source": {"principals": ["td/ns/shop/sa/storefront"]}}],
    "to": [{"operation": {"methods": ["GET"], "paths": ["/read*"]}}],
}


def told(world, question):
    return [(each.of, each.text) for each in smallest_changes(world, question, world.ask(question))]


def test_a_denied_method():
    world = world_of(allow(READERS))
    path = "spec.rules[0].to[0].operation.methods of AuthorizationPolicy shop/p (f.yaml:1)"
    assert told(world, inbound("PUT", "/read/1")) == [("request", "method GET"), ("policy", f'add "PUT" to {path}')]


def test_two_things_at_once_when_one_is_not_enough():
    world = world_of(allow(READERS))
    [request, policy] = told(world, inbound("PUT", "/read/1", caller="spiffe://td/ns/shop/sa/other"))
    assert request == ("request", f"from {STOREFRONT}, method GET")
    assert policy[1].startswith(
        'add "td/ns/shop/sa/other" to spec.rules[0].from[0].source.principals and add "PUT" to '
    )


def test_the_nearest_of_several_rules():
    world = world_of(allow(READERS, {"to": [{"operation": {"methods": ["PUT"], "paths": ["/write"]}}]}))
    [request, policy] = told(world, inbound("PUT", "/x"))
    assert request == ("request", "path /write")
    assert policy[1].startswith('add "/x" to spec.rules[1].to[0].operation.paths of ')
    assert told(world, inbound("PUT", "/x", caller="")) == [("request", f"from {STOREFRONT}, path /write")]


def test_a_deny_rule_that_stands_in_the_way():
    world = world_of(allow({"to": [{"operation": {"methods": ["DELETE"]}}]}, action="DENY", name="d"))
    found = told(world, inbound("DELETE"))
    assert ("policy", "remove rule 0 of AuthorizationPolicy shop/d (f.yaml:1)") in found
    assert ("request", "method GET") in found


def test_removing_one_deny_of_two_changes_nothing_and_is_not_told():
    twice = [allow({}, action="DENY", name=name) for name in ("a", "b")]
    assert told(world_of(*twice), inbound()) == []


def test_what_lets_an_allowed_request_through():
    world = world_of(allow(READERS))
    found = told(world, inbound("GET", "/read"))
    assert ("request", "method POST") in found
    assert found[-1] == ("policy", "remove rule 0 of AuthorizationPolicy shop/p (f.yaml:1)")


def test_nothing_to_change_where_everything_is_allowed():
    world = world_of(mtls("PERMISSIVE"))
    assert policy_changes(world, inbound(), world.ask(inbound())) == ()


def test_no_certificate():
    world = world_of(allow(READERS))
    assert told(world, inbound("GET", "/read", caller="")) == [("request", f"from {STOREFRONT}")]


def test_another_route():
    canary = {
        "matches": [{"headers": [{"name": "x-canary", "value": "true"}]}],
        "backendRefs": [{"name": "v2", "port": 80}],
    }
    world = world_of(*WEB, route({"backendRefs": [{"name": "v1", "port": 80}]}, canary))
    [change] = request_changes(world, outbound(), world.ask(outbound()))
    assert (change.text, change.answer.route.name) == ("header x-canary: true", "HTTPRoute/shop/r/1")
    [back] = request_changes(world, change.question, world.ask(change.question))
    assert back.text == "without header x-canary"


def test_no_route():
    match = {"path": {"value": "/a"}, "method": "PUT", "queryParams": [{"name": "q", "value": "1"}]}
    world = world_of(*WEB, route({"matches": [match], "backendRefs": [{"name": "v1", "port": 80}]}))
    assert told(world, outbound("/a")) == [("request", "method PUT, query q=1")]
    assert told(world, outbound("/a", authority="wep")) == [("request", "authority web, method PUT, query q=1")]


def test_a_name_that_nobody_knows():
    assert told(world_of(*WEB), outbound(authority="wep")) == [("request", "authority web")]


def test_a_path_that_has_no_safe_form():
    assert told(world_of(), inbound(target="/..")) == [("request", "path /")]
