"""What is explained is what happens: laws between explanations and the engine."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.drawn import guarded, inbounds, outbounds, policies, routes
from support.worlds import allow, inbound, outbound, resource, route, service, world_of

from meshd.core.cells import Cells
from meshd.core.errors import ProtocolError
from meshd.explain.explanation import explain
from meshd.explain.question import Unaskable
from meshd.http.forwarding import Hop
from meshd.http.h1 import ServerCodec
from meshd.net.tls import Mode
from meshd.proxy.admit import admit
from meshd.proxy.listener import ConnectionLimits, Listener
from meshd.telemetry.records import Recorder
from meshd.telemetry.tracing import Sampler

WEB = (service("web"), service("v1"), service("v2"))


def live(world, question):
    """Status and details as a client of the listener would get them; 0 when the request goes on to an app."""
    plan = world.plan(question)
    peer = question.peer(plan)
    if plan.inbound and plan.mode is Mode.STRICT and not peer.principal:
        return None
    codec = ServerCodec()
    codec.receive(question.octets())
    try:
        head = codec.next_event()
    except ProtocolError as error:
        return error.status, error.details
    recorder = Recorder(Cells(), lambda _: True, 0.0, keep_all=False)
    listener = Listener(plan, recorder, Sampler(1.0), ConnectionLimits())
    exchange = listener.begin(head, peer, Hop(peer, plan.forwarding), 5.0)
    reply, _target, _cluster = admit(exchange, plan)
    if reply is None:
        return 0, exchange.route.name
    return listener.render(exchange, reply)[0].status, reply.details


@given(policies, st.sampled_from(["STRICT", "PERMISSIVE", "DISABLE"]), inbounds)
def test_authorization_is_explained_as_it_happens(drawn, mode, question):
    world = guarded(drawn, mode)
    found = explain(world, question)
    answer, seen = found.answer, live(world, question)
    if answer.kind == "refused":
        assert seen is None
        return
    expected = answer.details if answer.kind != "forwarded" else answer.route.name
    assert seen == (answer.status, expected)
    if answer.kind == "malformed":
        return
    enforced = [rule for rule in found.rules if rule.enforced]
    matched = [rule for rule in enforced if rule.matched]
    denies = [rule for rule in matched if rule.action == "DENY"]
    deciding = [rule for rule in found.rules if rule.decided]
    if denies:
        assert (answer.kind, deciding) == ("denied", denies[:1])
    elif not any(rule.action == "ALLOW" for rule in enforced):
        assert (answer.kind, deciding) == ("forwarded", [])
    else:
        assert (answer.kind == "denied") == (not matched)
        assert deciding == matched[:1]
    for rule in found.rules:
        assert rule.matched == (not rule.failed)


@given(policies, inbounds)
@settings(max_examples=30)
@pytest.mark.slow
def test_changes_of_an_inbound_request_do_what_they_say(drawn, question):
    world = guarded(drawn, "STRICT")
    found = explain(world, question)
    for change in found.changes:
        assert change.answer.outcome != found.answer.outcome
        if change.of == "request":
            assert world.ask(change.question).outcome == change.answer.outcome
        if not found.answer.allowed:
            assert change.answer.allowed


@given(routes, outbounds)
def test_routing_is_explained_as_it_happens(drawn, question):
    world = world_of(*WEB, route(*drawn))
    found = explain(world, question)
    answer = found.answer
    status, details = live(world, question)
    if answer.kind == "forwarded":
        assert (status, details) == (0, answer.route.name)
    else:
        assert (status, details) == (answer.status, answer.details)
    chosen = [trace.route for trace in found.routes if trace.chosen]
    assert chosen == ([answer.route.name] if answer.route is not None else [])
    for trace in found.routes:
        assert trace.chosen == (not trace.failed)
    for change in found.changes:
        assert world.ask(change.question).outcome == change.answer.outcome != answer.outcome


def test_as_json_is_plain_and_whole():
    world = world_of(allow({"to": [{"operation": {"methods": ["GET"]}}]}))
    told = json.loads(json.dumps(explain(world, inbound("PUT")).as_json()))
    assert set(told) == {
        "request",
        "mtls",
        "outcome",
        "authorization",
        "routes",
        "hint",
        "chances",
        "changes",
        "authorizers",
    }
    assert (told["mtls"], told["outcome"]["kind"], told["outcome"]["status"]) == ("STRICT", "denied", 403)
    assert told["authorization"][0]["failed"] == 'methods: ["GET"]'
    assert told["changes"][0]["change"] == "method GET"


def test_routes_as_json():
    world = world_of(*WEB, route({"backendRefs": [{"name": "v1", "port": 80}]}))
    told = explain(world, outbound()).as_json()
    assert told["routes"][0]["chosen"] is True
    assert told["outcome"]["split"] == {"shop/v1:80": 100}
    assert told["mtls"] is None


def test_a_hint_for_a_name_that_nobody_knows():
    assert explain(world_of(*WEB), outbound(authority="wep")).hint == "did you mean 'web'?"


def test_nonsense_is_refused():
    with pytest.raises(Unaskable):
        explain(world_of(), inbound("G T"))


def test_what_chance_decides():
    rules = [{"delay": {"fixed": "2s", "percentage": 10}, "abort": {"status": 503, "percentage": 5}}]
    fault = resource("FaultPolicy", "meshd.dev/v1alpha1", "f", {"targetRefs": [{"name": "web"}], "rules": rules})
    found = explain(world_of(*WEB, fault), outbound())
    assert [(share, each.kind, each.status, each.delay) for share, each in found.chances] == [
        (5, "answered", 503, 2),
        (10, "forwarded", 0, 2),
        (100, "forwarded", 0, 0),
    ]
    assert (found.answer.kind, found.answer.delay) == ("forwarded", 0)
    assert [share for share, _ in explain(world_of(*WEB), outbound()).chances] == [100]
