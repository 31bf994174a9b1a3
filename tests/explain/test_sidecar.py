"""What would become of logged requests: faults, answers of our own, tokens and authorizers outside, one by one."""

import json

import pytest
from support.logs import log_line
from support.replays import ADMIN, GUEST, NOBODY, OUTSIDE, SOME, TOKENS, WEB, bearing, fault, policy, replayed
from support.worlds import allow, believing, custom, inbound, outbound, world_of

# -- faults -----------------------------------------------------------------------------------------------------------

ABORT = {"abort": {"status": 503}}


@pytest.mark.parametrize(
    ("rule", "fate"),
    [
        (ABORT, "changed"),
        ({"abort": {"status": 503, "percentage": 0}}, "same"),
        ({"abort": {"status": 503, "percentage": 50}}, "cannot tell"),
        ({"delay": {"fixed": "1s"}}, "changed"),
        ({"delay": {"fixed": "1s", "percentage": 50}}, "cannot tell"),
        (ABORT | {"match": {"method": "PUT"}}, "same"),
        (ABORT | {"header": "x-test"}, "cannot tell"),
        (ABORT | {"header": "user-agent"}, "same"),
        (ABORT | {"match": {"method": "PUT"}, "header": "x-test"}, "cannot tell"),
    ],
)
def test_a_fault_that_is_new(rule, fate):
    line = log_line(world_of(), inbound())
    replay, fates = replayed(world_of(fault(rule)), line)
    assert fates == [fate]
    known = {"x-test": 1} if "header" in rule else {"chance": 1}
    assert replay.untold == (known if fate == "cannot tell" else {})


def test_what_a_fault_does_is_said():
    line = log_line(world_of(), inbound())
    replay, _ = replayed(world_of(fault(ABORT)), line)
    assert list(replay.changes) == [
        ("inbound", "allowed", "aborted by shop/f rule 0"),
    ]
    aborted = log_line(world_of(fault(ABORT)), inbound())
    replay, _ = replayed(world_of(), aborted)
    assert list(replay.changes) == [
        ("inbound", "aborted by shop/f rule 0", "allowed: no policy stands against it"),
    ]
    delayed = log_line(world_of(fault({"delay": {"fixed": "1s"}})), inbound())
    replay, _ = replayed(world_of(), delayed)
    assert list(replay.changes) == [
        ("inbound", "allowed, delayed by shop/f rule 0", "allowed: no policy stands against it"),
    ]


def test_faults_of_a_service_that_is_called():
    old, new = world_of(*WEB), world_of(*WEB, fault(ABORT, targetRefs=[{"name": "web"}]))
    lines = log_line(old, outbound()), log_line(old, outbound(authority="v1"))
    assert replayed(new, *lines)[1] == ["changed", "same"]
    assert replayed(new, log_line(new, outbound()))[1] == ["same"]


# -- answers of our own -----------------------------------------------------------------------------------------------


def test_answers_of_a_request_policy():
    respond = policy("RequestPolicy", {"match": {"path": {"value": "/a"}}, "respond": {"status": 418}})
    old, new = world_of(), world_of(respond, fault(ABORT))
    lines = [log_line(old, inbound(target=path)) for path in ("/a", "/b")]
    replay, _ = replayed(new, *lines)
    assert [after for _, _, after in replay.changes] == [
        "answered with 418 by a RequestPolicy",
        "aborted by shop/f rule 0",
    ]
    assert replayed(new, log_line(new, inbound(target="/a")))[1] == ["same"]
    assert replayed(old, log_line(new, inbound(target="/a")))[1] == ["changed"]


def test_sizes_of_bodies_are_told_as_far_as_they_were_seen():
    sizes = world_of(policy("RequestPolicy", {"maxRequestBody": 10, "maxResponseBody": 20}))
    line = log_line(world_of(), inbound())
    for received, sent, fate in ((10, 20, "same"), (11, 0, "cannot tell"), (0, 21, "cannot tell")):
        assert replayed(sizes, line | {"bytes_received": received, "bytes_sent": sent})[1] == [fate]
    refused = {"response_code_details": "request_payload_too_large", "response_flags": "DPE", "response_code": 413}
    assert replayed(sizes, line | refused)[1] == ["cannot tell"]


# -- tokens -----------------------------------------------------------------------------------------------------------

