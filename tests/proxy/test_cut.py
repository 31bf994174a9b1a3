"""What being ended from outside means to whoever waited."""

import pytest
from support.exchanges import make_attempt, make_call, make_exchange

from meshd.core.errors import Resend, Side
from meshd.core.route import Route
from meshd.proxy.cut import OF_ATTEMPT, OVERDUE, Cut, error_of, limit_of
from meshd.proxy.rescue import rescue


@pytest.mark.parametrize("cause", Cut)
def test_every_cause_is_an_error_that_names_it(cause):
    error = error_of(cause)
    assert error.details == cause.value
    assert error.side is (Side.DOWNSTREAM if cause in (Cut.GONE, Cut.BAD_BODY, Cut.SLOW) else Side.UPSTREAM)
    assert (error.retry is Resend.IF_SAFE) == (cause in OF_ATTEMPT)
    if cause in OVERDUE:
        assert error.status == 504


def test_nobody_is_left_to_tell_when_the_client_has_gone():
    assert error_of(Cut.GONE).status == 0


ROUTE = Route(
    "HTTPRoute/shop/web/0",
    timeout=2.0,
    timeout_of="timeouts.request of HTTPRoute/shop/web/0",
    attempt_timeout=0.5,
    attempt_timeout_of="spec.retry.perTryTimeout of BackendPolicy/shop/web",
    attempt_idle_timeout=0.25,
)


def overdue(attempts=1, route=ROUTE, deadline=None):
    exchange = make_call() if deadline is not None else make_exchange()
    exchange.attempts[:] = [make_attempt()] * attempts
    exchange.route = route
    exchange.deadline = exchange.started + 2.0
    if deadline is not None:
        exchange.rpc.deadline = exchange.deadline = exchange.started + deadline
    return exchange


@pytest.mark.parametrize(
    ("cause", "exchange", "wanted"),
    [
        (Cut.TIMEOUT, overdue(2), "2 s (timeouts.request of HTTPRoute/shop/web/0), after 2 attempts"),
        (Cut.TIMEOUT, overdue(deadline=0.1), "0.1 s (the caller's grpc-timeout), after 1 attempt"),
        (
            Cut.ATTEMPT_TIMEOUT,
            overdue(),
            "0.5 s (spec.retry.perTryTimeout of BackendPolicy/shop/web), after 1 attempt",
        ),
        (Cut.ATTEMPT_IDLE, overdue(3), "0.25 s without an octet (of an attempt), after 3 attempts"),
        (Cut.IDLE, overdue(), "300 s without an octet either way, after 1 attempt"),
        (Cut.TIMEOUT, overdue(0, Route("r", timeout=1.0)), "1 s (the time limit of a request), after 0 attempts"),
        (Cut.TIMEOUT, overdue(route=None), ""),
        (Cut.GONE, overdue(), ""),
    ],
)
def test_which_limit_of_which_document_and_after_how_many_attempts(cause, exchange, wanted):
    assert limit_of(cause, exchange) == wanted


def test_the_limit_is_told_in_details_and_in_the_body_for_who_may_know():
    error = error_of(Cut.TIMEOUT, "2 s (x), after 1 attempt")
    assert error.details == "upstream_response_timeout{2 s (x), after 1 attempt}"
    reply = rescue(error)
    assert (reply.body, reply.told) == (
        b"upstream request timeout",
        b"upstream request timeout: 2 s (x), after 1 attempt",
    )
