"""Replaying a log: nothing changes under the documents it was written under; under others, exactly what they change."""

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.drawn import guarded, inbounds, outbounds, policies, routes, rules
from support.logs import log_line
from support.replays import (
    ADMIN,
    GUEST,
    NOBODY,
    OUTSIDE,
    SOME,
    TOKENS,
    WEB,
    bearing,
    counted,
    fault,
    limit,
    replayed,
)
from support.worlds import STRANGER, allow, believing, custom, inbound, mtls, outbound, route, world_of

from meshd.explain.replay import MOST_GROUPS

ONLY_GET = allow({"to": [{"operation": {"methods": ["GET"]}}]})
REWRITE = {
    "type": "URLRewrite",
    "urlRewrite": {
        "hostname": "other.test",
        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"},
    },
}


def to(*names, **match):
    backends = [{"name": name, "port": 80} for name in names]
    return {"matches": [match], "backendRefs": backends}


modes = st.sampled_from(["STRICT", "PERMISSIVE", "DISABLE"])


@given(policies, modes, st.lists(inbounds, max_size=5))
def test_unchanged_policies_change_nothing(drawn, mode, questions):
    world = guarded(drawn, mode)
    lines = [line for question in questions if (line := log_line(world, question)) is not None]
    replay, _ = replayed(guarded(drawn, mode), *lines)
    assert (replay.changes, replay.fates["unreadable"], replay.fates["skipped"]) == ({}, 0, 0)


@given(routes, st.lists(outbounds, max_size=5))
def test_unchanged_routes_change_nothing(drawn, questions):
    world = world_of(*WEB, route(*drawn))
    replay, _ = replayed(world, *(log_line(world, question) for question in questions))
    assert (replay.changes, replay.fates["unreadable"], replay.fates["skipped"]) == ({}, 0, 0)


@given(policies, policies, modes, inbounds)
@settings(max_examples=100)
@pytest.mark.slow
def test_what_changes_is_what_the_engine_decides_otherwise(before, after, mode, question):
    old, new = guarded(before, mode), guarded(after, mode)
    line = log_line(old, question)
    if line is None:
        return
    _, [fate] = replayed(new, line)
    was, would = old.ask(question).allowed, new.ask(question).allowed
    if fate != "cannot tell" and not question.headers:
        assert (fate == "changed") == (was != would)


def test_a_change_is_grouped_by_the_rules_before_and_after():
    old, new = world_of(allow({})), world_of(ONLY_GET)
    lines = [log_line(old, inbound(method, caller=STRANGER)) for method in ("GET", "PUT", "PUT", "DELETE", "PUT")]
    replay, fates = replayed(new, *lines)
    assert fates == ["same", "changed", "changed", "changed", "changed"]
    [(key, group)] = replay.changes.items()
    assert key == ("inbound", "allowed by shop/p rule 0", 'denied, nearest shop/p rule 0: methods: ["GET"]')
    assert (group.count, len(group.examples)) == (4, 3)
    assert group.examples[0]["downstream_peer"] == STRANGER


def test_a_denial_that_would_be_no_more():
    line = log_line(world_of(ONLY_GET), inbound("PUT"))
    replay, _ = replayed(world_of(), line)
    assert list(replay.changes) == [("inbound", "denied", "allowed: no policy stands against it")]
    deny = allow({}, action="DENY")
    replay, _ = replayed(world_of(deny), log_line(world_of(allow({})), inbound()))
    assert list(replay.changes) == [("inbound", "allowed by shop/p rule 0", "denied by shop/p rule 0")]


def test_plain_text_under_strict():
    line = log_line(world_of(mtls("PERMISSIVE")), inbound(caller=""))
    replay, _ = replayed(world_of(mtls("STRICT")), line)
    assert list(replay.changes) == [("inbound", "allowed", "refused: PeerAuthentication is STRICT")]


def test_identities_that_are_not_seen_without_tls():
    only = allow({"from": [{"source": {"principals": ["td/ns/shop/sa/storefront"]}}]})
    line = log_line(world_of(only), inbound())
    assert replayed(world_of(only, mtls("DISABLE")), line)[1] == ["changed"]


def test_another_route_and_no_route():
    old = world_of(*WEB, route(to("v1")))
    lines = [log_line(old, outbound("/a")), log_line(old, outbound("/b"))]
    replay, _ = replayed(world_of(*WEB, route(to("v1", path={"value": "/a"}), name="s")), *lines)
    was = "HTTPRoute/shop/r/0"
    assert list(replay.changes) == [("outbound", was, "HTTPRoute/shop/s/0"), ("outbound", was, "no route (NR)")]


def test_a_backend_that_is_gone():
    line = log_line(world_of(*WEB, route(to("v1"))), outbound())
    replay, _ = replayed(world_of(*WEB, route(to("v2"))), line)
    name = "HTTPRoute/shop/r/0"
    assert list(replay.changes) == [("outbound", f"{name} to shop/v1:80", f"{name} without shop/v1:80")]


