"""What a line says became of a request."""

import pytest
from support.logs import log_line
from support.worlds import STOREFRONT, inbound, outbound, service, world_of

from meshd.core.decision import ALLOWED_BY_DEFAULT, Verdict
from meshd.explain.logged import Logged
from meshd.explain.outcome import Outcome, recorded, told

WORLD = world_of(service("web"))


def outcome(question, **change):
    found = recorded(Logged(log_line(WORLD, question) | change, WORLD.plan(question)))
    return found.kind, found.told, found.delayed


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, ("passes", "allowed", False)),
        ({"policy": "shop/p", "policy_rule": 1}, ("passes", "allowed by shop/p rule 1", False)),
        ({"response_flags": "AD"}, ("denied", "denied", False)),
        ({"response_flags": "UAEX", "policy": "shop/c"}, ("denied", "denied by shop/c", False)),
        ({"response_flags": "RL", "facts": {"rate_limit": "a rule 0"}}, ("limited", "limited by a rule 0", False)),
        ({"response_flags": "RL"}, ("limited", "limited by a rule that the line does not name", False)),
        ({"response_flags": "DI,FI", "facts": {"fault": "f"}}, ("aborted", "aborted by f", True)),
        ({"response_flags": "DI", "facts": {"fault": "f"}}, ("passes", "allowed, delayed by f", True)),
        ({"response_code_details": "direct_response"}, ("answered", "answered by a RequestPolicy", False)),
    ],
)
def test_toward_the_app(change, found):
    assert outcome(inbound(caller=STOREFRONT), **change) == found


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, ("routed", "Service/shop/web", False)),
        ({"route_name": None}, ("routed", "no route (NR)", False)),
        ({"response_code_details": "direct_response"}, ("routed", "Service/shop/web", False)),
        ({"response_flags": "DI", "facts": {"fault": "f"}}, ("routed", "Service/shop/web, delayed by f", True)),
    ],
)
def test_toward_services(change, found):
    assert outcome(outbound(), **change) == found


def test_two_are_the_same_whichever_rule_decided():
    one = Outcome("denied", "denied by a")
    assert one.is_same(Outcome("denied", "denied by b"))
    assert not one.is_same(Outcome("passes", "allowed"))
    assert not Outcome("passes", "").is_same(Outcome("passes", "", delayed=True))
    assert not Outcome("routed", "", route="a").is_same(Outcome("routed", "", route="b"))


def test_verdicts_in_words():
    assert told(ALLOWED_BY_DEFAULT) == "allowed: no ALLOW policy is there"
    assert told(Verdict(allowed=True, policy="a/b", rule=1)) == "allowed by a/b rule 1"
    assert told(Verdict(allowed=False, nearest="a/b rule 0", failed="x")) == "denied, nearest a/b rule 0: x"
    assert told(Verdict(allowed=False, failed="x")) == "denied: x"
