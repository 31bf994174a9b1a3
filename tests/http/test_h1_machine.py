"""A pipelined connection, in any order of events: requests in order, replies in order, an end when it must."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.http1 import chunked
from support.wire import parse_responses

from meshd.core.head import RequestHead, ResponseHead
from meshd.http.events import End
from meshd.http.h1 import ServerCodec


class Pipeline(RuleBasedStateMachine):
    """The client writes requests whenever it likes; the server reads and answers one at a time."""

    def __init__(self):
        super().__init__()
        self.codec = ServerCodec()
        self.asked = []  # method, number, body, goes on
        self.wire = b""  # written by the client, not yet received
        self.current = None  # the request being read or answered
        self.body = b""
        self.read_whole = False
        self.answering = None  # what remains to be sent of the body
        self.answered = 0
        self.sent = b""
        self.over = False

    @rule(
        method=st.sampled_from(["GET", "POST", "HEAD"]),
        body=st.binary(max_size=30),
        way=st.sampled_from(["length", "chunked"]),
        connection=st.sampled_from(["", "", "", "", "close", "keep-alive"]),
        old=st.sampled_from([False, False, False, True]),
    )
    def client_writes(self, method, body, way, connection, old):
        number = len(self.asked)
        fields = b"Connection: %b\r\n" % connection.encode() if connection else b""
        if way == "length" or old:
            fields += b"Content-Length: %d\r\n\r\n" % len(body) + body
        else:
            fields += b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, [7])
        version = b"1.0" if old else b"1.1"
        self.wire += b"%b /%d HTTP/%b\r\nHost: a\r\n%b" % (method.encode(), number, version, fields)
        self.asked.append((method, body, connection != "close" and (not old or connection == "keep-alive")))

    @precondition(lambda self: self.wire and not self.over)
    @rule(octets=st.integers(1, 80))
    def octets_come(self, octets):
        self.codec.receive(self.wire[:octets])
        self.wire = self.wire[octets:]

    @precondition(lambda self: not self.over)
    @rule()
    def server_reads(self):
        event = self.codec.next_event()
        if isinstance(event, RequestHead):
            assert self.current is None
            self.current, self.body, self.read_whole = event, b"", False
            method, _, goes_on = self.asked[self.answered]
            assert (event.method, event.path) == (method.encode(), b"/%d" % self.answered), "requests in order"
            assert event.keep_alive is goes_on
        elif isinstance(event, End):
            self.read_whole = True
            assert self.body == self.asked[self.answered][1]
            assert self.codec.next_event() is None, "the next request waits for its turn"
        elif event is not None:
            assert self.current is not None
            self.body += event

    @precondition(lambda self: self.current is not None and self.answering is None and not self.over)
    @rule(pieces=st.lists(st.binary(min_size=1, max_size=20), max_size=3), declared=st.booleans())
    def server_begins_to_answer(self, pieces, declared):
        if self.codec.pending_body:
            self.codec.must_close = True  # as the connection does: the rest may never come
        if self.current.method == b"HEAD":
            pieces = []  # whoever answers knows that a head is all there is
        mark = b"<%d>" % self.answered
        head = ResponseHead(200, [(b"x-number", b"%d" % self.answered)])
        head.length = len(mark) + sum(map(len, pieces)) if declared else None
        self.sent += self.codec.send_head(head, mark, end=False)
        self.answering = pieces

    @precondition(lambda self: self.answering and not self.over)
    @rule()
    def server_sends_more(self):
        self.sent += self.codec.send_data(self.answering.pop(0))

    @precondition(lambda self: self.answering == [] and not self.over)
    @rule()
    def server_ends_its_answer(self):
        if not self.read_whole and not self.codec.must_close:
            return  # the rest of the request is still to be read
        self.sent += self.codec.send_end([])
        self.answered += 1
        self.answering = self.current = None
        if self.codec.must_close:
            self.over = True
        else:
            self.codec.next_cycle()

    @invariant()
    def replies_are_in_order_and_whole(self):
        methods = [method for method, _, _ in self.asked]
        got = parse_responses(self.sent, methods, self.over)
        assert len(got) >= self.answered
        for number, (status, fields, body) in enumerate(got[: self.answered]):
            assert (status, fields["x-number"]) == (200, str(number))
            assert body.startswith(b"" if methods[number] == "HEAD" else b"<%d>" % number)
            last = fields.get("connection") == "close"
            assert last is (self.over and number == self.answered - 1), "the last one says so, and no other does"

    @invariant()
    def a_connection_ends_when_it_must(self):
        if any(not goes_on for _, _, goes_on in self.asked[: self.answered]):
            assert self.over


TestPipeline = pytest.mark.slow(Pipeline.TestCase)
TestPipeline.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
