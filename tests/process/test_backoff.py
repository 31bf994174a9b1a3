"""The law of restarts, over any history of short and long lives."""

from hypothesis import given
from hypothesis import strategies as st

from meshd.process.backoff import LONGEST, SHORTEST, STABLE, Backoff

LIVES = st.lists(st.floats(min_value=0, max_value=3 * STABLE, allow_nan=False), max_size=40)


def test_the_first_restart_is_immediate_and_then_the_wait_doubles():
    backoff = Backoff()
    waits = [backoff.ended(lived=0.0) for _ in range(9)]
    assert waits == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_stable_life_forgives():
    backoff = Backoff()
    for _ in range(6):
        backoff.ended(lived=0.0)
    assert backoff.ended(lived=STABLE) == 0.0
    assert backoff.ended(lived=0.0) == SHORTEST


@given(LIVES)
def test_waits_stay_in_bounds_and_grow_while_lives_are_short(lives):
    backoff, before = Backoff(), 0.0
    for lived in lives:
        wait = backoff.ended(lived)
        assert 0.0 <= wait <= LONGEST
        if lived >= STABLE:
            assert wait == 0.0
        else:
            assert wait >= min(before, LONGEST)
        before = wait


def test_a_thousand_failures_do_not_overflow():
    backoff = Backoff()
    assert [backoff.ended(0.0) for _ in range(2000)][-1] == LONGEST
