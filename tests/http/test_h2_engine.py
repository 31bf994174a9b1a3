"""The library, kept out of trouble."""

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.http2 import LIBRARIES, SETTINGS, frames, some_frames

from meshd.http.h2_engine import TABLE_SIZE, Engine, Offer
from meshd.http.h2_events import Code, ConnectionFailed
from meshd.http.h2_frames import END_HEADERS, END_STREAM, PREFACE, Kind, frame

libraries = pytest.mark.parametrize("library", LIBRARIES, ids=repr)


def opened(library, *, client=False, offer=None):
    engine = Engine(library, offer or Offer(), 262144, client=client)
    first = engine.collect()
    if client:
        assert first.startswith(PREFACE)
        first = first[len(PREFACE) :]
    else:
        engine.feed(PREFACE)
    engine.feed(SETTINGS)
    engine.collect()
    return engine, frames(first)


def entries(payload):
    return dict(struct.iter_unpack(">HI", payload))


@libraries
def test_a_server_says_what_it_offers(library):
    _, [(kind, _, _, payload)] = opened(library, offer=Offer(streams=7, connect_protocol=True))
    assert kind == Kind.SETTINGS
    assert entries(payload).items() >= {3: 7, 4: 65535, 5: 16384, 6: 61440, 8: 1}.items()


@libraries
def test_a_client_takes_no_pushes(library):
    _, [(_, _, _, payload)] = opened(library, client=True)
    assert entries(payload)[2] == 0


@libraries
def test_a_peer_can_not_make_our_table_large(library):
    """The table is ours to fill: a peer that offers gigabytes would have us keep every header it makes us send."""
    engine, _ = opened(library, client=True)
    engine.feed_settings(struct.pack(">HI", 1, 2**32 - 1))
    for number in range(500):
        fields = [(b"x-%d" % number, b"v" * 100)]
        engine.say_fields(1 + 2 * number, [(b":method", b"GET"), *fields], end=False)
    assert engine._connection.encoder.header_table_size == TABLE_SIZE


@libraries
def test_settings_that_nobody_knows_are_not_kept(library):
    engine, _ = opened(library)
    before = len(engine._connection.remote_settings)
    engine.feed_settings(b"".join(struct.pack(">HI", number, 1) for number in range(9, 900)))
    assert len(engine._connection.remote_settings) == before


@libraries
@given(st.lists(some_frames, max_size=4))
def test_nothing_but_the_known_error_comes_out(library, found):
    engine, _ = opened(library)
    codes = set()
    try:
        for octets in found:
            engine.feed(octets)
    except ConnectionFailed as error:
        codes.add(error.code)
    assert codes <= set(Code)


@libraries
def test_the_librarys_own_goaway_is_dropped(library):
    """Ours says more."""
    engine, _ = opened(library)
    engine.feed(frame(Kind.PING, 0, 0, b"12345678"))
    with pytest.raises(ConnectionFailed):
        engine.feed(frame(Kind.DATA, 0, 1, b"x"))
    assert [found[0] for found in frames(engine.collect())] == [Kind.PING]


@libraries
def test_what_the_peer_lets_us_do_is_what_it_said_last(library):
    engine, _ = opened(library, client=True)
    assert engine.peer_streams > 2**31
    assert (engine.peer_window, engine.peer_frame, engine.peer_connects) == (65535, 16384, False)
    assert engine._connection.encoder.header_table_size == TABLE_SIZE
    engine.feed_settings(struct.pack(">HIHIHIHI", 3, 5, 4, 70, 5, 2**20, 8, 1))
    assert (engine.peer_streams, engine.peer_window, engine.peer_frame) == (5, 70, 16384)
    assert engine.peer_connects


@libraries
def test_heads_beyond_one_frame_go_on_in_others(library):
    engine, _ = opened(library, client=True)
    engine.say_fields(1, [(b":method", b"GET"), (b"x", bytes(b"v" * 40000))], end=True)
    found = frames(engine.collect())
    assert [(kind, flags) for kind, flags, _, _ in found] == [
        (Kind.HEADERS, END_STREAM),
        (Kind.CONTINUATION, 0),
        (Kind.CONTINUATION, END_HEADERS),
    ]


@libraries
@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 40000])
def test_data_is_cut_into_frames_that_the_peer_takes(library, size):
    engine, _ = opened(library, client=True)
    count = engine.say_data(1, b"d" * size, end=True)
    found = frames(engine.collect())
    assert [len(payload) for _, _, _, payload in found] == [16384] * (size // 16384) + (
        [size % 16384] if size % 16384 or not size else []
    )
    assert count == len(found)
    assert [flags for _, flags, _, _ in found] == [0] * (count - 1) + [1]


@libraries
@pytest.mark.parametrize("kind", [IndexError, KeyError, ValueError, AssertionError, struct.error, RecursionError])
def test_whatever_the_library_trips_over_is_the_end_of_the_connection(library, kind):
    class Tripping(library.connection):
        def receive_data(self, _):
            raise kind("tripped")

    engine = Engine(replace(library, connection=Tripping), Offer(), 1, client=True)
    with pytest.raises(ConnectionFailed, match="tripped") as caught:
        engine.feed(SETTINGS)
    assert caught.value.code == Code.PROTOCOL_ERROR
    assert repr(engine).startswith(f"<Engine {library.name}, ")
