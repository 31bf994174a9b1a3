"""RateLimitPolicy: which requests share a bucket, and what a denial says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.documents import document, text_of
from support.requests import request

from meshd.core.chain import EMPTY_CHAIN
from meshd.core.exchange import Exchange
from meshd.core.head import RequestHead
from meshd.core.peer import NOBODY, Peer
from meshd.filters.buckets import OCTETS, Buckets
from meshd.filters.rate_limit import rate_limit_chain
from meshd.http.render import render_reply
from meshd.routing.policy_match import compile_policy_match


def policy(rules, name="name"):
    text = text_of("RateLimitPolicy", "meshd.dev/v1alpha1", f"rules: {rules}")
    return document(text.replace("name: name", f"name: {name}")).model


class Gate:
    """Requests against the rules of some policies."""

    def __init__(self, *rules, buckets=None, where="here"):
        self.buckets = buckets or Buckets(bytearray(OCTETS))
        policies = [policy(each, f"p{place}") for place, each in enumerate(rules)]
        (self.step,) = rate_limit_chain(policies, where, compile_policy_match, self.buckets).on_request

    def ask(self, now=0.0, principal=b"", **given):
        peer = Peer("10.0.0.1", principal=principal) if principal else NOBODY
        self.exchange = Exchange(request(**given), peer, now)
        return self.step(self.exchange)

    def passes(self, *args, **given):
        return self.ask(*args, **given) is None


def test_no_policy_is_no_step():
    assert rate_limit_chain([], "here", compile_policy_match, Buckets(bytearray(OCTETS))) is EMPTY_CHAIN


def test_as_many_as_are_written_and_then_at_the_rate():
    gate = Gate("[{requests: 2, per: minute}]")
    assert [gate.passes(now) for now in (0, 0, 0, 29, 31, 31, 61)] == [True, True, False, False, True, False, True]


def test_a_burst_is_what_comes_at_once():
    gate = Gate("[{requests: 1, per: second, burst: 3}]")
    assert [gate.passes(5) for _ in range(4)] == [True, True, True, False]


def test_identities_have_buckets_of_their_own_and_strangers_share_one():
    gate = Gate("[{requests: 1, key: identity}]")
    callers = (b"a", b"b", b"")
    assert [gate.passes(principal=caller) for caller in callers] == [True] * 3
    assert [gate.passes(principal=caller) for caller in callers] == [False] * 3


def test_values_of_a_header_have_buckets_of_their_own():
    gate = Gate("[{requests: 1, key: 'header:X-User'}]")
    assert gate.passes(headers=[("x-user", "a")])
    assert gate.passes(headers=[("x-user", "b")])
    assert not gate.passes(headers=[("x-user", "a")])
    assert gate.passes()
    assert not gate.passes(), "leaving the header out is no way around"


def test_a_second_value_of_the_key_got_a_bucket_of_its_own():
    """With another value beside the first one each request was somebody else's."""
    gate = Gate("[{requests: 2, key: 'header:x-user'}]")
    assert gate.passes(headers=[("x-user", "a"), ("x-user", "1")])
    assert gate.passes(headers=[("x-user", "2"), ("x-user", "a")])
    assert not gate.passes(headers=[("x-user", "a"), ("x-user", "3")])
    assert not gate.passes(headers=[("X_User", "a"), ("x-user", "4")])
    assert [gate.passes(headers=[("x-user", "4")]) for _ in range(3)] == [True, True, False], "nothing kept of a denial"


def test_a_second_value_got_past_a_match():
    gate = Gate("[{requests: 1, match: {headers: [{name: x-plan, value: free}]}}]")
    assert gate.passes(headers=[("x-plan", "premium")])
    assert gate.passes(headers=[("x-plan", "free"), ("x-plan", "premium")])
    assert not gate.passes(headers=[("x-plan", "premium"), ("x-plan", "free")])


def test_only_what_matches_draws():
    gate = Gate("[{requests: 1, match: {method: POST, path: {value: /a}}}]")
    assert all(gate.passes(target="/a") and gate.passes(target="/b", method="POST") for _ in range(3))
    assert gate.passes(target="/a/x", method="POST")
    assert not gate.passes(target="/a/y", method="POST")


def test_rules_and_policies_must_all_have_room_and_a_denial_takes_nothing():
    gate = Gate("[{requests: 5, per: hour}]", "[{requests: 1, per: hour, match: {path: {value: /a}}}]")
    assert gate.passes(target="/a")
    assert [gate.passes(target="/a") for _ in range(20)] == [False] * 20
    assert [gate.passes(target="/b") for _ in range(5)] == [True] * 4 + [False]


def test_ports_have_buckets_of_their_own_and_a_reload_keeps_them():
    first = Gate("[{requests: 1}]")
    other = Gate("[{requests: 1}]", buckets=first.buckets, where="there")
    again = Gate("[{requests: 1}]", buckets=first.buckets)
    changed = Gate("[{requests: 2}]", buckets=first.buckets)
    assert [gate.passes() for gate in (first, other, again, changed)] == [True, True, False, True]


@pytest.mark.parametrize(
    ("rule", "now", "wait", "name"),
    [
        ("{requests: 1, per: hour}", 0.0, b"3600", b"0"),
        ("{name: calls, requests: 1, per: minute}", 59.5, b"1", b"calls"),
        ("{requests: 1, per: minute}", 30.5, b"30", b"0"),
    ],
)
def test_a_denial_says_when_to_come_back(rule, now, wait, name):
    gate = Gate(f"[{rule}]")
    assert gate.passes(0.0)
    reply = gate.ask(now)
    window = b"3600" if b"hour" in rule.encode() else b"60"
    assert dict(reply.headers) == {
        b"retry-after": wait,
        b"ratelimit-policy": b'"%b";q=1;w=%b' % (name, window),
        b"ratelimit": b'"%b";r=0;t=%b' % (name, wait),
    }
    assert (reply.status, reply.flag, reply.error) == (429, "RL", "http_request_denied")
    assert reply.details == f"local_rate_limited[ns/p0 rule {name.decode()}]"
    assert gate.exchange.facts == {"rate_limit": f"ns/p0 rule {name.decode()}"}
    assert gate.passes(now + int(wait))


def test_a_grpc_caller_learns_that_a_resource_is_exhausted():
    gate = Gate("[{requests: 1}]")
    gate.ask()
    caller = RequestHead(b"POST", b"/", b"a", [(b"content-type", b"application/grpc")])
    head, _ = render_reply(gate.ask(), caller, b"p", stranger=False)
    assert (head.status, head.get(b"grpc-status")) == (200, b"8")


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b""]), st.integers(0, 3)), max_size=60))
def test_callers_do_not_feel_each_other(calls):
    """What one caller gets is what it would get alone."""
    together, now = Gate("[{requests: 2, per: second, key: identity}]"), 0.0
    alone = {caller: Gate("[{requests: 2, per: second, key: identity}]") for caller in (b"a", b"b", b"")}
    for caller, step in calls:
        now += step / 4
        assert together.passes(now, caller) is alone[caller].passes(now, caller)
