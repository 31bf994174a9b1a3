"""Two sessions and a wire: flow control, order and isolation, whatever both drivers do."""

import pytest
from hypothesis import settings, stateful
from hypothesis import strategies as st
from support.http2 import LIBRARIES, POST, Wire, client, data, frames, headers, sent, server
from support.http2 import settings as settings_frame

from meshd.core.errors import StreamBroken
from meshd.core.head import RequestHead, ResponseHead
from meshd.http.h2_engine import Offer
from meshd.http.h2_events import Body, Closed, Code, Ended, RequestArrived, Reset, ResponseArrived
from meshd.http.h2_floods import FloodLimits
from meshd.http.h2_frames import PADDED, Kind, frame

libraries = pytest.mark.parametrize("library", LIBRARIES, ids=repr)
CONNECTION_WINDOW = 200 * 65535


def post(length=None):
    head = RequestHead(b"POST", b"/", b"a.test")
    head.length = length
    return head


class Side:
    """What one driver believes of one direction of one stream."""

    def __init__(self):
        self.sent = 0
        self.received = 0
        self.unread = 0
        self.ended = False  # the sender has said so
        self.heard_end = False


def given_back(session):
    """Whether all that came was given back, or is on the list of what will be."""
    return session._inbound.left + session._inbound._consumed == session.offer.connection_window


class TwoSessions(stateful.RuleBasedStateMachine):
    """Both drivers do what they like; octets never get lost, mixed up or ahead of the window."""

    library = LIBRARIES[0]

    def __init__(self):
        super().__init__()
        self.wire = Wire(self.library)
        self.up: dict[int, Side] = {}
        self.down: dict[int, Side] = {}
        self.gone: set[int] = set()

    def alive(self, sides):
        return sorted(stream for stream, side in sides.items() if stream not in self.gone and not side.ended)

    @stateful.rule()
    def begin(self):
        if self.wire.client.room:
            self.up[self.wire.client.send_request(post(), 0.0)] = Side()

    @stateful.rule(pick=st.integers(0, 99))
    def respond(self, pick):
        waiting = [stream for stream in self.alive(self.up) if stream not in self.down]
        arrived = [each for each in waiting if self.wire.server._streams.get(each) is not None]
        if arrived:
            stream = arrived[pick % len(arrived)]
            self.wire.server.send_head(stream, ResponseHead(200))
            self.down[stream] = Side()

    @stateful.rule(pick=st.integers(0, 99), size=st.integers(0, 200000), end=st.booleans(), up=st.booleans())
    def send(self, pick, size, end, up):
        sides, session = (self.up, self.wire.client) if up else (self.down, self.wire.server)
        alive = self.alive(sides)
        if not alive:
            return
        stream = alive[pick % len(alive)]
        window = session.window(stream)
        try:
            taken = session.send_data(stream, bytes((stream % 251,)) * size, end=end)
        except StreamBroken:
            assert stream in self.gone or stream not in session._streams
            self.gone.add(stream)
            return
        assert taken == min(size, window)
        sides[stream].sent += taken
        sides[stream].ended = end and taken == size

    @stateful.rule(pick=st.integers(0, 99), part=st.integers(1, 300000), up=st.booleans())
    def consume(self, pick, part, up):
        sides, session = (self.up, self.wire.server) if up else (self.down, self.wire.client)
        if sides:
            stream = sorted(sides)[pick % len(sides)]
            session.acknowledge(stream, part)
            sides[stream].unread = max(0, sides[stream].unread - part)

    @stateful.rule(pick=st.integers(0, 99), by_client=st.booleans())
    def give_up(self, pick, by_client):
        if self.up:
            stream = sorted(self.up)[pick % len(self.up)]
            session = self.wire.client if by_client else self.wire.server
            if stream in session._streams:
                self.gone.add(stream)
            session.reset(stream)

    @stateful.rule(size=st.integers(0, 65535))
    def shrink(self, size):
        """The client's streams get another window while octets are under way; it may leave less than nothing."""
        self.wire.server.receive(settings_frame(window=size), 0.0)

    @stateful.rule()
    def carry(self):
        self.wire.carry()
        self.listen(self.wire.heard_by_server, self.up)
        self.listen(self.wire.heard_by_client, self.down)

    def listen(self, events, sides):
        for event in events:
            assert not isinstance(event, Closed), event
            if isinstance(event, Body):
                assert set(event.data) == {event.stream % 251}
                side = sides[event.stream]
                side.received += len(event.data)
                side.unread += len(event.data)
                assert side.received <= side.sent
            elif isinstance(event, Ended):
                assert sides[event.stream].received == sides[event.stream].sent
                sides[event.stream].heard_end = True
            elif isinstance(event, Reset):
                assert event.stream in self.gone
        events.clear()

    @stateful.invariant()
    def windows_are_never_overdrawn(self):
        for session in (self.wire.client, self.wire.server):
            assert session.closed is None
            assert all(session.window(stream) >= 0 for stream in list(session._streams))

    def teardown(self):
        """What was read, and what was thrown away with its stream, is all given back."""
        for session in (self.wire.client, self.wire.server):
            for stream in list(session._streams):
                session.reset(stream)
                self.gone.add(stream)
        self.carry()
        for session, sides in ((self.wire.server, self.up), (self.wire.client, self.down)):
            for stream, side in sides.items():
                session.acknowledge(stream, side.received)
            assert session.open_streams == 0
            assert not session._unread
            assert given_back(session)