ADMINS = allow({"when": [{"key": "request.auth.claims[role]", "values": ["admin"]}]})


def test_claims_that_a_policy_looked_at_are_in_the_log():
    old = world_of(believing(TOKENS), ADMINS)
    lines = [log_line(old, question) for question in (ADMIN, GUEST, NOBODY)]
    assert [line["response_code"] for line in lines] == [200, 403, 403]
    assert not any("eyJ" in json.dumps(line) for line in lines)
    assert replayed(old, *lines)[1] == ["same"] * 3
    guests = allow({"when": [{"key": "request.auth.claims[role]", "values": ["guest"]}]})
    assert replayed(world_of(believing(TOKENS), guests), *lines)[1] == ["changed", "changed", "same"]


def test_claims_that_nobody_looked_at_cannot_be_told():
    old = world_of(believing(TOKENS))
    lines = [log_line(old, question) for question in (ADMIN, NOBODY)]
    replay, fates = replayed(world_of(believing(TOKENS), ADMINS), *lines)
    assert (fates, replay.untold) == (["cannot tell", "changed"], {"request.auth.claims[role]": 1})
    alice = allow({"from": [{"source": {"requestPrincipals": ["i/alice"]}}]})
    assert replayed(world_of(believing(TOKENS), alice), *lines)[1] == ["same", "changed"]


def test_whether_there_was_a_token_only_a_listener_that_looked_knows():
    line = log_line(world_of(), ADMIN)
    assert "facts" not in line
    replay, fates = replayed(world_of(believing(TOKENS)), line)
    assert (fates, replay.untold) == (["cannot tell"], {"whether it has a good token": 1})
    anybody = allow({"from": [{"source": {"requestPrincipals": ["*"]}}]})
    assert replayed(world_of(anybody), line)[1] == ["changed"]  # where no token is believed nobody has one


def test_tokens_that_are_asked_for():
    old, new = world_of(believing(TOKENS)), world_of(believing(TOKENS | {"presence": "REQUIRED"}))
    replay, fates = replayed(new, log_line(old, ADMIN), log_line(old, NOBODY))
    assert (fates, list(replay.changes)) == (["same", "changed"], [("inbound", "allowed", "denied: no token")])
    assert replayed(new, log_line(new, NOBODY))[1] == ["same"]
    assert replayed(old, log_line(new, NOBODY))[1] == ["changed"]


def test_a_token_that_was_refused():
    old = world_of(believing(TOKENS))
    bad = log_line(old, bearing(iss="evil"))
    assert bad["response_code"] == 401
    assert replayed(old, bad)[1] == ["cannot tell"]
    assert replayed(world_of(), bad)[1] == ["changed"]


@pytest.mark.parametrize(
    ("rule", "fate"),
    [
        ({"audiences": ["shop"]}, "same"),
        ({"audiences": ["bank"]}, "changed"),
        ({"issuer": "other"}, "cannot tell"),
    ],
)
def test_issuers_and_audiences(rule, fate):
    line = log_line(world_of(believing(TOKENS)), bearing(aud="shop"))
    assert replayed(world_of(believing(TOKENS | rule)), line)[1] == [fate]


# -- authorizers outside ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [200, 401, 500])
def test_an_authorizer_that_was_asked_says_the_same_again(said):
    world = world_of(*WEB, SOME, **OUTSIDE)
    line = log_line(world, inbound(), said=said)
    assert replayed(world, line)[1] == ["same"]
    assert replayed(world_of(*WEB), line)[1] == ["same" if said == 200 else "changed"]
    denied = allow({}, action="DENY")
    assert replayed(world_of(*WEB, SOME, denied, **OUTSIDE), line)[1] == ["changed" if said == 200 else "same"]


def test_an_authorizer_that_was_not_asked_may_say_anything():
    line = log_line(world_of(*WEB), inbound())
    replay, fates = replayed(world_of(*WEB, SOME, **OUTSIDE), line)
    assert (fates, replay.untold) == (["cannot tell"], {"the answer of door": 1})
    puts = custom({"to": [{"operation": {"methods": ["PUT"]}}]})
    assert replayed(world_of(*WEB, puts, **OUTSIDE), line)[1] == ["same"]
    keyed = custom({"when": [{"key": "request.headers[x-key]", "values": ["1"]}]})
    assert replayed(world_of(*WEB, keyed, **OUTSIDE), line)[1] == ["cannot tell"]
