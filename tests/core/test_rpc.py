"""Messages of a gRPC call, counted as they go by."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from meshd.core.rpc import Messages, Rpc

BODIES = st.lists(st.binary(max_size=40), max_size=8)


def framed(messages):
    return b"".join(b"\0" + len(message).to_bytes(4, "big") + message for message in messages)


def cut(octets, places):
    """The same octets in pieces."""
    edges = sorted({0, len(octets), *(place % (len(octets) + 1) for place in places)})
    return [octets[start:end] for start, end in pairwise(edges)]


@given(BODIES, st.lists(st.integers(0, 400), max_size=12))
def test_messages_are_counted_however_they_are_cut(messages, places):
    counter = Messages()
    for piece in cut(framed(messages), places):
        counter.feed(piece)
    assert counter.count == len(messages)
    assert "under way" not in repr(counter)


@given(BODIES, st.binary(min_size=1, max_size=20), st.integers(1, 24))
def test_a_message_that_breaks_off_is_not_counted(messages, last, missing):
    whole = framed([last])
    counter = Messages()
    counter.feed(framed(messages) + whole[: max(1, len(whole) - missing)])
    assert counter.count == len(messages)
    assert "under way" in repr(counter)


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_anything_may_come(pieces):
    counter = Messages()
    for piece in pieces:
        counter.feed(piece)
    assert 0 <= counter.count <= sum(map(len, pieces)) // 5


def test_a_call_says_how_it_stands():
    call = Rpc()
    assert repr(call) == "<Rpc 0 received, 0 sent, under way>"
    call.status = 0
    call.sent.feed(framed([b"", b"a"]))
    assert repr(call) == "<Rpc 0 received, 2 sent, status 0>"
