"""Flow control against hyper-h2, which keeps its own books: whatever both ends do, and wherever octets are under way.

Each end has one step at a time: it sends, reads, resets, or changes how much it takes; octets travel in parts, so that
everything crosses everything. hyper-h2 ends the connection when it is sent more than it granted, and so do we.
"""

import pytest
from h2.settings import SettingCodes
from hypothesis import settings, stateful
from hypothesis import strategies as st
from support.h2_peers import HyperPeer
from support.http2 import LIBRARIES

from meshd.core.errors import StreamBroken
from meshd.core.head import RequestHead, ResponseHead
from meshd.http.h2_client import ClientSession
from meshd.http.h2_events import Body, Closed, Ended, RequestArrived, Reset
from meshd.http.h2_server import ServerSession

PATTERN = bytes(number * 7 % 251 for number in range(251)) * 1200  # no two places less than 251 apart look alike
PICK = st.integers(0, 99)
SIZE = st.integers(0, 1000) | st.integers(0, 200_000)


def body_of(stream, start, size):
    """What is sent on that stream from that octet on: told apart from every other's, and from any other place in it."""
    return PATTERN[(start + stream) % 251 :][:size]


class Direction:
    """What went one way on one stream."""

    def __init__(self):
        self.sent = 0
        self.received = 0
        self.unread = 0
        self.over = False  # the sender has said its last

    def take(self, stream, octets):
        assert octets == body_of(stream, self.received, len(octets)), "out of order, or another's"
        self.received += len(octets)
        self.unread += len(octets)
        assert self.received <= self.sent