def test_what_was_rewritten_is_replayed_as_it_came():
    rule = to("v1", path={"value": "/old"}) | {"filters": [REWRITE]}
    world = world_of(*WEB, route(rule))
    line = log_line(world, outbound("/old/x?q=1"))
    assert (line["path"], line["authority"]) == ("/new/x?q=1", "other.test")
    assert replayed(world, line)[1] == ["same"]


@pytest.mark.parametrize("match", [{"headers": [{"name": "x-canary", "value": "1"}]}])
def test_what_depends_on_a_header_that_no_log_keeps_cannot_be_told(match):
    world = world_of(*WEB, route(to("v1"), to("v2", **match)))
    line = log_line(world, outbound(headers=(("x-canary", "1"),)))
    replay, fates = replayed(world, line)
    assert (fates, replay.untold, replay.changes) == (["cannot tell"], {"x-canary": 1}, {})


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
def test_conditions_on_headers_cannot_be_told_either(action):
    world = world_of(allow({"when": [{"key": "request.headers[x-key]", "values": ["1"]}]}, action=action))
    line = log_line(world, inbound(headers=(("x-key", "1"),)))
    replay, fates = replayed(world, line)
    assert (fates, replay.untold) == (["cannot tell"], {"x-key": 1})


def test_headers_that_a_log_keeps_are_known():
    agents = allow({"when": [{"key": "request.headers[user-agent]", "values": ["curl*"]}]})
    world = world_of(agents)
    lines = [log_line(world, inbound(headers=(("user-agent", agent),))) for agent in ("curl/8", "wget")]
    assert [line["response_code"] for line in lines] == [200, 403]
    assert replayed(world, *lines)[1] == ["same", "same"]
    assert replayed(world_of(), *lines)[1] == ["same", "changed"]


@pytest.mark.parametrize(
    "change",
    [
        {"method": "-"},
        {"method": "CONNECT"},
        {"response_flags": "LOOP"},
        {"response_flags": "DPE"},
        {"response_flags": "DC", "attempts": 0},
        {"downstream_peer": "nonsense"},
    ],
)
def test_what_nobody_decided_is_skipped(change):
    assert replayed(world_of(), log_line(world_of(), inbound()) | change)[1] == ["skipped"]


def test_a_direction_that_the_sidecar_does_not_have_is_skipped():
    line = log_line(world_of(*WEB), outbound())
    assert replayed(world_of(*WEB, outbound=[]), line)[1] == ["skipped"]


def test_lines_without_what_is_needed_are_counted():
    replay, fates = replayed(world_of(), {}, {"direction": "inbound"}, log_line(world_of(), inbound()))
    assert fates == ["unreadable", "unreadable", "same"]
    assert replay.first_unreadable == "no field 'direction'"


def test_each_listener_by_its_name():
    ports = allow({"to": [{"operation": {"ports": ["2"]}}]})
    two = [{"listen": f"127.0.0.1:{port}", "app": f"127.0.0.1:{port + 1}"} for port in (1, 3)]
    world = world_of(ports, inbound=two)
    lines = [log_line(world, inbound(listener=name)) for name in ("inbound-0", "inbound-1")]
    assert [line["response_code"] for line in lines] == [200, 403]
    assert replayed(world, *lines)[1] == ["same", "same"]


def test_groups_are_bounded():
    world = world_of(*WEB)
    line = log_line(world, outbound())
    replay, _ = replayed(world, *(line | {"route_name": f"r{number}"} for number in range(MOST_GROUPS + 5)))
    assert len(replay.changes) == MOST_GROUPS + 1
    assert sum(group.count for group in replay.changes.values()) == MOST_GROUPS + 5


def test_as_json_the_greatest_first():
    old = world_of(allow({}))
    lines = [log_line(old, inbound(method)) for method in ("PUT", "GET", "GET")]
    deny = allow({"to": [{"operation": {"methods": ["GET"]}}]}, action="DENY", name="d")
    put = allow({"to": [{"operation": {"methods": ["GET"]}}]})
    told = replayed(world_of(deny, put), *lines)[0].as_json()
    assert (told["decisions"], told["changed"], told["same"]) == (3, 3, 0)
    assert [(each["after"], each["count"]) for each in told["changes"]] == [
        ("denied by shop/d rule 0", 2),
        ('denied, nearest shop/p rule 0: methods: ["GET"]', 1),
    ]


# -- all together -----------------------------------------------------------------------------------------------------

