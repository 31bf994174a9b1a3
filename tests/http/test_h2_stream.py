"""What a session remembers of one stream, and of those that are gone."""

from hypothesis import given
from hypothesis import strategies as st

from meshd.http.h2_stream import Departure, Departures, Stream


@given(st.lists(st.integers(1, 100), max_size=200))
def test_the_last_departures_are_remembered_and_hardly_more(ids):
    departures = Departures(10)
    for place, stream in enumerate(ids):
        departures.add(stream, list(Departure)[place % 3])
    assert len(departures) <= 20
    for stream in dict.fromkeys(reversed(ids[-10:])):
        last = len(ids) - 1 - ids[::-1].index(stream)
        assert departures.find(stream) is list(Departure)[last % 3]
    assert departures.find(101) is None


@given(received=st.integers(0, 20), expected=st.none() | st.integers(0, 20))
def test_a_body_fits_while_it_is_not_longer_and_ends_when_it_is_as_long(received, expected):
    stream = Stream(1, b"POST", 0.0)
    stream.received, stream.expected = received, expected
    assert stream.fits(end=False) == (expected is None or received <= expected)
    assert stream.fits(end=True) == (expected is None or received == expected)
    assert repr(stream) == f"<Stream 1 received {received} sent 0>"
