"""What may flow: windows are given back in full, in pieces worth a frame, and never beyond all bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.http.h2_events import Code, ConnectionFailed
from meshd.http.h2_windows import ALLOWANCE, DEFAULT, FAST, MOST, TURNS, WORTH, Inbound, Outbound

LARGEST = 2**31 - 1


@given(most=st.integers(4096, 2**20), steps=st.lists(st.tuples(st.booleans(), st.integers(0, 100000)), max_size=60))
def test_what_was_consumed_is_given_back_once(most, steps):
    window, unread, granted = Inbound(most), 0, most
    for comes, octets in steps:
        if comes:
            size = min(octets, granted)
            assert window.take(size)
            granted -= size
            unread += size
        else:
            size = min(octets, unread)
            unread -= size
            again = window.consume(size)
            assert again == 0 or again >= min(most // 2, WORTH)
            granted += again
        assert window.left == granted
        assert window.left + unread + window._consumed == most


def test_more_than_was_allowed_is_noticed():
    window = Inbound(100)
    assert window.take(100)
    assert not window.take(1)
    assert repr(window) == "<Inbound -1 of 100>"


def test_a_peer_that_has_none_left_is_not_kept_waiting_for_half_a_window():
    window = Inbound(100_000)
    window.take(100_000)
    assert window.consume(WORTH) == 0
    assert window.consume(1) == WORTH + 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2 * MOST)), max_size=60), st.integers(1, DEFAULT))
def test_a_window_grows_while_it_is_read_fast_and_never_beyond_what_it_may(turns, most):
    window, now, fast, size = Inbound(most), 100.0, -1, most
    for is_fast, room in turns:
        now += FAST / 2 if is_fast else 2 * FAST
        fast = fast + 1 if is_fast and fast >= 0 else 0
        extra = window.grow(room, now)
        if extra:
            assert fast >= TURNS
            assert WORTH <= extra <= min(room, size, MOST - size)
            fast = 0
        size += extra
        assert (window.left, window.grown) == (size, size - most)


def test_who_reads_slowly_keeps_the_window_he_has():
    window = Inbound(DEFAULT)
    assert [window.grow(MOST, 1000.0 + number * FAST) for number in range(50)] == [0] * 50


def test_four_doublings_are_enough_for_all_there_is():
    window = Inbound(DEFAULT)
    for number in range(4 * TURNS + 1):
        window.grow(MOST, 1000.0 + number * FAST / 2)
    assert MOST - WORTH < window.left <= MOST
    assert repr(ALLOWANCE).startswith("<Allowance ")


@given(st.lists(st.integers(1, LARGEST), max_size=10))
def test_nobody_takes_more_than_there_can_be(steps):
    window, total = Outbound(), DEFAULT
    for octets in steps:
        total += octets
        if total > LARGEST:
            with pytest.raises(ConnectionFailed) as caught:
                window.widen(octets)
            assert caught.value.code == Code.FLOW_CONTROL_ERROR
            return
        window.widen(octets)
    assert window.left == total
    assert repr(window) == f"<Outbound {total}>"
