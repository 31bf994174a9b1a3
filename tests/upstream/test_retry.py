"""Whether a request is sent again: the table of conditions, each bound, and the law that nothing is executed twice."""

from dataclasses import replace
from random import Random

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support.fake_stream import FakeStream
from support.requests import exchange_of, request

from meshd.core import flags
from meshd.core.endpoint import Endpoint
from meshd.core.errors import UNPROCESSED, DownstreamError, ProxyError, Resend, UpstreamError
from meshd.core.exchange import Attempt
from meshd.core.head import ResponseHead
from meshd.core.route import NO_RETRY, RetryPolicy
from meshd.http.proxy_status import OwnAnswer
from meshd.upstream.budget import Budget
from meshd.upstream.http1 import Http1Connection
from meshd.upstream.retry import (
    AGAIN,
    MOST_MOVES,
    MOVES_AT_ONCE,
    NOT_ASKED,
    asked_pause,
    backoff,
    longest_backoff,
    may_be_failure,
    may_hedge,
    should_retry,
)

DEFAULT = RetryPolicy()
SAFE = (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE")
METHODS = (*SAFE, b"POST", b"PATCH", b"LOCK")
CONDITIONS = (
    "5xx",
    "gateway-error",
    "reset",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "reset-before-request",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
)
FLAGS = (
    flags.CONNECTION_FAILURE,
    flags.DNS_FAILED,
    flags.NO_HEALTHY_UPSTREAM,
    flags.CONNECTION_TERMINATION,
    flags.REMOTE_RESET,
    flags.REQUEST_TIMEOUT,
    flags.OVERFLOW,
    flags.UPSTREAM_PROTOCOL,
)


def make_exchange(method=b"GET", *fields, tries=1, uses=0):
    """One that was tried already."""
    exchange = exchange_of(request(method=method.decode(), headers=fields))
    for number in range(tries):
        attempt = Attempt(Endpoint(f"10.0.0.{number}", 80), 0.0)
        attempt.connection_uses = uses
        exchange.attempts.append(attempt)
    return exchange


def failed(flag=flags.CONNECTION_TERMINATION, retry=Resend.IF_SAFE, status=502):
    return UpstreamError(status, flag, "why", retry=retry)


def answered(status=200, *fields):
    return ResponseHead(status, list(fields))


def decide(outcome, policy=DEFAULT, exchange=None, *, now=0.0, replayable=True, budget=None):
    budget = budget or Budget()
    return should_retry(exchange or make_exchange(), outcome, policy, budget, now, replayable=replayable)


def on(*conditions, **given):
    """A policy that retries these for safe methods and nothing else."""
    return RetryPolicy(any_method=frozenset(), safe_only=frozenset(conditions), **given)


# -- the table ---------------------------------------------------------------------------------------------------------

# Envoy's router_filter.rst: every condition that an outcome meets; the word for "may be retried" of each row.
TABLE = [
    (answered(500), {"5xx"}),
    (answered(501), {"5xx"}),
    (answered(502), {"5xx", "gateway-error"}),
    (answered(503), {"5xx", "gateway-error"}),
    (answered(504), {"5xx", "gateway-error"}),
    (answered(409), {"retriable-4xx"}),
    (answered(429, (b"x-envoy-ratelimited", b"true")), {"envoy-ratelimited"}),
    (answered(503, (b"x-envoy-ratelimited", b"true")), {"envoy-ratelimited"}),
    (answered(200, (b"grpc-status", b"1")), {"cancelled"}),
    (answered(200, (b"grpc-status", b"4")), {"deadline-exceeded"}),
    (answered(200, (b"grpc-status", b"8")), {"resource-exhausted"}),
    (answered(200, (b"grpc-status", b"13")), {"internal"}),
    (answered(200, (b"grpc-status", b"14")), {"unavailable"}),
    (answered(503, (b"grpc-status", b"14")), {"5xx", "gateway-error", "unavailable"}),
    (answered(200, (b"grpc-status", b"0")), set()),
    (answered(200, (b"grpc-status", b"7")), set()),
    (answered(200), set()),
    (answered(404), set()),
    (answered(429), set()),
    (failed(), {"5xx", "gateway-error", "reset"}),
    (failed(retry=Resend.IF_SAFE, flag=flags.UPSTREAM_PROTOCOL), {"5xx", "gateway-error", "reset"}),
    (failed(flags.REQUEST_TIMEOUT, Resend.IF_SAFE, 504), {"5xx", "gateway-error", "reset"}),
    (failed(flags.CONNECTION_FAILURE, Resend.UNSENT), {"5xx", "gateway-error", "connect-failure"}),
    (failed(flags.DNS_FAILED, Resend.UNSENT), {"5xx", "gateway-error", "connect-failure"}),
    (failed(flags.NO_HEALTHY_UPSTREAM, Resend.UNSENT), {"5xx", "gateway-error", "connect-failure"}),
    (
        failed(flags.REMOTE_RESET, Resend.UNSENT),
        {"5xx", "gateway-error", "reset", "refused-stream", "reset-before-request"},
    ),
    (
        failed(flags.CONNECTION_TERMINATION, Resend.UNSENT),
        {"5xx", "gateway-error", "reset", "reset-before-request"},
    ),
    (failed(flags.REQUEST_TIMEOUT, Resend.NEVER, 504), set()),
    (failed(flags.OVERFLOW, Resend.UNSENT, 503), set()),
    (DownstreamError(0, flags.DOWNSTREAM_GONE, "gone", retry=Resend.UNSENT), set()),
    (ProxyError(500, flags.INTERNAL, "bug", retry=Resend.IF_SAFE), set()),
]


@pytest.mark.parametrize(("outcome", "met"), TABLE, ids=[repr(outcome) for outcome, _ in TABLE])
def test_each_condition_of_the_table(outcome, met):
    for condition in CONDITIONS:
        decision = decide(outcome, on(condition))
        assert decision.retry is (condition in met), condition
        if decision.retry:
            assert decision.reason == f"retried: {condition}"


def test_codes_and_fields_are_conditions_once_they_are_listed():
    assert decide(answered(418), on(codes=frozenset({418}))).retry
    assert not decide(answered(418), on(codes=frozenset({419}))).retry
    assert decide(answered(200, (b"x-again", b"1")), on(headers=frozenset({b"x-again"}))).retry
    assert not decide(answered(200, (b"x-once", b"1")), on(headers=frozenset({b"x-again"}))).retry
    assert not decide(answered(418), on(codes=frozenset({418})), make_exchange(b"POST")).retry


@given(
    status=st.sampled_from([200, 204, 302, 400, 409, 429, 500, 503]),
    fields=st.lists(st.sampled_from([(b"grpc-status", b"14"), (b"x-envoy-ratelimited", b"1"), (b"x-again", b"1")])),
    policy=st.builds(
        RetryPolicy,
        safe_only=st.frozensets(st.sampled_from(CONDITIONS)),
        codes=st.frozensets(st.sampled_from([200, 302, 503])),
        headers=st.frozensets(st.just(b"x-again")),
    ),
)
def test_nothing_that_deserves_a_second_try_is_passed_over(status, fields, policy):
    """Fields and codes that a policy lists were looked for in failures only."""
    response = answered(status, *fields)
    assert may_be_failure(response, policy) or decide(response, policy) is NOT_ASKED


def test_most_answers_are_not_asked_about():
    assert not may_be_failure(answered(200, (b"content-type", b"text/plain")), DEFAULT)
    assert may_be_failure(answered(404), DEFAULT)
    assert may_be_failure(answered(200, (b"grpc-status", b"0")), DEFAULT)


def test_by_default_what_the_app_answered_itself_stands():
    for status in (200, 301, 404, 409, 429, 500, 501, 505):
        assert not decide(answered(status)).retry
    for status in (502, 503, 504):
        assert decide(answered(status)).retry


# -- methods -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("resend", [Resend.REUSED, Resend.IF_SAFE])
def test_what_may_have_been_executed_is_repeated_only_when_that_is_harmless(method, resend):
    safe = method in SAFE
    decision = decide(failed(retry=resend), exchange=make_exchange(method))
    assert decision.retry is safe
    if not safe:
        assert decision.reason == f"{method.decode()} is not safe to repeat"
    assert decide(failed(retry=resend), exchange=make_exchange(method, ("idempotency-key", "k"))).retry
    assert decide(answered(503), exchange=make_exchange(method)).retry is safe


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("flag", [flags.CONNECTION_FAILURE, flags.REMOTE_RESET, flags.CONNECTION_TERMINATION])
def test_what_was_never_sent_is_repeated_whatever_it_is(method, flag):
    assert decide(failed(flag, Resend.UNSENT), exchange=make_exchange(method)).retry


def test_the_route_says_which_methods_are_safe():
    policy = replace(DEFAULT, safe_methods=frozenset({b"POST"}))
    assert decide(failed(), policy, make_exchange(b"POST")).retry
    assert not decide(failed(), policy, make_exchange(b"GET")).retry


def test_a_dead_pooled_connection_needs_no_condition_and_no_pause():
    policy = on("connect-failure")
    dead = decide(failed(retry=Resend.REUSED), policy)
    assert (dead.retry, dead.at_once) == (True, True)
    assert not decide(failed(retry=Resend.REUSED), policy, make_exchange(b"POST")).retry
    assert not decide(failed(retry=Resend.IF_SAFE), policy).retry
    unsent = failed(flags.CONNECTION_TERMINATION, Resend.UNSENT)
    assert decide(unsent, exchange=make_exchange(uses=2)).at_once
    assert not decide(unsent, exchange=make_exchange(uses=0)).at_once


OUTCOMES = st.one_of(
    st.builds(failed, st.sampled_from(FLAGS), st.sampled_from(Resend)),
    st.builds(
        answered,
        st.sampled_from([200, 409, 418, 429, 500, 502, 503, 504]),
        st.sampled_from(
            [(b"grpc-status", b"14"), (b"grpc-status", b"13"), (b"x-again", b""), (b"x-envoy-ratelimited", b"")]
        ),
    ),
)
POLICIES = st.builds(
    RetryPolicy,
    attempts=st.integers(0, 3),
    any_method=st.sets(st.sampled_from(sorted(DEFAULT.any_method))).map(frozenset),
    safe_only=st.sets(st.sampled_from(CONDITIONS)).map(frozenset),
    codes=st.sampled_from([frozenset(), frozenset({418, 500})]),
    headers=st.sampled_from([frozenset(), frozenset({b"x-again"})]),
)


@given(
    outcome=OUTCOMES,
    policy=POLICIES,
    method=st.sampled_from(METHODS),
    keyed=st.booleans(),
    tries=st.integers(1, 5),
    responded=st.booleans(),
    replayable=st.booleans(),
    left=st.integers(0, 2),
    time_left=st.sampled_from([0.001, 0.1, 5.0]),
)
def test_the_law(*, outcome, policy, method, keyed, tries, responded, replayable, left, time_left):
    """Never a second execution, never past a bound; and a yes is counted in the budget, a no is not."""
    exchange = make_exchange(method, *([("idempotency-key", "k")] if keyed else []), tries=tries)
    exchange.responded = 1.0 if responded else 0.0
    exchange.deadline = 10.0 + time_left
    budget = Budget(share=0.0, per_second=left / 10)
    decision = decide(outcome, policy, exchange, now=10.0, replayable=replayable, budget=budget)
    if decision.reason == AGAIN.reason:
        assert outcome.retry is Resend.MOVED
        assert replayable
        assert not responded
        assert budget.total_retries == 0
        return
    assert budget.total_retries == decision.retry
    if not decision.retry:
        return
    unsent = isinstance(outcome, ProxyError) and outcome.retry in UNPROCESSED
    assert unsent or method in policy.safe_methods or keyed
    assert not responded
    assert replayable
    assert tries <= policy.attempts
    assert left > 0
    assert decision.at_once or longest_backoff(tries, policy) < time_left
    assert decision.reason


@given(
    st.sampled_from([None, 0, 1, 2]),
    st.booleans(),
    st.integers(0, 2),
    st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 2"]),
    POLICIES,
    st.sampled_from(METHODS),
)
def test_no_octet_of_an_unsafe_request_may_have_gone_out_before_it_is_sent_again(
    fails_at, unsent, uses, received, policy, method
):
    stream = FakeStream(*([received] if received else []), fails_at=fails_at, unsent=unsent)
    connection = Http1Connection(stream, 0.0)
    connection.uses = uses
    exchange = make_exchange(method, uses=uses)
    exchange.head.length = None

    async def attempt():
        try:
            await connection.send_request(exchange.head, b"one", end=False)
            await connection.send(b"two")
            await connection.finish([(b"a", b"b")])
            while True:
                await connection.read_head()
        except UpstreamError as error:
            return error

    decision = decide(trio.run(attempt), policy, exchange)
    assert not decision.retry or method in SAFE or stream.sent == []
    assert not decision.retry or method in SAFE or unsent


# -- a connection that goes away ---------------------------------------------------------------------------------------

LEFT_BEHIND = failed(flags.REMOTE_RESET, Resend.MOVED)


def moved(method=b"POST", *, moves=1, failures=0):
    exchange = make_exchange(method, tries=moves + failures)
    for attempt in exchange.attempts[:moves]:
        attempt.resend = Resend.MOVED
    return exchange


@pytest.mark.parametrize("policy", [DEFAULT, NO_RETRY, on()])
@pytest.mark.parametrize("method", METHODS)
def test_what_a_connection_left_behind_is_no_attempt_and_spends_no_budget(policy, method):
    budget = Budget(share=0.0, per_second=0.0)
    decision = decide(LEFT_BEHIND, policy, moved(method), budget=budget)
    assert (decision.retry, decision.at_once, decision.fresh) == (True, True, False)
    assert budget.refused == budget.total_retries == 0
    assert not decide(LEFT_BEHIND, policy, moved(method), replayable=False).retry


def test_a_server_that_does_nothing_but_leave_is_left_in_the_end():
    decisions = [decide(LEFT_BEHIND, exchange=moved(moves=moves)) for moves in range(1, MOST_MOVES + 1)]
    assert [decision.retry for decision in decisions] == [True] * MOST_MOVES
    assert [decision.at_once for decision in decisions].index(False) == MOVES_AT_ONCE
    budget = Budget(share=0.0, per_second=0.0)
    assert decide(LEFT_BEHIND, exchange=moved(moves=MOST_MOVES + 1), budget=budget).flag == flags.RETRY_BUDGET
    assert decide(LEFT_BEHIND, NO_RETRY, moved(moves=MOST_MOVES + 1)).retry is False


def test_moves_leave_the_attempts_of_the_policy_as_they_are():
    assert decide(failed(), exchange=moved(b"GET", moves=3, failures=1)).retry
    assert decide(failed(), exchange=moved(b"GET", moves=3, failures=2)).flag == flags.RETRY_LIMIT


# -- what the sidecar of the callee answered itself --------------------------------------------------------------------


def own(error, status=503, *, unprocessed=False, fields=()):
    return OwnAnswer(answered(status, *fields), error, unprocessed)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    "error", ["http_response_timeout", "http_request_denied", "proxy_internal_error", "unheard_of"]
)
def test_an_answer_of_the_callee_s_sidecar_is_final(method, status, error):
    budget = Budget()
    decision = decide(own(error, status), exchange=make_exchange(method), budget=budget)
    assert (decision.retry, budget.total_retries) == (False, 0)
    assert decision.reason == "the sidecar of the callee answered itself, and the app may have been asked"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("error", ["connection_refused", "connection_limit_reached", "destination_unavailable"])