shares = st.sampled_from([0, 50, 100])
faults = st.fixed_dictionaries(
    {"abort": st.fixed_dictionaries({"status": st.just(503), "percentage": shares})},
    optional={
        "delay": st.fixed_dictionaries({"fixed": st.just("1s"), "percentage": shares}),
        "header": st.sampled_from(["x-k", "user-agent"]),
        "match": st.just({"path": {"value": "/a"}}),
    },
)
limits = st.fixed_dictionaries(
    {"requests": st.integers(1, 3), "per": st.sampled_from(["second", "minute"])},
    optional={
        "burst": st.integers(1, 3),
        "key": st.sampled_from(["identity", "header:x-k", "header:user-agent"]),
        "match": st.sampled_from([{"method": "GET"}, {"headers": [{"name": "x-k", "value": "1"}]}]),
    },
)
of_tokens = st.sampled_from(
    [
        {"when": [{"key": "request.auth.claims[role]", "values": ["admin"]}]},
        {"from": [{"source": {"requestPrincipals": ["i/alice"]}}]},
        {"from": [{"source": {"notRequestPrincipals": ["*"]}}]},
        {},
    ]
)


@st.composite
def documents(draw):
    """Some of every kind that is replayed."""
    found = [allow(*draw(st.lists(rules | of_tokens, min_size=1, max_size=2)), action=draw(st.sampled_from(ACTIONS)))]
    found += draw(st.sampled_from([[], [believing(TOKENS)], [believing(TOKENS | {"presence": "REQUIRED"})]]))
    found += draw(st.sampled_from([[], [SOME], [SOME, custom({}, name="other", provider="gate")]]))
    if kinds := draw(st.lists(limits, max_size=2)):
        found.append(limit(*kinds, name="l"))
    if kinds := draw(st.lists(faults, max_size=2)):
        found.append(fault(*kinds))
    return found if draw(st.booleans()) else found[1:]


ACTIONS = ["ALLOW", "DENY"]
moments = st.lists(st.sampled_from([0, 0.0003, 0.001, 0.01, 0.5, 1, 20]) | st.floats(0, 2), max_size=12)


@st.composite
def asked(draw, times):
    """A request at each moment, a while after the one before."""
    now, found = 1.0, []
    for step in times:
        now += step
        kept = draw(st.sampled_from([(), (("x-k", "1"),), (("user-agent", "a"),)]))
        who = draw(st.sampled_from([ADMIN, GUEST, NOBODY, bearing(iss="evil")])).headers
        question = replace(draw(inbounds), headers=kept + who, draw=draw(st.sampled_from([0.0, 49.0, 99.0])))
        found.append((question, now, draw(st.sampled_from([200, 403, 500]))))
    return found


requests = moments.flatmap(asked)


def run(world, asks):
    lines = [log_line(world, question, at, said) for question, at, said in asks]
    return [line for line in lines if line is not None]


@given(documents(), requests, requests, st.randoms())
@settings(max_examples=60)
@pytest.mark.slow
def test_unchanged_documents_change_nothing(drawn, before, asks, random):
    """Whatever came before the log begins, and in whatever order its lines are."""
    texts = (*WEB, mtls("PERMISSIVE"), *drawn)
    world = world_of(*texts, **OUTSIDE)
    later = before[-1][1] if before else 0.0
    run(world, before)
    lines = run(world, [(question, at + later, said) for question, at, said in asks])
    random.shuffle(lines)
    replay = counted(world_of(*texts, **OUTSIDE), lines, None)
    assert (replay.changes, replay.fates["unreadable"], replay.fates["skipped"]) == ({}, 0, 0)


def kind_of(line):
    flags = line["response_flags"]
    decisive = next((flag for flag in ("UAEX", "AD", "RL", "FI") if flag in flags.split(",")), "")
    return ("AD" if decisive == "UAEX" else decisive), "DI" in flags and decisive in ("", "FI")


@given(documents(), documents(), requests)
@settings(max_examples=60)
@pytest.mark.slow
def test_what_is_told_is_what_the_engine_does(old_texts, new_texts, asks):
    """Where the replay is sure, the engine under the new documents decides so."""
    old, new = (world_of(*WEB, mtls("PERMISSIVE"), *texts, **OUTSIDE) for texts in (old_texts, new_texts))
    lines, others = run(old, asks), run(new, asks)
    replay = counted(world_of(*WEB, mtls("PERMISSIVE"), *new_texts, **OUTSIDE), lines, frozenset())
    same = sum(kind_of(one) == kind_of(two) for one, two in zip(lines, others, strict=True))
    assert replay.fates["same"] <= same
    assert replay.fates["changed"] <= len(lines) - same
    assert replay.fates.total() == len(lines)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
GOOD_LINE = log_line(world_of(*WEB), outbound("/a?b=c")) | {"facts": {"original_path": "/a"}}


@given(st.dictionaries(st.sampled_from(sorted(GOOD_LINE)), anything, max_size=4), st.booleans())
@example({"path": "/\ud800"}, False)
@example({"downstream_remote_address": "\ud800:1", "authority": "\ud800"}, True)
def test_whatever_a_line_holds_it_is_counted(changes, to_app):
    line = (log_line(world_of(), inbound()) if to_app else GOOD_LINE) | changes
    replay, [fate] = replayed(world_of(ONLY_GET, *WEB), line)
    assert replay.fates == {fate: 1}
    replay.as_json()
