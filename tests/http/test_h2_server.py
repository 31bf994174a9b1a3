"""A server over HTTP/2: every case of the downgrade tables and every flood, and how it takes its leave."""

import base64

import pytest
from support.http2 import GET, LIBRARIES, OPENING, POST, Wire, data, expand_flood, frames, headers, sent, server
from support.shared import cases

from meshd.core.head import RequestHead, ResponseHead
from meshd.http.h1 import ClientCodec, ServerCodec
from meshd.http.h2_engine import Offer
from meshd.http.h2_events import (
    Body,
    Closed,
    Code,
    Ended,
    GoneAway,
    PingAcked,
    RequestArrived,
    RequestRefused,
    Reset,
    WindowOpened,
)
from meshd.http.h2_floods import FloodLimits
from meshd.http.h2_frames import ACK, Kind, frame
from meshd.http.h2_server import ServerSession

libraries = pytest.mark.parametrize("library", LIBRARIES, ids=repr)


def named(rows):
    return pytest.mark.parametrize("case", rows, ids=[row["id"] for row in rows])


def as_http1(events):
    """What an upstream would get to read, message by message, when the bodies of `events` are passed on."""
    codecs, written, complete = {}, {}, []
    for event in events:
        if isinstance(event, RequestArrived):
            codecs[event.stream] = ClientCodec()
            written[event.stream] = codecs[event.stream].send_request(event.head, end=False)
        elif isinstance(event, Body):
            written[event.stream] += codecs[event.stream].send_data(event.data)
        elif isinstance(event, Ended):
            written[event.stream] += codecs[event.stream].send_end(event.trailers)
            complete.append(written[event.stream])
    return complete


def read_http1(octets):
    """The one request in these octets: head, body, trailers, and nothing behind it."""
    codec = ServerCodec()
    codec.receive(octets)
    head, body = codec.next_event(), b""
    while isinstance(piece := codec.next_event(), bytes):
        body += piece
    assert piece is not None
    assert not codec.leftover()
    return head, body


SHARED = cases("shared_h2_downgrade.jsonl")
EITHER = cases("either_h2_downgrade.jsonl")


@libraries
@pytest.mark.parametrize("variant", ["raw_b64", "raw_http_b64"])
@named(SHARED)
def test_downgrade(library, variant, case):
    session = ServerSession(library=library)
    events = session.receive(base64.b64decode(case[variant]), 0.0)
    complete = as_http1(events)
    assert session.closed is None, "one bad stream must not end the connection"
    if case["expect"] == "reject":
        assert not complete
        refused = any(isinstance(event, RequestRefused | Reset) for event in events)
        assert refused or sent(session, Kind.RST_STREAM)
    else:
        requests = [read_http1(octets) for octets in complete]
        assert len(requests) == len(case["forward"])
        for (head, body), wanted in zip(requests, case["forward"], strict=True):
            check_forwarded(head, body, wanted)


@libraries
@named(EITHER)
def test_downgrade_with_a_choice(library, case):
    session = ServerSession(library=library)
    events = session.receive(base64.b64decode(case["raw_b64"]), 0.0)
    assert session.closed is None
    requests = [read_http1(octets) for octets in as_http1(events) if not octets.startswith(b"CONNECT ")]
    for (head, body), wanted in zip(requests, case["if_accepted"] if requests else [], strict=False):
        check_forwarded(head, body, wanted)


def check_forwarded(head, body, wanted):
    assert head.method.decode() == wanted.get("method", head.method.decode())
    if "path" in wanted:
        assert head.target.decode() in (wanted["path"], wanted["path"].replace("//", "/"))
    if "host" in wanted:
        assert head.authority.decode() == wanted["host"]
    if "body_b64" in wanted:
        assert body == base64.b64decode(wanted["body_b64"])


def test_cases_are_there_to_be_judged():
    assert (len(SHARED), len(EITHER)) == (145, 27)


FLOODS = [row for row in cases("h2_flood.jsonl") if row["direction"] == "downstream"]
# What does no harm within its limits, and what only the clock can end.
STAY_OPEN = {"reset-legit", "unknown-few", "zerolen-header", "hpack-evict", "window-0", "window-drip"}
UNFINISHED = {"preface-none", "preface-half", "headers-stall"}