def test_what_it_says_never_reached_the_app_goes_elsewhere_whatever_it_is(method, error):
    decision = decide(own(error, unprocessed=True), exchange=make_exchange(method, uses=3))
    assert (decision.retry, decision.at_once, decision.fresh) == (True, False, False)
    assert not decide(own(error, unprocessed=True), on("retriable-4xx"), make_exchange(method)).retry


@pytest.mark.parametrize("method", METHODS)
def test_a_connection_that_the_app_broke_is_the_caller_s_to_repeat(method):
    assert decide(own("connection_terminated", 502), exchange=make_exchange(method)).retry is (method in SAFE)


def test_what_a_policy_lists_is_repeated_whoever_answered():
    listed = on("retriable-status-codes", codes=frozenset({504}))
    assert decide(own("http_response_timeout", 504), listed).retry
    assert not decide(own("http_response_timeout", 504), listed, make_exchange(b"POST")).retry
    assert not decide(own("http_response_timeout", 503), listed).retry


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_once_the_response_head_went_downstream_it_is_over():
    exchange = make_exchange()
    exchange.responded = 3.0
    assert decide(answered(503), exchange=exchange).reason == "the response head went downstream already"


def test_a_body_too_large_to_keep_is_never_sent_by_halves():
    decision = decide(failed(), replayable=False)
    assert not decision.retry
    assert decision.reason == "the request body is larger than 65536 octets, which is all that is kept"


