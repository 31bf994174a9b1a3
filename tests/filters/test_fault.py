"""FaultPolicy: what is drawn, what is held, what is answered."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.documents import document, text_of
from support.requests import exchange_of

from meshd.core.chain import EMPTY_CHAIN
from meshd.core.head import RequestHead
from meshd.filters.fault import HTTP_OF_GRPC, fault_chain
from meshd.http.render import render_reply
from meshd.routing.policy_match import compile_policy_match


class Dice(Random):
    """Throws what it is told to, as shares of 100."""

    def __init__(self, *throws):
        super().__init__(0)
        self.throws = [each / 100 for each in throws]

    def random(self):
        return self.throws.pop(0)


def step(rules, random=None):
    policy = document(text_of("FaultPolicy", "meshd.dev/v1alpha1", f"rules: {rules}")).model
    (made,) = fault_chain([policy], compile_policy_match, random or Random(0)).on_request
    return made


def outcome(rules, *throws, **request):
    """Delay and status; 0 when it goes on."""
    exchange = exchange_of(**request)
    reply = step(rules, Dice(*throws))(exchange)
    return exchange.delay, reply.status if reply is not None else 0


def test_no_policy_is_no_step():
    assert fault_chain([], compile_policy_match, Random(0)) is EMPTY_CHAIN


@pytest.mark.parametrize(
    ("throws", "expected"),
    [((9.9, 29.9), (2.0, 418)), ((10, 29.9), (0.0, 418)), ((9.9, 30), (2.0, 0)), ((10, 30), (0.0, 0))],
)
def test_delay_and_abort_are_drawn_apart(throws, expected):
    rules = "[{delay: {fixed: 2s, percentage: 10}, abort: {status: 418, percentage: 30}}]"
    assert outcome(rules, *throws) == expected


def test_without_a_share_all_are_touched_and_with_none_nobody():
    assert outcome("[{delay: {fixed: 1s}, abort: {status: 503}}]", 99.999, 99.999) == (1.0, 503)
    assert outcome("[{delay: {fixed: 1s, percentage: 0}, abort: {status: 503, percentage: 0}}]", 0, 0) == (0.0, 0)


def test_only_the_first_rule_that_takes_it_acts():
    rules = "[{match: {path: {value: /a}}, abort: {status: 501, percentage: 50}}, {abort: {status: 502}}]"
    assert outcome(rules, 10, target="/a/b") == (0.0, 501)
    assert outcome(rules, 60, target="/a/b") == (0.0, 0)
    assert outcome(rules, 0, target="/ab") == (0.0, 502)


def test_a_trigger_that_testers_send_and_users_do_not():
    rules = "[{header: X-Test-Fault, abort: {status: 503}}]"
    assert outcome(rules) == (0.0, 0)
    assert outcome(rules, 0, headers=[("x-test-fault", "")]) == (0.0, 503)


def test_several_policies_each_act_until_one_answers():
    policies = [
        document(text_of("FaultPolicy", "meshd.dev/v1alpha1", f"rules: [{rule}]")).model
        for rule in ("{delay: {fixed: 1s}}", "{delay: {fixed: 2s}}")
    ]
    exchange = exchange_of()
    for each in fault_chain(policies, compile_policy_match, Random(0)).on_request:
        assert each(exchange) is None
    assert (exchange.delay, exchange.flags) == (3.0, "DI")


def test_the_flags_and_the_rule_are_noted():
    exchange = exchange_of()
    reply = step("[{name: slow, delay: {fixed: 1s}, abort: {status: 503}}]")(exchange)
    assert exchange.flags == "DI"
    assert exchange.facts == {"fault": "ns/name rule slow"}
    assert (reply.flag, reply.details, reply.error) == ("FI", "fault_filter_abort", "proxy_internal_response")


@pytest.mark.parametrize("grpc", range(17))
def test_a_grpc_status_is_told_in_the_caller_s_words(grpc):
    reply = step(f"[{{abort: {{grpcStatus: {grpc}}}}}]")(exchange_of())
    head, _ = render_reply(reply, RequestHead(b"POST", b"/", b"a"), b"p", stranger=False)
    assert head.status == HTTP_OF_GRPC[grpc]
    caller = RequestHead(b"POST", b"/", b"a", [(b"content-type", b"application/grpc")])
    head, body = render_reply(reply, caller, b"p", stranger=False)
    assert (head.status, head.get(b"grpc-status"), body) == (200, b"%d" % grpc, b"")


@given(st.floats(0, 100), st.integers(0, 2**32))
def test_a_share_is_the_share_of_many(share, seed):
    made = step(f"[{{abort: {{status: 503, percentage: {share:.6f}}}}}]", Random(seed))
    touched = sum(made(exchange_of()) is not None for _ in range(400))
    assert abs(touched / 4 - share) < 20  # eight standard deviations at the worst share
