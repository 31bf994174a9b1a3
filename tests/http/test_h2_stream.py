"""What a session remembers of one stream, and of those that are gone."""

from hypothesis import given
from hypothesis import strategies as st

from meshd.http.h2_stream import Departure, Departures, Stream


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(Departure)), max_size=80, unique_by=lambda each: each[0])
)
def test_the_last_departures_of_each_kind_are_remembered_and_hardly_more(ended):
    departures = Departures(resets=10, whole=4)
    for stream, how in ended:
        departures.add(stream, how)
    whole = [each for each in ended if each[1] is Departure.WHOLE]
    resets = [each for each in ended if each[1] is not Departure.WHOLE]
    for most, kind in ((4, whole), (10, resets)):
        assert all(departures.find(stream) is how for stream, how in kind[-most:])
        assert sum(departures.find(stream) is not None for stream, _ in kind) <= 2 * most
    assert departures.find(-1) is None
    assert repr(departures).startswith(f"<Departures {min(len(whole), 4)} whole") or len(whole) > 4


@given(received=st.integers(0, 20), expected=st.none() | st.integers(0, 20))
def test_a_body_fits_while_it_is_not_longer_and_ends_when_it_is_as_long(received, expected):
    stream = Stream(1, b"POST", 0.0, 65535)
    stream.received, stream.expected = received, expected
    assert stream.fits(end=False) == (expected is None or received <= expected)
    assert stream.fits(end=True) == (expected is None or received == expected)
    assert repr(stream) == f"<Stream 1 received {received} sent 0>"