def test_attempts_are_counted_with_the_first():
    policy = replace(DEFAULT, attempts=2)
    assert [decide(failed(), policy, make_exchange(tries=tries)).retry for tries in (1, 2, 3)] == [True, True, False]
    last = decide(failed(), policy, make_exchange(tries=3))
    assert (last.reason, last.flag) == ("no attempts left of 3", flags.RETRY_LIMIT)
    off = decide(failed(), NO_RETRY)
    assert (off.retry, off.flag) == (False, "")


def test_the_deadline_includes_the_longest_pause():
    exchange = make_exchange()
    exchange.deadline = 10.0
    assert decide(failed(), exchange=exchange, now=10.0 - 0.026).retry
    assert not decide(failed(), exchange=exchange, now=10.0 - 0.025).retry
    assert decide(failed(retry=Resend.REUSED), exchange=exchange, now=9.999).retry
    late = decide(failed(retry=Resend.REUSED), exchange=exchange, now=10.0)
    assert (late.retry, late.reason) == (False, "no time left before the deadline")


def test_the_budget_is_asked_last_and_says_so():
    budget = Budget(share=0.0, per_second=0.1)
    assert not decide(answered(404), budget=budget).retry
    assert not decide(failed(), exchange=make_exchange(b"POST"), budget=budget).retry
    assert budget.total_retries == budget.refused == 0
    assert decide(failed(), budget=budget).retry
    refused = decide(failed(), budget=budget)
    assert (refused.retry, refused.flag) == (False, flags.RETRY_BUDGET)


