"""Messages: whole or not at all, in order, never waiting."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshd.process.channel import INLINE, pair

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=200),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=8,
)
MESSAGES = st.lists(st.lists(VALUES, min_size=1, max_size=4).map(tuple), max_size=20)
SIZES = st.lists(st.sampled_from([0, 1, INLINE - 100, INLINE - 20, INLINE, INLINE + 1, 300_000]), max_size=6)


@pytest.fixture
def ends():
    ours, theirs = pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def received(channel):
    messages = []
    while (message := channel.receive()) is not None:
        messages.append(message)
    return messages


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@given(MESSAGES)
@pytest.mark.slow
def test_what_goes_in_comes_out_in_order(messages):
    ours, theirs = pair()
    assert all(ours.send(*message) for message in messages)
    assert received(theirs) == messages
    assert theirs.receive() is None
    ours.close()
    theirs.close()


@settings(max_examples=20)
@given(SIZES)
def test_any_length_arrives_whole_and_leaks_no_descriptor(sizes):
    ours, theirs = pair()
    before = descriptors()
    messages = [("set", number, os.urandom(size)) for number, size in enumerate(sizes)]
    taken = [message for message in messages if ours.send(*message)]
    assert received(theirs) == taken
    assert len(taken) >= min(len(messages), 3)
    assert descriptors() == before
    ours.close()
    theirs.close()


def test_a_reader_that_never_reads_costs_drops_and_no_waiting(ends):
    ours, theirs = ends
    sent = [ours.send("records", number, b"x" * 1000) for number in range(2000)]
    assert 10 < sent.count(True) < 2000
    assert ours.dropped == sent.count(False)
    assert [message[1] for message in received(theirs)] == list(range(sent.count(True)))
    assert ours.send("again")


def test_long_messages_that_are_dropped_leave_no_descriptor(ends):
    ours, _theirs = ends
    while ours.send("filler", b"x" * 1000):
        pass
    before = descriptors()
    assert not ours.send("set", b"x" * (INLINE + 1))
    assert descriptors() == before


def test_a_closed_reader_is_a_drop(ends):
    ours, theirs = ends
    theirs.close()
    assert not ours.send("records", b"")
    assert not ours.send("records", b"x" * (2 * INLINE))
    assert ours.dropped == 2


def test_what_waits_is_read_by_a_successor(ends):
    ours, theirs = ends
    ours.send("set", 1, b"x" * (2 * INLINE), False)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if theirs.receive() == ("set", 1, b"x" * (2 * INLINE), False) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_value_that_marshal_does_not_know_is_our_mistake(ends):
    with pytest.raises(ValueError, match="unmarshallable"):
        ends[0].send("state", object())
