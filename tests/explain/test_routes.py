"""Every route that could have taken a request, and why it did not."""

import pytest
from support.worlds import outbound, resource, route, service, world_of

from meshd.explain.routes import BETTER, EARLIER, OTHER, describe_match, nearest_authority, trace_routes

WEB = (service("web"), service("v1"), service("v2"))


def rule(backend="v1", **match):
    return {"matches": [match], "backendRefs": [{"name": backend, "port": 80}]}


def traces(question, *rules):
    world = world_of(*WEB, route(*rules))
    plan = world.plan(question)
    head = question.begin(plan)[1].head
    return trace_routes(plan.table(head.authority), head, world.documents)


def failures(question, *rules):
    return [(each.chosen, each.failed, each.observed) for each in traces(question, *rules)]


def test_the_chosen_one_has_nothing_against_it():
    [trace] = traces(outbound("/x"), rule())
    assert (trace.route, trace.match, trace.chosen) == ("HTTPRoute/shop/r/0", 'PathPrefix "/"', True)
    assert (trace.failed, trace.observed, trace.place) == ("", "", "f.yaml:7")


@pytest.mark.parametrize(
    ("match", "failed", "observed"),
    [
        ({"path": {"value": "/a"}}, 'path: PathPrefix "/a"', "/ab"),
        ({"path": {"type": "Exact", "value": "/a"}}, 'path: Exact "/a"', "/ab"),
        ({"path": {"type": "RegularExpression", "value": "/[0-9]"}}, 'path: RegularExpression "/[0-9]"', "/ab"),
        ({"method": "PUT"}, 'method: "PUT"', "GET"),
        ({"headers": [{"name": "X-A", "value": "1"}]}, 'header X-A: "1"', "2"),
        ({"headers": [{"name": "x-b", "value": "1"}]}, 'header x-b: "1"', "nothing"),
        (
            {"headers": [{"type": "RegularExpression", "name": "x-a", "value": "[01]"}]},
            'header x-a matches: "[01]"',
            "2",
        ),
        ({"headers": [{"name": "host", "value": "other"}]}, 'header host: "other"', "web"),
        ({"queryParams": [{"name": "q", "value": "1"}]}, 'parameter q: "1"', "2"),
        (
            {"queryParams": [{"type": "RegularExpression", "name": "p", "value": "1"}]},
            'parameter p matches: "1"',
            "nothing",
        ),
    ],
)
def test_the_first_condition_that_fails(match, failed, observed):
    question = outbound("/ab?q=2", headers=(("x-a", "2"),))
    assert failures(question, rule(**match)) == [(False, failed, observed)]


def test_conditions_are_told_in_the_order_in_which_they_count():
    match = {"method": "PUT", "headers": [{"name": "x-a", "value": "1"}]}
    assert failures(outbound(), rule(**match))[0][1] == 'method: "PUT"'
    assert failures(outbound(method="PUT"), rule(**match))[0][1] == 'header x-a: "1"'


def test_what_would_have_held_lost_to_a_better_or_an_earlier_one():
    found = traces(outbound("/a"), rule(), rule("v2", path={"value": "/a"}), rule("v2", path={"value": "/a"}))
    assert [(each.route[-1], each.chosen, each.failed) for each in found] == [
        ("1", True, ""),
        ("2", False, EARLIER),
        ("0", False, BETTER),
    ]


def test_a_regular_expression_whose_path_holds_fails_for_the_rest():
    match = {"path": {"type": "RegularExpression", "value": "/a.*"}, "method": "PUT"}
    assert failures(outbound("/ab"), rule(**match)) == [(False, 'method: "PUT"', "GET")]


def test_a_match_in_one_line():
    world = world_of(
        *WEB,
        route(
            rule(
                path={"value": "/a/"},
                method="PUT",
                headers=[{"name": "x", "value": "1"}],
                queryParams=[{"name": "q", "value": "2"}],
            )
        ),
    )
    [candidate] = world.plan(outbound()).table(b"web").candidates
    assert describe_match(candidate.match) == 'PathPrefix "/a", PUT, x=1, ?q=2'


def test_the_service_that_may_be_meant():
    plan = world_of(*WEB).plan(outbound())
    assert nearest_authority(plan, "wep") == "web"
    assert nearest_authority(plan, "entirely-else") == ""


def test_calls_of_grpc_routes():
    spec = {
        "parentRefs": [{"group": "", "kind": "Service", "name": "web"}],
        "rules": [
            {"matches": [{"method": {"service": "shop.Cart", "method": "Add"}}]},
            {"matches": [{"method": {"method": "Add"}}], "backendRefs": [{"name": "v1", "port": 80}]},
        ],
    }
    world = world_of(*WEB, resource("GRPCRoute", "gateway.networking.k8s.io/v1", "g", spec))
    plan = world.plan(outbound())

    def failed(target):
        head = outbound(target, "POST").begin(plan)[1].head
        return [(each.route[-3:], each.failed) for each in trace_routes(plan.table(b"web"), head, world.documents)]

    assert failed("/shop.Other/Add") == [("g/0", 'path: Exact "/shop.Cart/Add"'), ("g/1", "")]
    assert failed("/shop.Other/Get")[1] == ("g/1", OTHER)