class TwoFastSessions(TwoSessions):
    """The same with the other library."""

    library = LIBRARIES[1]


steps = settings(max_examples=25, stateful_step_count=40, deadline=None)
TestTwoSessions = pytest.mark.slow(TwoSessions.TestCase)
TestTwoSessions.settings = steps
TestTwoFastSessions = pytest.mark.slow(TwoFastSessions.TestCase)
TestTwoFastSessions.settings = steps


@libraries
def test_nothing_is_acknowledged_before_it_is_consumed(library):
    """Back-pressure: the sender gets no further than one window until somebody reads."""
    wire = Wire(library)
    stream = wire.client.send_request(post(), 0.0)
    assert wire.client.send_data(stream, bytes(200000)) == 65535
    wire.carry()
    assert wire.client.window(stream) == 0
    wire.server.acknowledge(stream, 40000)
    wire.carry()
    assert wire.client.window(stream) == 40000


@libraries
def test_padding_counts_and_is_given_back_without_being_consumed(library):
    """512 kB of padding around 2 kB of body is eight windows' worth, and none of the body is acknowledged."""
    session = server(library)
    session.receive(headers(1, POST), 0.0)
    padded = frame(Kind.DATA, PADDED, 1, b"\xffx" + bytes(255))
    returned = 0
    for _ in range(2000):
        [body] = session.receive(padded, 0.0)
        assert body.data == b"x"
        updates = sent(session, Kind.WINDOW_UPDATE)
        returned += sum(int.from_bytes(payload, "big") for stream, payload in updates if stream == 1)
    assert session.closed is None
    assert 2000 * 256 - 65535 < returned <= 2000 * 256


@libraries
def test_a_stream_that_is_gone_takes_nothing_more(library):
    wire = Wire(library)
    stream = wire.client.send_request(post(), 0.0)
    wire.carry()
    wire.server.reset(stream, Code.CANCEL)
    wire.carry()
    assert wire.client.window(stream) == 0
    with pytest.raises(StreamBroken):
        wire.client.send_data(stream, b"x")
    with pytest.raises(StreamBroken):
        wire.client.send_trailers(stream, [])
    with pytest.raises(StreamBroken):
        wire.server.send_head(stream, ResponseHead(200))
    wire.client.reset(stream)
    wire.client.acknowledge(stream, 5)
    assert wire.client.data_to_send() == b""


@libraries
def test_what_was_under_way_when_we_reset_a_stream_means_nothing(library):
    wire = Wire(library)
    stream = wire.client.send_request(post(), 0.0)
    wire.carry()
    wire.server.reset(stream)
    wire.client.send_data(stream, bytes(60000))
    wire.client.send_trailers(stream, [(b"a", b"b")])
    events = wire.server.receive(wire.client.data_to_send(), 0.0)
    assert events == []
    assert wire.server.closed is None
    assert given_back(wire.server)


@libraries
def test_a_stalled_stream_is_found_however_slowly_it_drips(library):
    wire = Wire(library)
    wire.server.limits = FloodLimits(stall=300.0, stall_octets=65536)
    stream = wire.client.send_request(post(0), 0.0, end=True)
    wire.carry()
    wire.server.send_head(stream, ResponseHead(200))
    body = bytes(10**6)
    body = body[wire.server.send_data(stream, body, end=True) :]
    overdue = []
    for second in range(400):
        overdue += [second] if wire.server.starved(float(second)) else []
        wire.server.receive(b"\0\0\4\x08\0" + stream.to_bytes(4, "big") + b"\0\0\0\1", float(second))
        body = body[wire.server.send_data(stream, body, end=True) :]
    assert overdue[:1] == [300]


@libraries
def test_a_stream_with_room_is_not_stalled(library):
    wire = Wire(library)
    stream = wire.client.send_request(post(), 0.0)
    wire.client.send_data(stream, b"x")
    assert wire.client.starved(0.0) == wire.client.starved(1e6) == []


@libraries
def test_the_peers_end_resets_what_is_open(library):
    wire = Wire(library)
    stream = wire.client.send_request(post(), 0.0)
    wire.carry()
    assert [type(event) for event in wire.server.receive(b"", 0.0)] == [Reset, Closed]
    assert wire.server.receive(b"more", 0.0) == []
    assert wire.server.window(stream) == 0


@libraries
def test_going_away_at_once_says_why(library):
    session = server(library)
    session.go_away(Code.ENHANCE_YOUR_CALM, "header timeout")
    session.go_away(Code.NO_ERROR, "again")
    assert sent(session, Kind.GOAWAY) == [(0, b"\0\0\0\0\0\0\0\x0bheader timeout")]
    assert session.receive(data(1, b"x"), 0.0) == []


