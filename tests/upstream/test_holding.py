"""What failing dials teach: pauses for the floor, and how long requests are turned away."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from support.connections import refused

from meshd.core import flags
from meshd.core.errors import Resend
from meshd.upstream.holding import HOLD_LEAST, HOLD_MAX, REFILL_PAUSE, REFILL_PAUSE_MAX, Holding


def fail(holding, began, seconds):
    """One dial; when it ended, and whether the endpoint is held from then on."""
    return began + seconds, holding.failed(refused(), began, began + seconds)


def test_one_failure_holds_nobody_and_slow_ones_hold_longer_each_time():
    holding, now, holds = Holding(Random(1)), 100.0, []
    for _ in range(5):
        now, held = fail(holding, now, 0.5)
        holds.append(holding.until - now if held else 0.0)
        now = max(now, holding.until)
    assert holds == [0.0, 0.5, 1.0, 2.0, 3.0]


def test_failures_that_cost_nothing_hold_nobody():
    holding, now = Holding(Random(1)), 100.0
    for _ in range(5):
        now, held = fail(holding, now, 0.001)
        assert not held
        assert holding.until <= now
        assert not holding.probe(now)


def test_dials_under_way_together_count_once():
    holding = Holding(Random(1))
    for _ in range(10):
        fail(holding, 100.0, 1.0)
    assert (holding.failures, holding.until) == (1, 0.0)
    fail(holding, 101.0, 1.0)
    assert (holding.failures, holding.until) == (2, 103.0)


def test_one_that_finds_out_turns_the_others_away_meanwhile():
    holding = Holding(Random(1))
    assert not holding.probe(100.0)
    fail(holding, 100.0, 1.0)
    fail(holding, 101.0, 1.0)
    assert holding.probe(110.0)
    assert holding.until == 111.0


def test_a_success_forgets_all():
    holding = Holding(Random(1))
    assert not holding.succeeded()
    fail(holding, 100.0, 1.0)
    fail(holding, 101.0, 1.0)
    assert holding.succeeded()
    assert (holding.failures, holding.until, holding.refill_at) == (0, 0.0, 0.0)
    assert not holding.probe(200.0)
    assert fail(holding, 200.0, 1.0) == (201.0, False)


def test_the_error_says_what_went_wrong_and_when_to_come_back():
    holding = Holding(Random(1))
    fail(holding, 100.0, 1.0)
    fail(holding, 101.0, 1.0)
    error = holding.error("10.0.0.1:80", 102.25)
    assert (error.status, error.flag, error.retry) == (503, flags.NO_HEALTHY_UPSTREAM, Resend.UNSENT)
    assert error.details == (
        "no connection to 10.0.0.1:80 after 2 attempts in a row, the last: connection refused; next attempt in 0.8 s"
    )
    assert holding.error("x", 999.0).details.endswith("next attempt in 0.0 s")
    assert repr(holding) == "<Holding after 2 failures, until 103.0>"


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20), st.integers(0, 9)), max_size=40), st.integers())
def test_no_pause_and_no_hold_is_longer_than_its_most(rounds, seed):
    holding, now = Holding(Random(seed)), 100.0
    for pause, seconds, outcome in rounds:
        now += pause
        if not outcome:
            holding.succeeded()
            continue
        now, held = fail(holding, now, seconds)
        assert held is (holding.until > now)
        assert holding.until - now <= HOLD_MAX + 1e-9
        assert not held or holding.until - now >= HOLD_LEAST - 1e-9
        least = min(REFILL_PAUSE * 2 ** min(holding.failures - 1, 10), REFILL_PAUSE_MAX) / 2
        assert least - 1e-9 <= holding.refill_at - now <= 2 * least + 1e-9
