"""Peak EWMA: peaks at once, calm slowly, oblivion in time; and the cheaper of two."""

from math import exp
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.endpoints import assert_shares, make_endpoints, tally

from meshd.upstream.peak_ewma import (
    DECAY,
    DEFAULT_RTT,
    PeakEwma,
    cost,
    observe_failure,
    observe_latency,
    seed,
)

SECONDS = st.floats(0.0, 100.0)
EVENTS = st.lists(st.tuples(st.floats(0.0, 30.0), SECONDS, st.booleans()), min_size=1, max_size=20)


def make_one(ewma=0.0, at=0.0, **given):
    [endpoint] = make_endpoints(given.get("weight", 1))
    endpoint.ewma, endpoint.ewma_at = ewma, at
    endpoint.active = given.get("active", 0)
    return endpoint


def make(endpoints, chance=1):
    balancer = PeakEwma(Random(chance))
    balancer.update(endpoints)
    return balancer


# -- latency -----------------------------------------------------------------------------------------------------------


def test_a_peak_is_believed_at_once():
    endpoint = make_one(0.01, 100.0)
    observe_latency(endpoint, 2.0, 100.1)
    assert (endpoint.ewma, endpoint.ewma_at) == (2.0, 100.1)


def test_calm_is_believed_over_ten_seconds():
    endpoint = make_one(2.0, 100.0)
    observe_latency(endpoint, 1.0, 100.0 + DECAY)
    assert endpoint.ewma == pytest.approx(1.0 + exp(-1))
    observe_latency(endpoint, 1.0, 100.0 + DECAY)  # no time passed, nothing learnt
    assert endpoint.ewma == pytest.approx(1.0 + exp(-1))


@given(EVENTS)
def test_the_view_stays_within_what_was_seen(events):
    endpoint, now, seen = make_one(), 0.0, [0.0]
    for pause, seconds, failed in events:
        now += pause
        before = endpoint.ewma
        (observe_failure if failed else observe_latency)(endpoint, seconds, now)
        seen.append(seconds)
        assert min(seconds, before) - 1e-9 <= endpoint.ewma <= max(seen) + 1e-9
        assert endpoint.ewma >= seconds - 1e-9 or not failed
        assert endpoint.ewma >= before or not failed  # a failure never makes it look faster
        assert endpoint.ewma_at == now


def test_a_clock_that_seems_to_go_back_does_no_harm():
    endpoint = make_one(2.0, 100.0)
    observe_latency(endpoint, 1.0, 99.0)
    assert endpoint.ewma == 2.0


def test_a_fast_failure_keeps_the_latency_from_fading():
    endpoint = make_one(1.0, 100.0)
    observe_failure(endpoint, 0.001, 150.0)
    assert (endpoint.ewma, endpoint.ewma_at) == (1.0, 150.0)


def test_one_that_never_answered_is_taken_to_need_thirty_milliseconds():
    endpoint = make_one()
    seed(endpoint, 50.0)
    assert cost(endpoint, 50.0) == pytest.approx(DEFAULT_RTT, rel=1e-3)
    seed(endpoint, 60.0)  # once
    assert endpoint.ewma_at == 50.0
    observed = make_one(0.5, 40.0)
    seed(observed, 60.0)
    assert observed.ewma == 0.5


# -- cost --------------------------------------------------------------------------------------------------------------


@given(SECONDS, st.integers(0, 50), st.integers(1, 10), st.floats(0.0, 1000.0))
def test_cost_grows_with_latency_and_load_and_shrinks_with_weight_and_time(seconds, active, weight, age):
    def at(ewma=seconds, busy=active, heavy=weight, later=age):
        return cost(make_one(ewma, 0.0, active=busy, weight=heavy), later)

    assert 0 < at() <= at(ewma=seconds + 1.0)
    assert at() < at(busy=active + 1)
    assert at(heavy=weight + 1) <= at()
    assert at(later=age + 1.0) <= at()


def test_a_faded_latency_still_tells_one_under_way_from_ten():
    assert cost(make_one(1.0, 0.0, active=1), 1e6) < cost(make_one(1.0, 0.0, active=10), 1e6)


# -- picking -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(SECONDS, st.integers(0, 9), st.integers(1, 5)), min_size=2, max_size=8), st.integers(0, 99))
def test_the_most_expensive_is_never_picked(members, chance):
    endpoints = make_endpoints(*[weight for _, _, weight in members])
    for endpoint, (seconds, active, _) in zip(endpoints, members, strict=True):
        endpoint.ewma, endpoint.active = seconds, active
    costs = [cost(endpoint, 0.0) for endpoint in endpoints]
    picked = make(endpoints, chance).pick(endpoints, 0.0, 0)
    if costs.count(max(costs)) == 1:
        assert cost(picked, 0.0) < max(costs)


def test_one_alone_needs_no_chance():
    endpoints = make_endpoints(1)
    assert make(endpoints).pick(endpoints, 0.0, 0) is endpoints[0]


def test_alike_they_are_picked_by_weight():
    endpoints = make_endpoints(1, 2, 5)
    balancer = make(endpoints)
    assert_shares([balancer.pick(endpoints, 0.0, 0) for _ in range(20_000)], endpoints)


def test_a_slow_one_of_three_gets_nothing_until_its_latency_has_faded():
    endpoints = make_endpoints(1, 1, 1)
    balancer = make(endpoints)
    for endpoint in endpoints:
        observe_latency(endpoint, 1.0 if endpoint is endpoints[0] else 0.01, 100.0)

    def picks(now):
        for endpoint in endpoints[1:]:
            observe_latency(endpoint, 0.01, now)
        return tally([balancer.pick(endpoints, now, 0) for _ in range(300)], endpoints)

    assert picks(101.0)[0] == 0
    assert picks(200.0)[0] > 150  # now it looks the fastest, and is asked again


def test_a_weight_of_nothing_ended_every_request():
    endpoints = make_endpoints(0, 0)
    assert make(endpoints).pick(endpoints, 0.0, 0) in endpoints
