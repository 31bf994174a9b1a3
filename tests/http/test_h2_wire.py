"""Frames as hostile as they come: wherever they are cut, the same events; never an exception; one stream, not all."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.http1 import mutated
from support.http2 import (
    GET,
    LIBRARIES,
    OPENING,
    POST,
    SETTINGS,
    SETTINGS_ACK,
    block,
    client,
    cut,
    data,
    described,
    frames,
    headers,
    sent,
    server,
    some_frames,
)

from meshd.core.head import RequestHead, ResponseHead
from meshd.http.h2_events import Body, Closed, Code, Ended, PingAcked, RequestArrived, Reset, WindowOpened
from meshd.http.h2_frames import ACK, END_HEADERS, END_STREAM, PADDED, PREFACE, PRIORITY_FLAG, Kind, frame
from meshd.http.h2_server import ServerSession

libraries = pytest.mark.parametrize("library", LIBRARIES, ids=repr)
places = st.lists(st.integers(0, 2000), max_size=10)
# What clients send in good order, to be mixed with what they should not.
orderly = st.sampled_from(
    [
        headers(1, GET, end=True),
        headers(1, POST),
        headers(3, [*POST, (b"content-length", b"4")]),
        headers(3, [(b"x-t", b"v")], end=True),
        data(1, b"abcd"),
        data(3, b"abcd"),
        data(3, b"", end=True),
        frame(Kind.HEADERS, 0, 5, block(GET)[:9]),
        frame(Kind.CONTINUATION, END_HEADERS, 5, block(GET)[9:]),
        frame(Kind.PING, 0, 0, b"12345678"),
        frame(Kind.RST_STREAM, 0, 1, b"\0\0\0\x08"),
        frame(Kind.WINDOW_UPDATE, 0, 0, b"\0\0\0\x05"),
        SETTINGS,
        SETTINGS_ACK,
    ]
)
streams_of_frames = st.lists(orderly | some_frames, max_size=10).map(b"".join)


def hear(session, pieces):
    return [event for piece in pieces if piece for event in session.receive(piece, 0.0)]


@libraries
@given(octets=streams_of_frames, cuts=places)
@example(octets=headers(1, POST) + data(1, b"x", end=True), cuts=list(range(200)))
def test_the_events_are_the_same_wherever_the_octets_are_cut(library, octets, cuts):
    whole, pieces = server(library), server(library)
    assert described(hear(pieces, cut(octets, cuts))) == described(hear(whole, [octets]))
    assert pieces.closed == whole.closed or pieces.closed.code == whole.closed.code


@libraries
@given(octets=st.binary(max_size=200), cuts=places)
def test_any_octets_at_all(library, octets, cuts):
    session = ServerSession(library=library)
    events = hear(session, cut(octets, cuts))
    if octets and not PREFACE.startswith(octets[: len(PREFACE)]):
        assert isinstance(events[-1], Closed)


@libraries
@given(octets=streams_of_frames)
def test_a_server_keeps_its_promises_whatever_comes(library, octets):
    session = server(library)
    check_promises(session, session.receive(octets, 0.0))


@libraries
@given(octets=st.lists(some_frames | st.sampled_from([headers(1, [(b":status", b"200")]), data(1, b"ab")]), max_size=8))
def test_a_client_keeps_its_promises_whatever_comes(library, octets):
    session = client(library)
    for _ in range(3):
        session.send_request(RequestHead(b"GET", b"/", b"a"), 0.0, end=True)
    check_promises(session, session.receive(b"".join(octets), 0.0), begun={1, 3, 5})


@libraries
@given(octets=mutated(streams_of_frames), cuts=places)
def test_damaged_frames_never_raise_and_put_nothing_into_another_stream(library, octets, cuts):
    session = server(library)
    session.receive(headers(7, POST) + headers(9, POST), 0.0)
    octets += data(7, b"seven", end=True) + data(9, b"nine", end=True)
    events = hear(session, cut(octets, cuts))
    for event in events:
        if isinstance(event, Body):
            own = [bytes(payload) for kind, _, stream, payload in frames(octets) if (kind, stream) == (0, event.stream)]
            assert any(event.data in payload for payload in own)
    if session.closed is None and not session.unfinished:
        ends = {event.stream for event in events if isinstance(event, Ended | Reset)}
        assert {7, 9} <= ends


def check_promises(session, events, begun=()):
    """Per stream: head, body, end, in that order; nothing after a reset; `Closed` last, and every stream told of."""
    state = dict.fromkeys(begun, "head")
    for event in events:
        assert not isinstance(session.closed, Closed) or events[-1] is session.closed
        stream = getattr(event, "stream", 0)
        if not stream or isinstance(event, WindowOpened):
            continue
        if isinstance(event, Reset):
            assert state.pop(stream) in ("head", "body", "ended")
        elif isinstance(event, Body):
            assert state[stream] == "body"
        elif isinstance(event, Ended):
            assert state[stream] == "body"
            state[stream] = "ended"
        elif isinstance(event, RequestArrived):
            assert stream not in state
            state[stream] = "body"
        else:
            state[stream] = "body"
    if session.closed is not None:
        assert set(state.values()) <= {"ended"}  # over before
    assert all(len(payload) <= 16384 for _, _, _, payload in frames(session.data_to_send()))


@libraries
@given(octets=some_frames)
def test_what_is_wrong_on_one_stream_hurts_no_other(library, octets):
    """A frame either ends the connection, by the RFC's own words, or leaves the other streams as they were."""
    session = server(library)
    session.receive(headers(3, POST) + headers(5, POST), 0.0)
    _, _, stream, _ = frames(octets)[0]
    events = session.receive(octets, 0.0)
    if session.closed is not None or session.unfinished or stream in (0, 5):
        return
    assert all(getattr(event, "stream", 0) != 5 for event in events)
    [body, ended] = session.receive(data(5, b"whole", end=True), 0.0) or [None, None]
    assert session.closed is not None or (body.data, type(ended)) == (b"whole", Ended)


