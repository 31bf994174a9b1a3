"""A client over HTTP/2: what upstreams may do to it, and which requests may be sent again."""

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, TrailersReceived
from hypothesis import given
from hypothesis import strategies as st
from support.http2 import (
    LIBRARIES,
    OPENING,
    SETTINGS,
    client,
    data,
    expand_flood,
    frames,
    headers,
    names,
    sent,
    settings,
    values,
)
from support.shared import cases

from meshd.core.errors import StreamBroken
from meshd.core.head import RequestHead
from meshd.http.framing import CONNECTION_FIELDS
from meshd.http.h2_client import ClientSession
from meshd.http.h2_engine import Offer
from meshd.http.h2_events import Body, Code, Ended, GoneAway, PingAcked, Reset, ResponseArrived, SettingsChanged
from meshd.http.h2_frames import ACK, PREFACE, Kind, frame

libraries = pytest.mark.parametrize("library", LIBRARIES, ids=repr)
OK = [(b":status", b"200")]


def get(session, path=b"/"):
    return session.send_request(RequestHead(b"GET", path, b"a.test"), 0.0, end=True)


def goaway(last, code=0):
    return frame(Kind.GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big"))


@libraries
def test_a_response_with_trailers(library):
    session = client(library)
    stream = get(session)
    octets = headers(stream, OK) + data(stream, b"abc") + headers(stream, [(b"grpc-status", b"0")], end=True)
    arrived, body, ended = session.receive(octets, 0.0)
    assert (arrived.head.status, body.data, ended.trailers) == (200, b"abc", [(b"grpc-status", b"0")])
    assert session.open_streams == 0


NONSENSE = {
    "no status": headers(1, [(b"x", b"y")], end=True),
    "a malformed field": headers(1, [*OK, (b"x", b"a\r\nset-cookie: s=1")], end=True),
    "a field of the connection": headers(1, [*OK, (b"transfer-encoding", b"chunked")], end=True),
    "an interim response that ends": headers(1, [(b":status", b"103")], end=True),
    "body before the head": data(1, b"x"),
    "a longer body": headers(1, [*OK, (b"content-length", b"1")]) + data(1, b"xy"),
    "a shorter body": headers(1, [*OK, (b"content-length", b"3")]) + data(1, b"xy", end=True),
    "no body at all": headers(1, [*OK, (b"content-length", b"3")], end=True),
    "a body where none may be": headers(1, [(b":status", b"304")]) + data(1, b"x"),
    "trailers without end": headers(1, OK) + headers(1, [(b"x", b"y")]),
    "17 interim responses": headers(1, [(b":status", b"103")]) * 17,
    "too many fields": headers(1, [*OK, *[(b"x", b"y")] * 101]),
}


@libraries
@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_resets_its_stream_and_no_other(library, name):
    session = client(library)
    get(session)
    other = get(session)
    events = session.receive(NONSENSE[name], 0.0)
    assert not any(isinstance(event, Ended) for event in events)
    [reset] = [event for event in events if isinstance(event, Reset)]
    assert (reset.stream, reset.by_peer, reset.unprocessed) == (1, False, False)
    assert [stream for stream, _ in sent(session, Kind.RST_STREAM)] == [1]
    octets = headers(other, OK) + data(other, b"fine", end=True)
    assert [type(event) for event in session.receive(octets, 0.0)] == [ResponseArrived, Body, Ended]


@libraries
def test_a_response_to_head_says_a_length_and_has_none(library):
    session = client(library)
    stream = session.send_request(RequestHead(b"HEAD", b"/", b"a"), 0.0, end=True)
    arrived, ended = session.receive(headers(stream, [*OK, (b"content-length", b"7")], end=True), 0.0)
    assert (arrived.head.length, type(ended)) == (7, Ended)


@libraries
def test_streams_above_the_last_one_were_never_processed(library):
    """The promise that makes every method safe to send again, whatever the reason for going away."""
    session = client(library)
    streams = [get(session) for _ in range(3)]
    *resets, gone = session.receive(goaway(streams[0], Code.ENHANCE_YOUR_CALM), 0.0)
    assert [(event.stream, event.by_peer, event.unprocessed) for event in resets] == [
        (streams[1], True, True),
        (streams[2], True, True),
    ]
    assert (type(gone), gone.last, gone.code) == (GoneAway, streams[0], Code.ENHANCE_YOUR_CALM)
    assert session.room == 0
    assert not session.usable
    assert [type(event) for event in session.receive(headers(streams[0], OK, end=True), 0.0)] == [
        ResponseArrived,
        Ended,
    ]
    assert session.drained


@libraries
def test_a_second_goaway_only_lowers_the_last_stream(library):
    session = client(library)
    get(session), get(session)
    assert [event.last for event in session.receive(goaway(2**31 - 1), 0.0)] == [2**31 - 1]
    reset, gone = session.receive(goaway(1), 0.0)
    assert (reset.stream, gone.last) == (3, 1)
    assert [event.last for event in session.receive(goaway(5), 0.0)] == [1]


@libraries
@pytest.mark.parametrize(("code", "unprocessed"), [(Code.REFUSED_STREAM, True), (Code.CANCEL, False), (99, False)])
def test_only_a_refused_stream_was_never_processed(library, code, unprocessed):
    session = client(library)
    stream = get(session)
    [reset] = session.receive(frame(Kind.RST_STREAM, 0, stream, int(code).to_bytes(4, "big")), 0.0)
    assert (reset.code, reset.by_peer, reset.unprocessed) == (code, True, unprocessed)


@libraries
def test_the_server_says_how_many_streams_there_are(library):
    session = ClientSession(library=library)
    assert session.room == 100
    [changed, _] = session.receive(settings(streams=2), 0.0)
    assert (type(changed), changed.streams, session.room) == (SettingsChanged, 2, 2)
    first, _ = get(session), get(session)
    assert (session.room, session.usable) == (0, True)
    with pytest.raises(StreamBroken) as caught:
        get(session)
    assert caught.value.unsent
    session.receive(headers(first, OK, end=True), 0.0)
    assert session.room == 1
    session.receive(settings(streams=0), 0.0)
    assert session.room == 0


@libraries
def test_our_own_limit_holds_where_the_server_has_none(library):
    session = client(library, offer=Offer(streams=3))
    for _ in range(3):
        get(session)
    assert session.room == 0


@libraries
def test_ids_run_out(library):
    session = client(library)
    session._next = 2**31 - 1
    assert session.usable
    get(session)
    assert (session.room, session.usable) == (0, False)


@libraries
def test_an_upgrade_needs_a_server_that_takes_it(library):
    session = client(library)
    assert not session.takes_upgrades
    session.receive(settings(connect=1), 0.0)
    assert session.takes_upgrades
    head = RequestHead(b"GET", b"/chat", b"a")
    head.upgrade = b"websocket"
    stream = session.send_request(head, 0.0)
    [arrived] = session.receive(headers(stream, OK), 0.0)
    assert (arrived.head.status, arrived.head.length) == (200, None)
    assert session.send_data(stream, b"frame") == 5


@libraries
def test_a_sign_of_life(library):
    session = client(library)
    session.ping(b"12345678")
    assert sent(session, Kind.PING) == [(0, b"12345678")]
    [event] = session.receive(frame(Kind.PING, ACK, 0, b"12345678"), 0.0)
    assert (type(event), event.payload) == (PingAcked, b"12345678")


@libraries
def test_taking_leave_finishes_what_was_begun(library):
    session = client(library)
    stream = get(session)
    session.drain()
    session.drain()
    assert len(sent(session, Kind.GOAWAY)) == 1
    assert (session.room, session.drained) == (0, False)
    session.receive(headers(stream, OK, end=True), 0.0)
    assert session.drained


@libraries
def test_a_response_nobody_asked_for_ends_the_connection(library):
    session = client(library)
    session.receive(headers(1, OK, end=True), 0.0)
    assert session.closed.code == Code.PROTOCOL_ERROR


FLOODS = [row for row in cases("h2_flood.jsonl") if row["direction"] == "upstream"]
UNTOUCHED = {"flood-up-window-0", "flood-up-max-streams-0", "flood-up-max-streams-1"}  # judged by their drivers
UNPROCESSED = {"flood-up-goaway-0", "flood-up-refused"}


@libraries
@pytest.mark.parametrize("case", FLOODS, ids=[row["id"] for row in FLOODS])
def test_floods(library, case):
    session = ClientSession(library=library)
    get(session)
    events = []
    for octets in [value.removeprefix(PREFACE) for kind, value in expand_flood(case["steps"]) if kind == "send"]:
        for place in range(0, len(octets), 65536):
            events += session.receive(octets[place : place + 65536], 0.0)
            session.data_to_send()
    assert not any(isinstance(event, Ended) for event in events)
    assert len(events) < 2000
    resets = [event for event in events if isinstance(event, Reset)]
    assert len(resets) == (case["id"] not in UNTOUCHED)
    assert [reset.unprocessed for reset in resets] in ([], [case["id"] in UNPROCESSED])


def test_a_client_opens_with_the_preface():
    assert ClientSession().data_to_send().startswith(PREFACE)
    assert OPENING == PREFACE + SETTINGS


@libraries
def test_a_window_of_nothing_stops_the_upload(library):
    session = client(library, opening=settings(window=0))
    head = RequestHead(b"POST", b"/", b"a")
    head.length = None
    stream = session.send_request(head, 0.0)
    assert session.send_data(stream, bytes(10**6), end=True) == 0
    assert [kind for kind, *_ in frames(session.data_to_send())] == [Kind.HEADERS]


@libraries
def test_trailers_behind_the_end_reset_their_stream(library):
    session = client(library)
    stream = session.send_request(RequestHead(b"POST", b"/", b"a"), 0.0)
    session.receive(headers(stream, OK, end=True), 0.0)
    [reset] = session.receive(headers(stream, [(b"x", b"y")], end=True), 0.0)
    assert (reset.stream, reset.code) == (stream, Code.STREAM_CLOSED)


@libraries
def test_a_server_may_reset_stream_after_stream(library):
    """An upstream that is overloaded refuses, one that answers early cuts uploads off; neither ends the connection."""
    session = client(library)
    for number in range(1500):
        stream = session.send_request(RequestHead(b"POST", b"/", b"a"), 0.0)
        answer = headers(stream, OK, end=True) if number % 2 else b""
        session.receive(answer + frame(Kind.RST_STREAM, 0, stream, bytes(4)), 0.0)
        session.data_to_send()
    assert session.closed is None


@libraries
@given(fields=st.lists(st.tuples(names, values), max_size=6), body=st.binary(max_size=100))
def test_a_strict_server_of_another_make_understands_us(library, fields, body):
    """hyper-h2 with all its checks on hears every request that we send, and we hear it."""
    theirs = H2Connection(H2Configuration(client_side=False, header_encoding=None))
    theirs.initiate_connection()
    session = ClientSession(library=library)
    head = RequestHead(b"POST", b"/p", b"a.test", list(fields))
    head.length = len(body)
    stream = session.send_request(head, 0.0)
    session.send_data(stream, body)
    session.send_trailers(stream, [(b"x-t", b"v")])
    heard = theirs.receive_data(session.data_to_send())
    [request] = [event for event in heard if isinstance(event, RequestReceived)]
    sent_on = [field for field in fields if field[0] not in CONNECTION_FIELDS]
    regular = [field for field in request.headers if not field[0].startswith(b":")]
    assert sorted(map(tuple, regular)) == sorted([*sent_on, (b"content-length", b"%d" % len(body))])
    assert b"".join(event.data for event in heard if isinstance(event, DataReceived)) == body
    assert any(isinstance(event, TrailersReceived) for event in heard)
    theirs.send_headers(stream, [(b":status", b"200"), (b"x", b"y")])
    theirs.send_data(stream, body, end_stream=True)
    events = session.receive(theirs.data_to_send(), 0.0)
    assert [type(event) for event in events if getattr(event, "stream", 0)][:1] == [ResponseArrived]
    assert b"".join(event.data for event in events if isinstance(event, Body)) == body
    assert isinstance(events[-1], Ended)
