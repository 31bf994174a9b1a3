"""One body out of a buffer, whichever way it is framed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.http1 import chunked, pieces

from meshd.core.errors import ProtocolError
from meshd.http.body import BodyReader, Shape
from meshd.http.events import End

WAYS = ["empty", "length", "chunked", "close"]


def reader_for(way, body):
    """A reader that expects `body` framed this way, and its octets."""
    reader = BodyReader()
    if way == "empty":
        reader.expect(len(body), chunked=False, bodiless=True)
        return reader, b""
    if way == "chunked":
        reader.expect(None, chunked=True)
        return reader, chunked(body, [3, 4])
    reader.expect(len(body) if way == "length" else None, chunked=False)
    return reader, body


def read(reader):
    found, end = b"", None
    while end is None and (piece := reader.next_piece()) is not None:
        if isinstance(piece, End):
            end = piece
        else:
            assert piece, "an empty piece says nothing"
            found += piece
    return found, end is not None


@given(st.sampled_from(WAYS), st.binary(max_size=60), st.lists(st.integers(0, 99), max_size=6), st.binary(max_size=5))
def test_a_body_is_read_to_its_end_and_no_further(way, body, cuts, rest):
    reader, data = reader_for(way, body)
    rest = b"" if way == "close" else rest
    found, ended = b"", False
    for part in [*pieces(data + rest, cuts), b""]:
        reader.receive(part)
        if not ended:
            more, ended = read(reader)
            found += more
    assert ended
    assert (found, reader.buffer) == (b"" if way == "empty" else body, rest)
    assert reader.shape is Shape.DONE
    assert reader.next_piece() is None


@given(st.sampled_from(WAYS), st.binary(max_size=60), st.integers(0, 60))
def test_all_that_is_ready_is_what_the_pieces_are(way, body, here):
    (one, data), (other, _) = reader_for(way, body), reader_for(way, body)
    for each in (one, other):
        if data[:here]:
            each.receive(data[:here])
    found, end = one.take_ready()
    assert (found, end is not None) == read(other)
    assert (one.buffer, one.shape) == (other.buffer, other.shape)


@pytest.mark.parametrize("way", ["length", "chunked"])
@given(body=st.binary(min_size=1, max_size=30), missing=st.integers(1, 5))
def test_a_body_that_breaks_off_is_an_error(way, body, missing):
    reader, data = reader_for(way, body)
    if data[:-missing]:
        reader.receive(data[:-missing])
    reader.receive(b"")
    with pytest.raises(ProtocolError, match="ended within a"):
        read(reader)


def test_memory_is_what_came_last():
    reader, _ = reader_for("length", b"a" * 1000)
    for _ in range(10):
        reader.receive(b"a" * 100)
        assert reader.next_piece() == b"a" * 100
        assert reader.buffer == b""


def test_a_body_of_no_octets_is_no_body():
    reader = BodyReader()
    reader.expect(0, chunked=False)
    assert reader.shape is Shape.EMPTY


def test_chunks_that_cannot_follow_are_not_waited_for():
    reader = BodyReader()
    reader.expect(None, chunked=True, bodiless=True)
    body, end = reader.take_ready()
    assert body == b""
    assert end is not None
