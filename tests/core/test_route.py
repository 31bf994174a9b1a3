"""What a route does when nobody says otherwise: the defaults the field agreed on."""

from dataclasses import FrozenInstanceError

import pytest

from meshd.core.chain import EMPTY_CHAIN
from meshd.core.route import NO_RETRY, RetryPolicy, Route, Target


def test_only_what_was_never_processed_is_retried_for_every_method():
    policy = RetryPolicy()
    assert policy.attempts == 1
    assert policy.any_method == {"connect-failure", "refused-stream", "reset-before-request"}
    assert policy.safe_methods.isdisjoint({b"POST", b"PATCH", b"LOCK", b"CONNECT"})
    assert not policy.any_method & policy.safe_only
    assert policy.safe_only.isdisjoint({"5xx", "retriable-4xx"})  # neither 500 nor 409 by default
    assert (policy.buffer, policy.backoff_base, policy.backoff_max) == (65536, 0.025, 0.25)


def test_no_retry_is_none():
    assert NO_RETRY.attempts == 0


def test_a_route_that_says_nothing():
    route = Route("HTTPRoute/default/a/0")
    assert (route.timeout, route.attempt_timeout, route.idle_timeout) == (None, None, 300.0)
    assert (route.targets, route.total_weight, route.chain) == ((), 0, EMPTY_CHAIN)
    assert route.retry == RetryPolicy()
    assert Target("").weight == 1


def test_a_compiled_route_is_shared_and_never_changed():
    route = Route("HTTPRoute/default/a/0")
    with pytest.raises(FrozenInstanceError):
        route.timeout = 1.0