def test_a_refusal_names_what_was_met():
    decision = decide(answered(503), on("reset"))
    assert decision.reason == "5xx, gateway-error: not retried by policy"
    assert decide(answered(599), on(), None).reason == "5xx: not retried by policy"
    assert decide(answered(200)).reason == ""
    assert decide(failed(flags.OVERFLOW, Resend.UNSENT)).reason == "a limit was reached; asking again would not help"
    assert decide(failed(retry=Resend.NEVER)).reason == "this failure is final"


# -- back-off ----------------------------------------------------------------------------------------------------------


def test_the_intervals_of_the_field():
    assert [longest_backoff(n, DEFAULT) for n in (1, 2, 3, 4, 5)] == pytest.approx([0.025, 0.075, 0.175, 0.25, 0.25])


@given(st.integers(1, 10_000), st.floats(0.001, 10), st.floats(0.001, 100), st.integers())
def test_full_jitter_stays_below_the_interval_and_its_cap(n, base, most, seed):
    policy = replace(DEFAULT, backoff_base=base, backoff_max=most)
    pause = backoff(n, policy, Random(seed))
    longest = longest_backoff(n, policy)
    assert 0 <= pause < longest <= most
    assert longest == most or longest == pytest.approx((2**n - 1) * base)


@given(st.integers(1, 70), st.floats(0.001, 10), st.integers(0, 9))
def test_jitter_never_goes_below_a_least_pause(n, least, seed):
    policy = replace(DEFAULT, backoff_min=least, backoff_base=least, backoff_max=10 * least)
    assert least <= backoff(n, policy, Random(seed)) <= longest_backoff(n, policy) <= 10 * least