@libraries
def test_statistics_and_repr(library):
    wire = Wire(library)
    stream = wire.client.send_request(post(), 0.0)
    wire.carry()
    assert repr(wire.server) == "<ServerSession 1 streams>"
    wire.client.reset(stream)
    wire.carry()
    assert (wire.server.statistics().resets_received, wire.client.statistics().resets_sent) == (1, 1)
    wire.server.receive(b"", 0.0)
    assert repr(wire.server) == "<ServerSession <Closed NO_ERROR 'the peer closed the connection'>>"


@libraries
def test_one_exchange_from_end_to_end(library):
    wire = Wire(library)
    stream = wire.client.send_request(post(), 0.0)
    wire.client.send_data(stream, b"ping")
    wire.client.send_trailers(stream, [(b"a", b"b")])
    wire.carry()
    [*_, arrived, body, ended] = wire.heard_by_server
    assert isinstance(arrived, RequestArrived)
    assert (body.data, ended.trailers) == (b"ping", [(b"a", b"b")])
    wire.server.send_head(stream, ResponseHead(103, [(b"link", b"l")]))
    wire.server.send_head(stream, ResponseHead(200, [(b"x", b"y")], 4))
    wire.server.send_data(stream, b"pong", end=True)
    wire.carry()
    heads = [event.head for event in wire.heard_by_client if isinstance(event, ResponseArrived)]
    assert [(head.status, head.headers) for head in heads] == [(103, [(b"link", b"l")]), (200, [(b"x", b"y")])]
    assert isinstance(wire.heard_by_client[-1], Ended)
    assert wire.client.open_streams == wire.server.open_streams == 0


@libraries
def test_output_is_collected_once(library):
    session = client(library)
    session.send_request(post(0), 0.0, end=True)
    assert [kind for kind, *_ in frames(session.data_to_send())] == [Kind.HEADERS]
    assert session.data_to_send() == b""


@libraries
def test_a_message_may_end_without_body_and_trailers(library):
    wire = Wire(library)
    stream = wire.client.send_request(post(), 0.0)
    wire.client.send_trailers(stream, [])
    wire.carry()
    assert isinstance(wire.heard_by_server[-1], Ended)
    wire.server.send_head(stream, ResponseHead(200))
    wire.server.send_trailers(stream, [(b"content-length", b"1")])  # nobody may believe that
    wire.carry()
    assert [event.trailers for event in wire.heard_by_client if isinstance(event, Ended)] == [[]]


@libraries
def test_what_is_thrown_away_is_given_back_to_all_the_others(library):
    session = server(library)
    session.receive(headers(1, POST), 0.0)
    session.reset(1)
    returned = 0
    for _ in range(1000):
        session.receive(data(1, bytes(16384)), 0.0)
        returned += sum(int.from_bytes(payload, "big") for _, payload in sent(session, Kind.WINDOW_UPDATE))
    assert session.closed is None
    assert given_back(session)
    assert 1000 * 16384 - CONNECTION_WINDOW // 2 <= returned <= 1000 * 16384


@libraries
def test_bodies_that_nobody_reads_end_at_the_window_of_the_connection(library):
    session = server(library, offer=Offer(connection_window=1048576))
    for stream in range(1, 33, 2):
        session.receive(headers(stream, POST) + data(stream, bytes(16384)) * 3 + data(stream, bytes(16383)), 0.0)
    assert session.closed is None
    session.receive(headers(33, POST) + data(33, bytes(17)), 0.0)
    assert (session.closed.code, session.closed.details) == (
        Code.FLOW_CONTROL_ERROR,
        "more than the connection's window",
    )


@libraries
def test_a_message_that_nobody_reads_costs_the_others_no_window(library):
    """It came whole, so its stream is over; whoever gives it up then still gives back what it took."""
    session = client(library)
    for _ in range(100):
        stream = session.send_request(post(0), 0.0, end=True)
        body = b"".join(data(stream, bytes(16384)) for _ in range(3))
        session.receive(headers(stream, [(b":status", b"200")]) + body + data(stream, b"", end=True), 0.0)
        session.reset(stream)
    assert session.closed is None


@libraries
def test_after_a_goodbye_nothing_is_reset_any_more(library):
    wire = Wire(library)
    stream = wire.client.send_request(post(), 0.0)
    wire.client.data_to_send()
    wire.client.go_away(Code.NO_ERROR, "enough")
    wire.client.reset(stream)
    assert [kind for kind, *_ in frames(wire.client.data_to_send())] == [Kind.GOAWAY]


@libraries
def test_the_end_of_a_request_that_was_refused_is_not_told(library):
    session = server(library)
    session.receive(headers(1, [*POST, *[(b"x", b"y")] * 101]), 0.0)
    assert session.receive(data(1, b"abc", end=True), 0.0) == []
    session.send_head(1, ResponseHead(431), end=True)
    assert session.open_streams == 0
    assert sent(session, Kind.RST_STREAM) == []
