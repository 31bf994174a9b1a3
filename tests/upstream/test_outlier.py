"""Ejection: how attempts are judged, the machine against a list of all events, the bounds, and the way back."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core import flags
from meshd.core.endpoint import Endpoint
from meshd.core.errors import DownstreamError, ProxyError, Resend, UpstreamError
from meshd.upstream.outlier import Outcome, OutlierPolicy, Streak, count, eject, is_ejected, may_eject, outcome_of

DEFAULT = OutlierPolicy()
SPLIT = replace(DEFAULT, split_external_local_origin_errors=True)
FAILURES = (Outcome.SERVER_ERROR, Outcome.GATEWAY_ERROR, Outcome.NO_CONNECTION)
COUNTED = (*FAILURES, Outcome.SUCCESS)


def upstream(flag, retry=Resend.IF_SAFE):
    return UpstreamError(502, flag, "why", retry=retry)


# -- judging -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0, Outcome.NOTHING),
        (101, Outcome.SUCCESS),
        (200, Outcome.SUCCESS),
        (404, Outcome.SUCCESS),
        (429, Outcome.SUCCESS),
        (499, Outcome.SUCCESS),
        (500, Outcome.SERVER_ERROR),
        (501, Outcome.SERVER_ERROR),
        (502, Outcome.GATEWAY_ERROR),
        (503, Outcome.GATEWAY_ERROR),
        (504, Outcome.GATEWAY_ERROR),
        (505, Outcome.SERVER_ERROR),
    ],
)
def test_a_status_speaks_for_the_endpoint(status, outcome):
    assert outcome_of(status, None, DEFAULT) is outcome


def test_statuses_may_be_added():
    policy = replace(DEFAULT, error_codes=frozenset({429}))
    assert outcome_of(429, None, policy) is Outcome.SERVER_ERROR
    assert outcome_of(404, None, policy) is Outcome.SUCCESS


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (upstream(flags.CONNECTION_FAILURE, Resend.UNSENT), Outcome.NO_CONNECTION),
        (upstream(flags.DNS_FAILED, Resend.UNSENT), Outcome.NO_CONNECTION),
        (upstream(flags.CONNECTION_TERMINATION), Outcome.GATEWAY_ERROR),
        (upstream(flags.REQUEST_TIMEOUT), Outcome.GATEWAY_ERROR),
        (upstream(flags.UPSTREAM_PROTOCOL), Outcome.GATEWAY_ERROR),
        (upstream(flags.CONNECTION_TERMINATION, Resend.REUSED), Outcome.NOTHING),  # died of idleness
        (upstream(flags.OVERFLOW, Resend.UNSENT), Outcome.NOTHING),  # our own bound
        (upstream(flags.NO_HEALTHY_UPSTREAM, Resend.UNSENT), Outcome.NOTHING),  # it was not asked
        (DownstreamError(0, flags.DOWNSTREAM_GONE, "left"), Outcome.NOTHING),
        (ProxyError(500, flags.INTERNAL, "bug"), Outcome.NOTHING),
    ],
)
def test_only_what_the_endpoint_did_counts(error, outcome):
    assert outcome_of(0, error, DEFAULT) is outcome
    assert outcome_of(200, error, DEFAULT) is outcome  # it broke off within the body


# -- counting ----------------------------------------------------------------------------------------------------------


def run_length(events, belongs, breaks):
    """How many at the end of the list belong to the run, before something that breaks it."""
    length = 0
    for event in reversed(events):
        if event in breaks:
            break
        length += event in belongs
    return length


def naive_due(events, policy):
    """What a list of all events of an endpoint that was never ejected says after the last of them."""
    split = policy.split_external_local_origin_errors
    local = {Outcome.NO_CONNECTION} if split else set()
    external = set(FAILURES) - local
    runs = [(external, {Outcome.SUCCESS}, policy.consecutive_5xx_errors)]
    gateway = external - {Outcome.SERVER_ERROR}
    runs.append((gateway, {Outcome.SUCCESS, Outcome.SERVER_ERROR}, policy.consecutive_gateway_errors))
    runs.append((local, {Outcome.SUCCESS} | external, policy.consecutive_local_origin_failures))
    return any(
        limit and events[-1] in belongs and run_length(events, belongs, breaks) >= limit
        for belongs, breaks, limit in runs
    )


POLICIES = st.builds(
    OutlierPolicy,
    consecutive_5xx_errors=st.integers(0, 4),
    consecutive_gateway_errors=st.integers(0, 4),
    consecutive_local_origin_failures=st.integers(0, 4),
    split_external_local_origin_errors=st.booleans(),
)


@given(st.lists(st.sampled_from(COUNTED) | st.sampled_from(FAILURES), min_size=1, max_size=30), POLICIES)
def test_counting_agrees_with_the_list_of_all_events(events, policy):
    streak = Streak()
    for number, event in enumerate(events, 1):
        if event is Outcome.SUCCESS:
            streak = Streak()  # as the cluster forgets it
        else:
            assert count(streak, event, policy) is naive_due(events[:number], policy)


def test_five_in_a_row_are_too_many_and_four_are_not():
    streak = Streak()
    assert [count(streak, Outcome.SERVER_ERROR, DEFAULT) for _ in range(6)] == [False] * 4 + [True] * 2


def test_gateway_errors_are_counted_apart():
    policy = OutlierPolicy(consecutive_5xx_errors=0, consecutive_gateway_errors=2)
    streak = Streak()
    events = [Outcome.GATEWAY_ERROR, Outcome.SERVER_ERROR, Outcome.GATEWAY_ERROR, Outcome.NO_CONNECTION]
    assert [count(streak, event, policy) for event in events] == [False, False, False, True]


def test_failed_connections_are_counted_apart_when_asked():
    streak = Streak()
    assert [count(streak, Outcome.NO_CONNECTION, SPLIT) for _ in range(5)] == [False] * 4 + [True]
    assert not count(streak, Outcome.SERVER_ERROR, SPLIT)  # which proves that it can be reached
    assert not count(streak, Outcome.NO_CONNECTION, SPLIT)
    assert repr(streak) == "<Streak 1 errors, 0 of them gateway, 1 local>"


def test_zero_turns_a_reason_off():
    off = OutlierPolicy(consecutive_5xx_errors=0)
    streak = Streak()
    assert not any(count(streak, outcome, off) for outcome in FAILURES * 100)


# -- how many at once --------------------------------------------------------------------------------------------------


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 100), st.integers(0, 100))
def test_never_too_many_and_never_the_last(hosts, ejected, percent, healthy_percent):
    policy = OutlierPolicy(max_ejection_percent=percent, min_health_percent=healthy_percent)
    ejected = min(ejected, hosts)
    if not may_eject(hosts, hosts - ejected, ejected, policy):
        return
    after = ejected + 1
    assert after < hosts
    assert after == 1 or after * 100 <= percent * hosts
    assert percent > 0
    assert (hosts - after) * 100 >= healthy_percent * hosts


@given(st.integers(2, 40), st.integers(1, 100))
def test_one_may_be_ejected_whenever_there_is_another(hosts, percent):
    assert may_eject(hosts, hosts, 0, OutlierPolicy(max_ejection_percent=percent))


def test_a_tenth_of_thirty_is_three():
    assert [may_eject(30, 30 - ejected, ejected, DEFAULT) for ejected in range(5)] == [True] * 3 + [False] * 2
    assert not may_eject(30, 30, 0, OutlierPolicy(max_ejection_percent=0))
    assert not may_eject(1, 1, 0, DEFAULT)


# -- how long ----------------------------------------------------------------------------------------------------------


def ejected_again(endpoint, policy, now):
    """The seconds of an ejection at `now`."""
    eject(endpoint, Streak(), policy, now)
    return endpoint.ejected_until - now


def test_each_ejection_is_longer_up_to_the_most():
    endpoint, now, times = Endpoint("10.0.0.1", 80), 1000.0, []
    for _ in range(12):
        times.append(ejected_again(endpoint, DEFAULT, now))
        now = endpoint.ejected_until  # it fails again at once
    assert times == [30.0 * n for n in range(1, 11)] + [300.0, 300.0]


def test_good_service_shortens_the_next():
    endpoint = Endpoint("10.0.0.1", 80)
    for _ in range(4):
        ejected_again(endpoint, DEFAULT, endpoint.ejected_until)
    back = endpoint.ejected_until
    assert ejected_again(endpoint, DEFAULT, back + 2 * DEFAULT.interval) == 30.0 * 3
    assert ejected_again(endpoint, DEFAULT, endpoint.ejected_until + 1000.0) == 30.0


@given(st.lists(st.floats(0.0, 100.0), max_size=20), st.floats(1.0, 60.0), st.floats(1.0, 400.0))
def test_an_ejection_lasts_between_one_step_and_the_most(pauses, base, most):
    policy = OutlierPolicy(base_ejection_time=base, max_ejection_time=most)
    endpoint, now = Endpoint("10.0.0.1", 80), 0.0
    for pause in pauses:
        now = max(now, endpoint.ejected_until) + pause
        eject(endpoint, Streak(), policy, now)
        assert min(base, most) - 1e-6 <= endpoint.ejected_until - now <= most + 1e-6
        assert is_ejected(endpoint, now)
        assert not is_ejected(endpoint, endpoint.ejected_until)  # time alone brings it back


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [
        (DEFAULT, Outcome.SERVER_ERROR),
        (OutlierPolicy(consecutive_5xx_errors=0, consecutive_gateway_errors=3), Outcome.GATEWAY_ERROR),
        (SPLIT, Outcome.NO_CONNECTION),
    ],
)
def test_back_in_service_it_is_on_probation(policy, outcome):
    endpoint, streak = Endpoint("10.0.0.1", 80), Streak()
    while not count(streak, outcome, policy):
        pass
    eject(endpoint, streak, policy, 0.0)
    assert count(streak, outcome, policy)