class Driver:
    """Answers every request at once ("/big" with a MiB), reads every body, gives up what starves, and counts."""

    def __init__(self, session, *, reads):
        self.session = session
        self.reads = reads
        self.now = 0.0
        self.requests = 0
        self.heard = 0
        self.large: set[int] = set()
        self.waiting: dict[int, bytes] = {}  # what is left of large answers
        self.starved: list[float] = []

    def play(self, steps):
        for kind, value in expand_flood(steps):
            if kind == "wait":
                self.now += value
                for stream in self.session.starved(self.now):
                    self.starved.append(self.now)
                    self.session.reset(stream)
                continue
            for place in range(0, len(value), 65536):
                self.heard += len(value[place : place + 65536])
                self.hear(self.session.receive(value[place : place + 65536], self.now))
                self.now += 0.0001
                if self.session.closed is not None:
                    return

    def hear(self, events):
        for event in events:
            if isinstance(event, RequestArrived):
                self.requests += 1
                self.large |= {event.stream} if event.head.path == b"/big" else set()
            elif isinstance(event, Body):
                self.session.acknowledge(event.stream, len(event.data))
            if isinstance(event, Ended | RequestRefused) and event.stream in self.session._streams:
                self.session.send_head(event.stream, ResponseHead(200))
                self.waiting[event.stream] = bytes(2**20 if event.stream in self.large else 0)
                self.go_on(event.stream)
            elif isinstance(event, WindowOpened):
                for stream in [event.stream] if event.stream else list(self.waiting):
                    self.go_on(stream)
        if self.reads:
            self.session.data_to_send()

    def go_on(self, stream):
        body = self.waiting.pop(stream, b"")
        if stream in self.session._streams:
            taken = self.session.send_data(stream, body, end=True)
            if taken < len(body):
                self.waiting[stream] = body[taken:]


@libraries
@named(FLOODS)
def test_floods(library, case):
    session = ServerSession(library=library)
    driver = Driver(session, reads=case["client_reads"])
    driver.play(case["steps"])
    name = case["id"].removeprefix("flood-")
    if session.closed is not None:
        assert name not in STAY_OPEN | UNFINISHED
        assert int(session.closed.code) in case["expectation"].get("goaway_codes", [1, 2, 3, 5, 6, 9, 11])
        assert driver.heard < 2**20  # that is where its cost ends
    else:
        assert name in STAY_OPEN | UNFINISHED
        assert session.unfinished == (name in UNFINISHED)
    if name in ("window-0", "window-drip"):  # none of a hundred outlives its time, however it drips
        assert len(driver.starved) == 100
        assert max(driver.starved) < 310
        assert session.open_streams == 0
    most = case["limits"].get("upstream_requests_max")
    assert driver.requests <= (100 if isinstance(most, str) else most or 10**6)
    assert session.open_streams <= 100


@libraries
def test_a_flood_names_the_limit_that_it_passed(library):
    session = server(library)
    [*_, closed] = session.receive(frame(Kind.PING, 0, 0, bytes(8)) * 1001, 0.0)
    assert isinstance(closed, Closed)
    assert (closed.code, closed.counter) == (Code.ENHANCE_YOUR_CALM, "pings")


@libraries
def test_a_client_that_reads_may_ping_for_ever(library):
    session = server(library)
    for second in range(60):
        session.receive(frame(Kind.PING, 0, 0, bytes(8)) * 50, float(second))
        session.data_to_send()
    assert session.closed is None


@libraries
def test_late_cancellations_are_never_punished(library):
    """Time-outs of a slow app reset every request, for hours: that is no attack."""
    session = server(library)
    for number in range(2000):
        stream = 1 + 2 * number
        session.receive(headers(stream, GET, end=True), float(10 * number))
        session.receive(frame(Kind.RST_STREAM, 0, stream, b"\0\0\0\x08"), 10.0 * number + 2)
    assert session.closed is None


@libraries
def test_streams_beyond_the_limit_are_refused_and_the_others_served(library):
    session = server(library, offer=Offer(streams=2))
    events = session.receive(b"".join(headers(stream, POST) for stream in (1, 3, 5)), 0.0)
    assert [event.stream for event in events] == [1, 3]
    assert sent(session, Kind.RST_STREAM) == [(5, b"\0\0\0\7")]
    assert session.receive(data(5, b"under way"), 0.0) == []
    session.receive(data(1, b"", end=True), 0.0)
    session.send_head(1, ResponseHead(204), end=True)
    [arrived] = session.receive(headers(7, POST), 0.0)
    assert arrived.stream == 7
    assert session.statistics().refused == 1


