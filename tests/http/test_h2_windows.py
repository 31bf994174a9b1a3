"""What may flow: windows are given back in full, in pieces worth a frame, and never beyond all bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.http.h2_events import Code, ConnectionFailed
from meshd.http.h2_windows import DEFAULT, WORTH, Inbound, Outbound

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