STREAM_ERRORS = {
    "WINDOW_UPDATE by 0": (frame(Kind.WINDOW_UPDATE, 0, 1, bytes(4)), Code.PROTOCOL_ERROR),
    "window overflow": (frame(Kind.WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff"), Code.FLOW_CONTROL_ERROR),
    "PRIORITY of 4 octets": (frame(Kind.PRIORITY, 0, 1, bytes(4)), Code.FRAME_SIZE_ERROR),
    "PRIORITY on itself": (frame(Kind.PRIORITY, 0, 1, b"\0\0\0\1\x0f"), Code.PROTOCOL_ERROR),
    "trailers without end": (headers(1, [(b"x", b"y")]), Code.PROTOCOL_ERROR),
    "malformed trailers": (headers(1, [(b"x", b"y\r\nz")], end=True), Code.PROTOCOL_ERROR),
    "pseudo-fields in trailers": (headers(1, [(b":path", b"/")], end=True), Code.PROTOCOL_ERROR),
    "too many trailers": (headers(1, [(b"x", b"y")] * 101, end=True), Code.PROTOCOL_ERROR),
    "a longer body": (data(1, b"12345"), Code.PROTOCOL_ERROR),
    "a shorter body": (data(1, b"123", end=True), Code.PROTOCOL_ERROR),
    "a shorter body, then trailers": (data(1, b"123") + headers(1, [(b"x", b"y")], end=True), Code.PROTOCOL_ERROR),
    "DATA after the end": (data(1, b"1234", end=True) + data(1, b"x"), Code.STREAM_CLOSED),
    "HEADERS after the end": (data(1, b"1234", end=True) + headers(1, GET, end=True), Code.STREAM_CLOSED),
}


@libraries
@pytest.mark.parametrize("name", STREAM_ERRORS)
def test_stream_errors_end_one_stream(library, name):
    octets, code = STREAM_ERRORS[name]
    session = server(library)
    session.receive(headers(1, [*POST, (b"content-length", b"4")]) + headers(3, POST), 0.0)
    events = session.receive(octets, 0.0)
    [reset] = [event for event in events if isinstance(event, Reset)]
    assert (reset.stream, reset.code, reset.by_peer) == (1, code, False)
    assert (1, int(code).to_bytes(4, "big")) in sent(session, Kind.RST_STREAM)
    assert [type(event) for event in session.receive(data(3, b"x", end=True), 0.0)] == [Body, Ended]


@libraries
def test_more_than_the_window_of_a_stream_ends_the_stream(library):
    session = server(library)
    session.receive(headers(1, POST) + headers(3, POST), 0.0)
    events = session.receive(data(1, bytes(16384)) * 5, 0.0)
    assert [type(event) for event in events] == [Body, Body, Body, Reset]
    assert (events[-1].stream, events[-1].code) == (1, Code.FLOW_CONTROL_ERROR)
    assert [type(event) for event in session.receive(data(3, b"x", end=True), 0.0)] == [Body, Ended]


@libraries
def test_windows_of_open_streams_move_with_the_settings_but_not_beyond_all_bounds(library):
    session = server(library)
    session.receive(headers(1, GET) + frame(Kind.WINDOW_UPDATE, 0, 1, (2**31 - 1 - 65535).to_bytes(4, "big")), 0.0)
    assert session.closed is None
    session.receive(frame(Kind.SETTINGS, 0, 0, b"\0\4" + (65536).to_bytes(4, "big")), 0.0)
    assert session.closed.code == Code.FLOW_CONTROL_ERROR


CONNECTION_ERRORS = {
    "DATA on stream 0": (data(0, b"x"), Code.PROTOCOL_ERROR),
    "DATA on an idle stream": (data(5, b"x"), Code.PROTOCOL_ERROR),
    "HEADERS on stream 0": (headers(0, GET), Code.PROTOCOL_ERROR),
    "HEADERS on an even stream": (headers(2, GET), Code.PROTOCOL_ERROR),
    "HEADERS on a stream that was passed over": (headers(7, GET) + headers(5, GET), Code.PROTOCOL_ERROR),
    "HEADERS that are no HPACK": (frame(Kind.HEADERS, END_HEADERS, 3, b"\xff\xff"), Code.COMPRESSION_ERROR),
    "padding longer than its frame": (frame(Kind.DATA, PADDED, 1, b"\x05ab"), Code.PROTOCOL_ERROR),
    "PRIORITY on stream 0": (frame(Kind.PRIORITY, 0, 0, bytes(5)), Code.PROTOCOL_ERROR),
    "PRIORITY of a wrong size on an idle stream": (frame(Kind.PRIORITY, 0, 9, bytes(4)), Code.FRAME_SIZE_ERROR),
    "RST_STREAM on an idle stream": (frame(Kind.RST_STREAM, 0, 5, bytes(4)), Code.PROTOCOL_ERROR),
    "RST_STREAM of a wrong size": (frame(Kind.RST_STREAM, 0, 1, bytes(3)), Code.FRAME_SIZE_ERROR),
    "SETTINGS on a stream": (frame(Kind.SETTINGS, 0, 1), Code.PROTOCOL_ERROR),
    "SETTINGS of a wrong size": (frame(Kind.SETTINGS, 0, 0, bytes(5)), Code.FRAME_SIZE_ERROR),
    "SETTINGS ACK with a payload": (frame(Kind.SETTINGS, ACK, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
    "SETTINGS with a window too large": (frame(Kind.SETTINGS, 0, 0, b"\0\4\xff\xff\xff\xff"), Code.FLOW_CONTROL_ERROR),
    "SETTINGS with a frame too small": (frame(Kind.SETTINGS, 0, 0, b"\0\5\0\0\0\1"), Code.PROTOCOL_ERROR),
    "PUSH_PROMISE": (frame(Kind.PUSH_PROMISE, END_HEADERS, 1, bytes(4)), Code.PROTOCOL_ERROR),
    "PING on a stream": (frame(Kind.PING, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "PING of a wrong size": (frame(Kind.PING, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
    "GOAWAY on a stream": (frame(Kind.GOAWAY, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "GOAWAY of a wrong size": (frame(Kind.GOAWAY, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE by 0": (frame(Kind.WINDOW_UPDATE, 0, 0, bytes(4)), Code.PROTOCOL_ERROR),
    "WINDOW_UPDATE of a wrong size": (frame(Kind.WINDOW_UPDATE, 0, 0, bytes(3)), Code.FRAME_SIZE_ERROR),
    "window overflow": (frame(Kind.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), Code.FLOW_CONTROL_ERROR),
    "WINDOW_UPDATE on an idle stream": (frame(Kind.WINDOW_UPDATE, 0, 9, b"\0\0\0\1"), Code.PROTOCOL_ERROR),
    "CONTINUATION without HEADERS": (frame(Kind.CONTINUATION, END_HEADERS, 1), Code.PROTOCOL_ERROR),
    "a frame within a header block": (frame(Kind.HEADERS, 0, 3, b"\x82") + data(1, b"x"), Code.PROTOCOL_ERROR),
    "CONTINUATION of another stream": (
        frame(Kind.HEADERS, 0, 3, b"\x82") + frame(Kind.CONTINUATION, END_HEADERS, 1, b"\x82"),
        Code.PROTOCOL_ERROR,
    ),
}


@libraries
@pytest.mark.parametrize("name", CONNECTION_ERRORS)
def test_connection_errors_end_the_connection_and_say_why(library, name):
    octets, code = CONNECTION_ERRORS[name]
    session = server(library)
    session.receive(headers(1, POST), 0.0)
    session.data_to_send()
    events = session.receive(octets, 0.0)
    assert events[-1] is session.closed
    assert session.closed.code == code
    [(_, payload)] = sent(session, Kind.GOAWAY)
    assert int.from_bytes(payload[4:8], "big") == code
    assert payload[8:].decode() == session.closed.details[:128]


@libraries
def test_whoever_does_not_begin_with_settings_is_no_peer(library):
    session = ServerSession(library=library)
    session.receive(PREFACE + headers(1, GET, end=True), 0.0)
    assert session.closed.code == Code.PROTOCOL_ERROR
    session = ServerSession(library=library)
    session.receive(PREFACE + SETTINGS_ACK, 0.0)
    assert session.closed.code == Code.PROTOCOL_ERROR


@libraries
def test_a_request_that_depends_on_itself_is_reset(library):
    session = server(library)
    octets = frame(Kind.HEADERS, END_HEADERS | END_STREAM | PRIORITY_FLAG, 1, b"\0\0\0\1\x0f" + block(GET))
    events = session.receive(octets, 0.0)
    assert [type(event) for event in events] == [RequestArrived, Ended, Reset]


@libraries
def test_priority_and_padding_around_a_head_are_taken_off(library):
    session = server(library)
    payload = b"\3" + b"\0\0\0\0\x0f" + block(GET) + bytes(3)
    [arrived, _] = session.receive(frame(Kind.HEADERS, 0x2D, 1, payload), 0.0)
    assert arrived.head.path == b"/"


@libraries
def test_unfinished_business(library):
    """What the driver must not wait for longer than for a request head."""
    session = ServerSession(library=library)
    assert session.unfinished
    session.receive(OPENING[:40], 0.0)
    assert not session.unfinished or len(OPENING) > 40
    session = server(library)
    assert not session.unfinished
    session.receive(frame(Kind.HEADERS, 0, 1, b"\x82"), 0.0)
    assert session.unfinished
    session.receive(frame(Kind.CONTINUATION, END_HEADERS, 1, block(GET[1:])), 0.0)
    assert not session.unfinished


@libraries
def test_pings_are_answered_and_answers_told(library):
    session = server(library)
    [event] = session.receive(frame(Kind.PING, 0, 0, b"12345678") + frame(Kind.PING, ACK, 0, b"87654321"), 0.0)
    assert (type(event), event.payload) == (PingAcked, b"87654321")
    assert sent(session, Kind.PING) == [(0, b"12345678")]


@libraries
def test_content_on_a_stream_that_the_peer_reset_is_its_error(library):
    session = server(library)
    session.receive(headers(1, POST) + frame(Kind.RST_STREAM, 0, 1, b"\0\0\0\x08"), 0.0)
    session.data_to_send()
    assert session.receive(data(1, b"x") + headers(1, POST) + data(1, b"x"), 0.0) == []
    assert sent(session, Kind.RST_STREAM) == [(1, b"\0\0\0\5")]  # once
    assert session.closed is None


@libraries
def test_a_stream_that_ended_well_is_over_for_good(library):
    session = server(library)
    session.receive(headers(1, GET, end=True), 0.0)
    session.send_head(1, ResponseHead(204), end=True)
    session.receive(frame(Kind.WINDOW_UPDATE, 0, 1, b"\0\0\0\1") + frame(Kind.RST_STREAM, 0, 1, bytes(4)), 0.0)
    assert session.closed is None
    session.receive(headers(1, GET, end=True), 0.0)
    assert session.closed.code == Code.STREAM_CLOSED


@libraries
def test_wrong_priorities_of_streams_that_are_over(library):
    session = server(library)
    session.receive(headers(1, GET, end=True) + headers(3, POST), 0.0)
    session.send_head(1, ResponseHead(204), end=True)
    session.reset(3)
    session.data_to_send()
    session.receive(frame(Kind.PRIORITY, 0, 1, bytes(4)) + frame(Kind.PRIORITY, 0, 3, bytes(4)), 0.0)
    assert sent(session, Kind.RST_STREAM) == [(1, b"\0\0\0\6")]
    session.receive(frame(Kind.PRIORITY, 0, 1, b"\0\0\0\3\x0f"), 0.0)
    assert session.closed is None
