"""Counters and buckets: what a peer may cost us."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.http.h2_events import Code, ConnectionFailed
from meshd.http.h2_floods import Bucket, FloodLimits, Floods, Stall, flood_limits
from meshd.http.limits import REQUEST_LIMITS, RESPONSE_LIMITS, Limits


def count_until(counter, act, most=10000):
    """How often `act` may be done before the limit of that name is passed."""
    done, error = 0, None
    while error is None:
        assert done < most, f"{counter} has no limit"
        try:
            act()
            done += 1
        except ConnectionFailed as failed:
            error = failed
    assert (error.code, error.counter) == (Code.ENHANCE_YOUR_CALM, counter)
    assert counter in error.details
    return done


@given(
    burst=st.integers(1, 20),
    rate=st.floats(0, 50),
    steps=st.lists(st.tuples(st.floats(0, 2), st.booleans()), max_size=60),
)
def test_a_bucket_grants_its_burst_and_its_rate_and_what_was_earned(burst, rate, steps):
    bucket, now, granted, earned = Bucket("x", burst, rate), 0.0, 0, 0
    for pause, good in steps:
        now += pause
        if good:
            bucket.earn()
            earned += 1
        try:
            bucket.take(now)
        except ConnectionFailed:
            break
        granted += 1
    else:
        return
    assert granted <= burst + earned + rate * now + 1e-6
    assert granted >= burst or granted == len(steps)


def test_time_that_goes_back_gives_nothing():
    bucket = Bucket("x", 1, 1000.0)
    bucket.take(5.0)
    with pytest.raises(ConnectionFailed):
        bucket.take(1.0)


LIMITS = FloodLimits(
    queued_control=3,
    queued_frames=12,
    empty_frames=1,
    continuations=4,
    block=100,
    settings_entries=5,
    priority=7,
    window_updates=5,
    resets=6,
    settings=9,
    pings=8,
    glitches=11,
)


@pytest.mark.parametrize(
    ("counter", "act", "allowed"),
    [
        ("queued_frames", lambda floods: (floods.check_queue(), floods.queued()), 13),
        ("queued_frames", lambda floods: (floods.check_queue(), floods.data_sent(4)), 4),
        ("queued_control", lambda floods: floods.control(), 3),
        ("empty_frames", lambda floods: floods.content(0, end=False), 1),
        ("priority", lambda floods: floods.priority(), 7),
        ("window_updates", lambda floods: floods.window_update(), 5),
        ("resets", lambda floods: floods.reset(0.0), 6),
        ("glitches", lambda floods: floods.glitch(0.0), 11),
        ("settings", lambda floods: (floods.collected(), floods.settings(1, 0.0)), 9),
        ("pings", lambda floods: (floods.collected(), floods.ping(0.0)), 8),
        ("queued_control", lambda floods: floods.ping(0.0), 3),
    ],
)
def test_each_counter_has_its_limit(counter, act, allowed):
    floods = Floods(LIMITS)
    assert count_until(counter, lambda: act(floods)) == allowed


@pytest.mark.parametrize(
    ("counter", "act"),
    [
        ("settings_entries", lambda floods: floods.settings(6, 0.0)),
        ("continuations", lambda floods: floods.block(5, 1)),
        ("header_block", lambda floods: floods.block(1, 101)),
    ],
)
def test_one_frame_can_be_too_much(counter, act):
    floods = Floods(LIMITS)
    assert count_until(counter, lambda: act(floods)) == 0


def test_streams_and_data_allow_more_window_updates_and_priorities():
    floods = Floods(LIMITS)
    floods.opened()
    floods.data_sent(2)
    assert count_until("window_updates", floods.window_update) == 5 + 2 * (1 + 10 * 2)
    assert count_until("priority", floods.priority) == 7 * 2


def test_content_between_empty_frames_starts_the_count_again():
    floods = Floods(LIMITS)
    for _ in range(100):
        floods.content(0, end=False)
        floods.content(1, end=False)
        floods.content(0, end=False)
        floods.content(0, end=True)


def test_half_of_all_streams_may_be_reset_for_ever():
    floods = Floods(LIMITS)
    for _ in range(1000):
        floods.reset(0.0)
        floods.finished()


@given(st.lists(st.tuples(st.floats(0.1, 200), st.integers(0, 20000)), max_size=40))
def test_a_stream_is_stalled_only_after_its_time_without_progress(steps):
    limits = FloodLimits(stall=300.0, stall_octets=65536)
    stall, now, sent = Stall(), 0.0, 0
    since, before = 0.0, 0
    stall.is_over(sent, now, limits)
    for pause, octets in steps:
        now += pause
        sent += octets
        over = stall.is_over(sent, now, limits)
        if sent - before >= 65536:
            since, before = now, sent
        assert over == (now - since >= 300.0)


def test_they_tell_how_far_it_has_gone():
    floods, stall = Floods(FloodLimits()), Stall()
    floods.opened()
    floods.reset(0.0)
    assert repr(floods) == "<Floods 1 streams <Bucket resets 499/500> <Bucket glitches 2000/2000>>"
    stall.is_over(0, 5.0, LIMITS)
    assert repr(stall) == "<Stall since 5.0>"


def test_the_usual_heads_change_no_limit_and_larger_ones_have_room():
    assert flood_limits(REQUEST_LIMITS) == flood_limits(RESPONSE_LIMITS) == FloodLimits()
    large = flood_limits(Limits(head=1048576, fields=1000))
    assert large.block >= 1048576
    assert large.continuations * 16384 >= large.block
    assert large.decoded_block >= 1048576 + 32 * 1000