def test_jitter_fills_the_whole_interval():
    random = Random(7)
    pauses = [backoff(2, DEFAULT, random) for _ in range(4000)]
    tenths = [sum(0.0075 * tenth <= pause < 0.0075 * (tenth + 1) for pause in pauses) for tenth in range(10)]
    assert sum(tenths) == 4000
    assert min(tenths) > 320


# -- a second try beside the first -----------------------------------------------------------------------------------


@given(st.sampled_from(METHODS), st.booleans(), st.integers(0, 3), st.integers(1, 4), st.booleans(), st.booleans())
def test_a_second_try_beside_the_first_keeps_every_bound(method, has_key, most, tries, whole, has_budget):
    exchange = make_exchange(method, *([("idempotency-key", "k")] if has_key else []), tries=tries)
    budget = Budget(0.0, 10.0 if has_budget else 0.0)
    decision = may_hedge(exchange, RetryPolicy(attempts=most), budget, 1.0, whole=whole)
    expected = (method in SAFE or has_key) and tries <= most and whole and has_budget
    assert decision.retry is expected
    assert budget.total_retries == expected
    assert decision.reason


def test_what_asks_for_another_protocol_is_not_tried_twice():
    exchange = make_exchange(b"GET")
    exchange.head.upgrade = b"websocket"
    assert not may_hedge(exchange, DEFAULT, Budget(), 1.0, whole=True).retry


RESETS = RetryPolicy(resets=((b"retry-after", False), (b"x-ratelimit-reset", True)), reset_max=60.0)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([(b"retry-after", b"5")], 5.0),
        ([(b"x-ratelimit-reset", b"1030")], 30.0),
        ([(b"retry-after", b"Fri, 31 Dec 1999 23:59:59 GMT"), (b"x-ratelimit-reset", b"1030")], 30.0),
        (
            [(b"retry-after", b"61"), (b"x-ratelimit-reset", b"1001")],
            1.0,
        ),  # the first that asks for no more than is allowed
        ([(b"retry-after", b"60")], 60.0),
        ([(b"retry-after", b"0")], None),
        ([(b"retry-after", b"-1")], None),
        ([(b"retry-after", b"9" * 5000)], None),
        ([(b"retry-after", b"5"), (b"retry-after", b"6")], None),
        ([(b"x-ratelimit-reset", b"999")], None),  # over already
        ([], None),
    ],
)
def test_a_pause_that_a_response_asks_for(fields, seconds):
    assert asked_pause(answered(429, *fields), RESETS, 1000.0) == seconds
    assert asked_pause(answered(429, *fields), DEFAULT, 1000.0) is None