@libraries
def test_a_request_that_cannot_be_served_is_answered_and_its_body_thrown_away(library):
    session = server(library)
    session.receive(headers(1, [*POST, *[(b"x", b"y")] * 101]), 0.0)
    for _ in range(20):
        assert session.receive(data(1, bytes(16000)), 0.0) == [] or session.closed is not None
    assert session.closed is None
    session.send_head(1, ResponseHead(431, [], 3))
    session.send_data(1, b"no\n", end=True)
    assert [kind for kind, *_ in frames(session.data_to_send()) if kind != Kind.WINDOW_UPDATE] == [
        Kind.HEADERS,
        Kind.DATA,
        Kind.RST_STREAM,  # NO_ERROR: the rest is not wanted
    ]
    assert session.open_streams == 0


@libraries
def test_leave_is_taken_in_two_steps_and_costs_no_request(library):
    wire = Wire(library)
    first = wire.client.send_request(RequestHead(b"GET", b"/", b"a"), 0.0, end=True)
    wire.carry()
    wire.server.drain()
    late = wire.client.send_request(RequestHead(b"GET", b"/late", b"a"), 0.0, end=True)  # crosses the GOAWAY
    wire.carry()
    arrived = [event.stream for event in wire.heard_by_server if isinstance(event, RequestArrived)]
    assert arrived == [first, late]
    assert [event.last for event in wire.heard_by_client if isinstance(event, GoneAway)] == [2**31 - 1, late]
    assert not wire.client.usable
    assert not wire.server.drained
    for stream in arrived:
        wire.server.send_head(stream, ResponseHead(204), end=True)
    wire.carry()
    assert [event.stream for event in wire.heard_by_client if isinstance(event, Ended)] == [first, late]
    assert wire.server.drained
    assert wire.client.drained


@libraries
def test_after_leave_new_requests_are_passed_over_in_silence(library):
    session = server(library)
    session.receive(headers(1, GET, end=True), 0.0)
    session.drain()
    session.drain()
    session.drain()
    assert [payload[:4] for _, payload in sent(session, Kind.GOAWAY)] == [b"\x7f\xff\xff\xff", b"\0\0\0\1"]
    assert session.receive(headers(3, POST) + data(3, b"x"), 0.0) == []
    assert not [found for found in frames(session.data_to_send()) if found[0] == Kind.RST_STREAM]
    session.send_head(1, ResponseHead(204), end=True)
    assert session.drained


@libraries
def test_the_answer_to_a_ping_of_ours_is_no_leave(library):
    session = server(library)
    [event] = session.receive(frame(Kind.PING, ACK, 0, b"meshdgo!"), 0.0)
    assert isinstance(event, PingAcked)
    session.drain()
    assert session.receive(frame(Kind.PING, ACK, 0, b"meshdgo!"), 0.0) == []
    assert session.drained


@libraries
def test_extended_connect_is_offered_or_malformed(library):
    fields = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]]
    closed_to_it = server(library)
    assert closed_to_it.receive(headers(1, fields), 0.0) == []
    assert sent(closed_to_it, Kind.RST_STREAM) == [(1, b"\0\0\0\1")]
    session = server(library, offer=Offer(connect_protocol=True))
    [arrived] = session.receive(headers(1, fields), 0.0)
    assert arrived.head.upgrade == b"websocket"
    session.send_head(1, ResponseHead(101))
    assert session.send_data(1, b"frame") == 5
    [body] = session.receive(data(1, b"frame"), 0.0)
    assert body.data == b"frame"


@libraries
def test_settings_while_streams_are_open_move_their_windows(library):
    session = server(library)
    session.receive(headers(1, GET, end=True), 0.0)
    session.send_head(1, ResponseHead(200))
    assert session.send_data(1, bytes(65535)) == 65535
    events = session.receive(OPENING[24:] + frame(Kind.SETTINGS, 0, 0, b"\0\4\0\0\0\0"), 0.0)
    assert any(isinstance(event, WindowOpened) for event in events)
    session.receive(frame(Kind.WINDOW_UPDATE, 0, 0, b"\0\1\0\0"), 0.0)
    assert session.window(1) == 0
    session.receive(frame(Kind.SETTINGS, 0, 0, b"\0\4\0\1\0\x10"), 0.0)
    assert session.window(1) == 17


@libraries
def test_a_client_that_never_reads_is_left_with_so_many_answers(library):
    """Empty answers cost it no window, and each request makes room for the next."""
    session = server(library, limits=FloodLimits(queued_frames=50))
    answered = 0
    while session.closed is None:
        for event in session.receive(headers(1 + 2 * answered, GET, end=True), 0.0):
            if isinstance(event, RequestArrived):
                session.send_head(event.stream, ResponseHead(404), end=True)
        answered += 1
    assert (answered, session.closed.counter) == (52, "queued_frames")
