"""An HTTP/2 connection being driven, over a socket that takes nothing until it is told to."""

import contextlib

import pytest
import trio
import trio.testing

from meshd.core.errors import StreamBroken
from meshd.core.head import RequestHead
from meshd.http.h2_client import ClientSession
from meshd.http.h2_events import Code
from meshd.upstream import link as link_module
from meshd.upstream.lane import Lane
from meshd.upstream.link import Link


class StuckStream:
    """Whose `send` waits until it is freed, or fails."""

    def __init__(self):
        self.freed = trio.Event()
        self.failure = None
        self.sent = []
        self.aborted = ""

    async def send(self, data):
        self.sent.append(bytes(data))
        await self.freed.wait()
        if self.failure is not None:
            raise self.failure

    async def receive(self):
        await trio.sleep_forever()

    def abort(self, reason):
        self.aborted = reason

    def fail(self):
        self.failure = StreamBroken("connection reset")
        self.freed.set()


@contextlib.asynccontextmanager
async def driven(stream):
    """A link with its writer under way, and a nursery that ends with the block."""
    async with trio.open_nursery() as nursery:
        link = Link(ClientSession(), stream)
        nursery.start_soon(link.write)
        await trio.testing.wait_all_tasks_blocked()
        yield link, nursery
        nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def stuck():
    """The same with a writer that is stuck, and a lane that has given it all it may."""
    stream = StuckStream()
    async with driven(stream) as (link, nursery):
        lane = new_lane(link)
        await lane.send(b"x" * 20)
        yield link, lane, stream, nursery


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(link_module, "FULL", 10)


def new_lane(link):
    stream = link.session.send_request(RequestHead(b"POST", b"/", b"a.test"), 0.0)
    lane = link.lanes[stream] = Lane(link, stream)
    return lane


async def test_nobody_waits_for_a_writer_that_has_ended():
    async with stuck() as (link, lane, stream, _):
        stream.fail()
        await trio.testing.wait_all_tasks_blocked()
        assert link.reason == stream.aborted == "connection reset"
        with pytest.raises(StreamBroken):
            await lane.send(b"y")
        with pytest.raises(StreamBroken):
            await lane.next()


async def test_who_waits_for_the_socket_hears_that_it_is_lost():
    async with stuck() as (_, lane, stream, nursery):
        outcomes = []
        nursery.start_soon(record, outcomes, lane.send, b"y")
        await trio.testing.wait_all_tasks_blocked()
        assert not outcomes
        stream.fail()
        await trio.testing.wait_all_tasks_blocked()
        assert outcomes == ["broken"]


async def test_who_waits_for_the_socket_hears_of_a_reset():
    async with stuck() as (_, lane, _, nursery):
        outcomes = []
        nursery.start_soon(record, outcomes, lane.send, b"y")
        await trio.testing.wait_all_tasks_blocked()
        lane.reset(Code.CANCEL, "cut")
        await trio.testing.wait_all_tasks_blocked()
        assert outcomes == ["broken"]


async def test_those_who_waited_do_not_all_add_to_it_at_once():
    async with stuck() as (link, _, stream, nursery):
        outcomes = []
        for _ in range(5):
            nursery.start_soon(record, outcomes, new_lane(link).send, b"y" * 20)
        await trio.testing.wait_all_tasks_blocked()
        before = len(stream.sent)
        stream.freed.set()
        await trio.testing.wait_all_tasks_blocked()
        assert outcomes == ["sent"] * 5
        assert max(octets.count(b"y") for octets in stream.sent[before:]) <= 20


async def test_what_many_lanes_say_in_one_turn_leaves_in_one_write():
    stream = StuckStream()
    stream.freed.set()
    async with driven(stream) as (link, _):
        before = len(stream.sent)
        for number in range(10):
            await new_lane(link).send(b"z" * (number == 0), end=True)
        await trio.testing.wait_all_tasks_blocked()
        (written,) = stream.sent[before:]
        assert written.count(b"\x00\x01\x00\x00") >= 9  # DATA frames that end their streams


async def record(outcomes, fn, *args):
    try:
        await fn(*args)
        outcomes.append("sent")
    except StreamBroken:
        outcomes.append("broken")