class Flow(stateful.RuleBasedStateMachine):
    """`ours` is a session of ours, `theirs` hyper-h2; `client` says which of the two ours is."""

    library = LIBRARIES[0]
    client = True

    def __init__(self):
        super().__init__()
        self.ours = (ClientSession if self.client else ServerSession)(library=self.library)
        self.theirs = HyperPeer(client=not self.client)
        self.theirs.reads = False
        self.under_way = {True: b"", False: b""}  # octets, by whether they are ours
        self.out, self.back = {}, {}  # what we send and what they send, by stream
        self.gone = set()

    # -- streams -----------------------------------------------------------------------------------------------------

    @stateful.rule()
    def begin(self):
        if self.client:
            if not self.ours.room:
                return
            head = RequestHead(b"POST", b"/", b"a.test")
            head.length = None
            stream = self.ours.send_request(head, 0.0)
        else:
            if len(self.back) - len(self.gone) > 90:
                return
            stream = self.theirs.request(b"POST", end=False)
        (self.out if self.client else self.back)[stream] = Direction()

    def pick(self, directions, number):
        """A stream on which that end may still send."""
        some = [stream for stream, way in directions.items() if not way.over and stream not in self.gone]
        return some[number % len(some)] if some else None

    @stateful.rule(number=PICK, size=SIZE, end=st.booleans())
    def we_send(self, number, size, end):
        stream = self.pick(self.out, number)
        if stream is None:
            return
        way = self.out[stream]
        room = self.ours.window(stream)
        taken = self.ours.send_data(stream, body_of(stream, way.sent, size), end=end)
        assert taken == min(size, room)
        way.sent += taken
        way.over = end and taken == size

    @stateful.rule(number=PICK, size=SIZE, end=st.booleans())
    def they_send(self, number, size, end):
        stream = self.pick(self.back, number)
        if stream is None or stream in self.theirs.resets:
            return
        way = self.back[stream]
        room = max(0, self.theirs.connection.local_flow_control_window(stream))
        size = min(size, room)
        self.theirs.send(stream, body_of(stream, way.sent, size), end=end)
        self.theirs.waiting.clear()
        way.sent += size
        way.over = end

    @stateful.rule(number=PICK, part=st.integers(1, 100_000))
    def we_read(self, number, part):
        if self.back:
            stream = sorted(self.back)[number % len(self.back)]
            part = min(part, self.back[stream].unread)
            self.ours.acknowledge(stream, part)
            self.back[stream].unread -= part

    @stateful.rule(number=PICK, part=st.integers(1, 100_000))
    def they_read(self, number, part):
        some = sorted(stream for stream, octets in self.theirs.unread.items() if octets)
        if some:
            stream = some[number % len(some)]
            self.theirs.read(stream, min(part, self.theirs.unread[stream]))

    @stateful.rule(number=PICK, ours=st.booleans())
    def give_up(self, number, ours):
        stream = self.pick(self.out if ours else self.back, number)
        if stream is None or stream in self.theirs.resets:
            return
        self.gone.add(stream)
        if ours:
            self.ours.reset(stream)
        else:
            self.theirs.reset(stream, 8)

    @stateful.rule(window=st.integers(0, 200_000))
    def they_take_more_or_less(self, window):
        """From now on each of their streams has another window, those that are open included."""
        self.theirs.change(SettingCodes.INITIAL_WINDOW_SIZE, window)

    # -- the wire ----------------------------------------------------------------------------------------------------

    @stateful.rule(ours=st.booleans(), share=st.floats(0.0, 1.0))
    def travel(self, ours, share):
        """Some of what is under way arrives."""
        self.under_way[ours] += self.ours.data_to_send() if ours else self.theirs.say()
        octets = self.under_way[ours]
        size = max(1, int(len(octets) * share))
        self.under_way[ours] = octets[size:]
        if ours and octets:
            self.they_hear(octets[:size])
        elif octets:
            self.we_hear(self.ours.receive(octets[:size], 0.0))

    def they_hear(self, octets):
        before = {stream: len(body) for stream, body in self.theirs.bodies.items()}
        self.theirs.hear(octets)
        self.gone |= self.theirs.resets.keys()
        for stream, body in self.theirs.bodies.items():
            self.out[stream].take(stream, bytes(body[before.get(stream, 0) :]))
        for stream in self.theirs.heads:
            if self.client and stream not in self.back and stream not in self.gone:
                self.theirs.answer(stream)
                self.back[stream] = Direction()
        for stream in self.theirs.ended:
            assert stream in self.gone or (self.out[stream].over and self.out[stream].received == self.out[stream].sent)

    def we_hear(self, events):
        for event in events:
            assert not isinstance(event, Closed), event
            if isinstance(event, RequestArrived):
                self.answer(event.stream)
            elif isinstance(event, Body):
                self.back[event.stream].take(event.stream, event.data)
            elif isinstance(event, Ended):
                way = self.back[event.stream]
                assert way.over
                assert way.received == way.sent
            elif isinstance(event, Reset):
                assert event.stream in self.gone

    def answer(self, stream):
        try:
            self.ours.send_head(stream, ResponseHead(200))
        except StreamBroken:
            return  # they have given it up in the same octets
        self.out[stream] = Direction()

    @stateful.invariant()
    def nothing_is_negative(self):
        assert self.ours.closed is None
        assert all(self.ours.window(stream) >= 0 for stream in self.out)

    def teardown(self):
        """All arrives; and once all is read or given up, all of our window is theirs again."""
        self.settle()
        for stream, way in self.out.items():
            assert stream in self.gone or way.received == way.sent
        for stream, way in self.back.items():
            assert stream in self.gone or way.received == way.sent
            if stream not in self.gone:  # what was given up is given back without a word of whoever read it
                self.ours.acknowledge(stream, way.unread)
        for stream in (self.out.keys() | self.back.keys()) - self.gone:
            self.gone.add(stream)
            self.ours.reset(stream)
        self.settle()
        assert self.ours.open_streams == 0
        kept = self.ours._inbound._consumed  # not worth a frame yet
        assert self.theirs.connection.outbound_flow_control_window + kept == self.ours.offer.connection_window
        assert kept <= self.ours.offer.connection_window // 2

    def settle(self):
        """Octets travel until both ends are silent."""
        silent = 0
        while silent < 2:
            before = len(self.under_way[True]) + len(self.under_way[False])
            for ours in (True, False):
                self.travel(ours, 1.0)
            silent = 0 if before else silent + 1


class FlowOfServer(Flow):
    """We are the server."""

    client = False


class FlowOfOther(Flow):
    """The same with the other library."""

    library = LIBRARIES[1]


class FlowOfOtherServer(FlowOfServer):
    """And as the server."""

    library = LIBRARIES[1]


steps = settings(max_examples=25, stateful_step_count=50, deadline=None)
TestFlow = pytest.mark.slow(Flow.TestCase)
TestFlow.settings = steps
TestFlowOfServer = pytest.mark.slow(FlowOfServer.TestCase)
TestFlowOfServer.settings = steps
TestFlowOfOther = pytest.mark.slow(FlowOfOther.TestCase)
TestFlowOfOther.settings = steps
TestFlowOfOtherServer = pytest.mark.slow(FlowOfOtherServer.TestCase)
TestFlowOfOtherServer.settings = steps
