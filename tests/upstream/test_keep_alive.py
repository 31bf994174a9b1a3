"""How many idle connections a server has shown that it can spare."""

import pytest

from meshd.upstream.keep_alive import PAUSE, PAUSE_MAX, KeepAlive


@pytest.mark.parametrize(("floor", "together", "room"), [(0, 1, 0), (0, 2, 1), (0, 7, 6), (3, 1, 3), (3, 7, 6)])
def test_one_connection_is_always_left_to_others_unless_somebody_said_otherwise(floor, together, room):
    keep_alive = KeepAlive(floor)
    keep_alive.saw(together)
    assert keep_alive.room == room
    keep_alive.saw(1)
    assert keep_alive.room == room


def test_what_was_shown_goes_with_the_connections_that_showed_it():
    keep_alive = KeepAlive(0)
    keep_alive.saw(5)
    keep_alive.lost(4)
    assert keep_alive.evident == 5  # the fifth may have ended for any reason; four are there
    keep_alive.lost(2)
    assert keep_alive.evident == 3
    keep_alive.lost(0)
    assert (keep_alive.evident, keep_alive.room) == (1, 0)


def test_a_server_that_made_somebody_wait_is_tried_less_and_less_often():
    keep_alive, now, pauses = KeepAlive(0), 100.0, []
    for _ in range(12):
        assert keep_alive.may_try(now)
        keep_alive.failed(now)
        assert not keep_alive.may_try(now)
        pause = 0.5
        while not keep_alive.may_try(now + pause):
            pause *= 2
        pauses.append(pause)
        now += pause
    assert pauses[:3] == [PAUSE, 2 * PAUSE, 4 * PAUSE]
    assert PAUSE_MAX <= pauses[-1] < 2 * PAUSE_MAX
    keep_alive.saw(2)
    assert keep_alive.may_try(now)


def test_it_says_what_it_is():
    keep_alive = KeepAlive(0)
    keep_alive.saw(3)
    assert repr(keep_alive) == "<KeepAlive 3 at a time, 2 idle kept>"
