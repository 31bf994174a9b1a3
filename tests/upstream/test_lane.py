"""One stream as its task sees it: what came in order, no more than is taken, and why it ended."""

import pytest
import trio
import trio.testing
from support.background import settled
from support.h2_peers import PEERS
from support.http2 import LIBRARIES, data, frames, headers
from support.lanes import OK, begin, linked, said

from meshd.core.errors import StreamBroken
from meshd.http.events import End
from meshd.http.h2_events import Code, code_name
from meshd.http.h2_frames import Kind, frame
from meshd.upstream.lane import Lane

WINDOW = 65535
libraries = pytest.mark.parametrize("library", LIBRARIES, ids=repr)
peers = pytest.mark.parametrize("kind", PEERS)


async def rest_of(lane):
    """All of the body that comes, and its end."""
    body = b""
    while not isinstance(item := await lane.next(), End):
        body += item
    return body, item


# -- what came ---------------------------------------------------------------------------------------------------------


@libraries
async def test_what_came_is_taken_in_order(library):
    async with linked(library) as (link, stream, _):
        lane = begin(link, end=True)
        assert lane.take() is None
        assert repr(lane) == "<Lane 1 0 to read>"
        stream.say(headers(1, [(b":status", b"103")]) + headers(1, OK) + data(1, b"ab") + data(1, b"c"))
        stream.say(headers(1, [(b"x-sum", b"7")], end=True))
        heads = [await lane.next(), await lane.next()]
        assert [head.status for head in heads] == [103, 200]
        assert (lane.take(), await lane.next()) == (b"ab", b"c")
        assert (await lane.next()).trailers == [(b"x-sum", b"7")]
        assert lane.take() is None


@libraries
async def test_body_is_taken_up_to_a_head_or_the_end(library):
    async with linked(library) as (link, stream, _):
        lane = begin(link, end=True)
        assert lane.take_body() == (b"", None)
        stream.say(headers(1, OK) + data(1, b"ab") + data(1, b"cd"))
        await settled()
        assert lane.take_body() == (b"", None)  # a head is in front of it
        await lane.next()
        assert lane.take_body() == (b"abcd", None)
        stream.say(data(1, b"e", end=True))
        await settled()
        body, end = lane.take_body()
        assert (body, end.trailers) == (b"e", [])


@libraries
@pytest.mark.parametrize("how", ["next", "take", "take_body"])
async def test_only_what_is_taken_opens_the_window_again(library, how):
    async with linked(library) as (link, stream, _):
        lane = begin(link, end=True)
        stream.say(headers(1, OK) + data(1, bytes(16384)) * 3)
        await lane.next()
        await settled()
        assert said(stream, Kind.WINDOW_UPDATE) == []
        body = b""
        while len(body) < 3 * 16384:
            if how == "next":
                body += await lane.next()
            else:
                body += lane.take() if how == "take" else lane.take_body()[0]
        await settled()
        given = [int.from_bytes(payload, "big") for number, payload in said(stream, Kind.WINDOW_UPDATE) if number == 1]
        assert WINDOW // 2 < sum(given) <= 3 * 16384


@libraries
@peers
async def test_a_lane_that_nobody_reads_stops_its_own_peer_and_nobody_else(library, kind):
    peer = kind(client=False)
    async with linked(library, peer) as (link, stream, _):
        slow, quick = begin(link, end=True), begin(link, end=True)
        await settled()
        for lane in (slow, quick):
            peer.answer(lane.id)
            peer.send(lane.id, bytes((lane.id,)) * 1_000_000)
        stream.carry()
        await quick.next()
        body, _ = await rest_of(quick)
        assert body == b"\3" * 1_000_000
        assert len(peer.waiting[slow.id][0]) == 1_000_000 - WINDOW  # all that is ever here of it is one window
        await slow.next()
        assert (await rest_of(slow))[0] == b"\1" * 1_000_000


@libraries
async def test_however_many_lanes_nobody_reads_one_more_goes_on(library):
    """Sixteen clients that read slowly stopped everybody else's responses on the connection that they shared."""
    peer = PEERS[0](client=False)
    async with linked(library, peer) as (link, stream, _):
        lanes = [begin(link, end=True) for _ in range(link.session.room)]
        await settled()
        for lane in lanes:
            peer.answer(lane.id)
            peer.send(lane.id, bytes(200_000))
        stream.carry()
        await settled()
        *slow, quick = lanes
        assert all(len(peer.waiting[lane.id][0]) == 200_000 - WINDOW for lane in slow)
        await quick.next()
        assert len((await rest_of(quick))[0]) == 200_000


# -- why it ended ------------------------------------------------------------------------------------------------------


async def reason_of(lane):
    """What whoever waits on a lane is told, reading and writing alike."""
    with pytest.raises(StreamBroken) as reading:
        await lane.next()
    with pytest.raises(StreamBroken) as writing:
        await lane.send(b"x")
    with pytest.raises(StreamBroken) as ending:
        lane.finish([])
    assert str(reading.value) == str(writing.value) == str(ending.value)
    return str(reading.value)


@libraries
@pytest.mark.parametrize("code", [*Code, 99], ids=code_name)
async def test_a_reset_by_the_peer_says_which(library, code):
    async with linked(library) as (link, stream, _):
        lane, other = begin(link), begin(link)
        stream.say(frame(Kind.RST_STREAM, 0, lane.id, int(code).to_bytes(4, "big")))
        refused = code == Code.REFUSED_STREAM
        wanted = "the peer did not process it" if refused else f"the peer reset the stream: {code_name(code)}"
        assert await reason_of(lane) == wanted
        assert (lane.broken.code, lane.broken.by_peer, lane.broken.unprocessed) == (code, True, refused)
        assert other.broken is None


@libraries
async def test_a_goaway_ends_what_is_above_its_last_stream_alone(library):
    async with linked(library) as (link, stream, _):
        below, above = begin(link, end=True), begin(link, end=True)
        stream.say(frame(Kind.GOAWAY, 0, 0, below.id.to_bytes(4, "big") + bytes(4)))
        with pytest.raises(StreamBroken, match="did not process"):
            await above.next()
        assert above.broken.unprocessed
        stream.say(headers(below.id, OK, end=True))
        assert (await below.next()).status == 200


LOSSES = {
    "reset": (lambda link, stream: stream.break_off("connection reset by peer"), "connection reset by peer"),
    "closed": (lambda link, stream: stream.end(), "the peer closed the connection"),
    "aborted": (lambda link, stream: stream.abort("gone for good"), "gone for good"),
    "ended by us": (lambda link, stream: link.close("drained"), "drained"),
    "nonsense": (lambda link, stream: stream.say(data(0, b"x")), "a frame of type 0 on stream 0"),
}


@libraries
@pytest.mark.parametrize("name", LOSSES)
async def test_a_lost_connection_tells_every_lane_why(library, name):
    lose, reason = LOSSES[name]
    async with linked(library) as (link, stream, nursery):
        lanes = [begin(link) for _ in range(3)]
        told = []

        async def wait_on(lane):
            told.append(await reason_of(lane))

        for lane in lanes:
            nursery.start_soon(wait_on, lane)
        await settled()
        lose(link, stream)
        await settled()
        assert told == [reason] * 3
        assert not any(lane.broken.unprocessed for lane in lanes)
        assert link.reason == reason


@libraries
async def test_what_came_before_the_end_stays_to_be_read(library):
    async with linked(library) as (link, stream, _):
        lane = begin(link)
        stream.say(headers(1, OK) + data(1, b"half") + frame(Kind.RST_STREAM, 0, 1, b"\0\0\0\2"))
        await settled()
        assert repr(lane) == "<Lane 1 broken>"
        assert (await lane.next()).status == 200
        assert await lane.next() == b"half"
        with pytest.raises(StreamBroken, match="INTERNAL_ERROR"):
            await lane.next()


@libraries
async def test_our_reset_wakes_whoever_waits_and_tells_the_peer(library):
    async with linked(library) as (link, stream, nursery):
        lane = begin(link)
        told = []

        async def wait_on():
            told.append(await reason_of(lane))

        nursery.start_soon(wait_on)
        await settled()
        stream.take_written()
        lane.reset(Code.CANCEL, "cut")
        lane.reset(Code.INTERNAL_ERROR, "again")  # the first is the reason
        await settled()
        assert told == ["cut"]
        assert said(stream, Kind.RST_STREAM) == [(1, b"\0\0\0\x08")]


@libraries
async def test_whoever_starves_is_told_the_reason_too(library):
    """It was told that the stream is over, and no more."""
    async with linked(library) as (link, stream, nursery):
        lane = begin(link)
        told = []

        async def send():
            with pytest.raises(StreamBroken) as caught:
                await lane.send(bytes(WINDOW + 1))
            told.append(str(caught.value))

        nursery.start_soon(send)
        await settled()
        stream.say(frame(Kind.RST_STREAM, 0, 1, b"\0\0\0\x08"))
        await settled()
        assert told == ["the peer reset the stream: CANCEL"]


@libraries
async def test_leaving_gives_up_what_is_open_and_gives_back_what_is_unread(library):
    async with linked(library) as (link, stream, _):
        for _ in range(40):  # two and a half connection windows
            lane = begin(link, end=True)
            stream.say(headers(lane.id, OK) + data(lane.id, bytes(16384)) * 3)
            await settled()
            lane.leave()
        await settled()
        assert link.session.closed is None
        assert len(said(stream, Kind.RST_STREAM)) == 40
        assert not link.lanes
        lane = begin(link, end=True)
        stream.say(headers(lane.id, OK, end=True))
        await settled()
        lane.leave()
        await settled()
        assert said(stream, Kind.RST_STREAM) == []  # it was whole


# -- sending -----------------------------------------------------------------------------------------------------------


@libraries
@peers
async def test_a_body_goes_out_as_fast_as_the_peer_takes_it(library, kind):
    peer = kind(client=False)
    peer.reads = False
    async with linked(library, peer) as (link, stream, nursery):
        lane, other = begin(link), begin(link)
        done = []

        async def send():
            await lane.send(b"a" * 200_000)
            lane.finish([(b"x-sum", b"1")])
            done.append(True)

        nursery.start_soon(send)
        await settled()
        assert len(peer.bodies[lane.id]) == WINDOW
        assert link.starving == {lane}
        await other.send(b"b" * 100, end=True)
        await settled()
        assert (bytes(peer.bodies[other.id]), other.id in peer.ended) == (b"b" * 100, True)
        while not done:
            assert peer.unread[lane.id] <= WINDOW
            peer.read(lane.id, min(30_000, peer.unread[lane.id]))
            stream.carry()
            await settled()
        assert peer.bodies[lane.id] == b"a" * 200_000
        assert dict(peer.trailers[lane.id]) == {b"x-sum": b"1"}
        assert link.starving == set()


@libraries
async def test_a_window_of_the_connection_wakes_all_that_starve(library):
    """Seventeen bodies are more than one connection takes at once: they share it and all arrive."""
    peer = PEERS[0](client=False)
    async with linked(library, peer) as (link, _, nursery):
        lanes = [begin(link) for _ in range(17)]
        for lane in lanes:
            nursery.start_soon(lambda lane=lane: lane.send(bytes((lane.id,)) * 100_000, end=True))
        await settled()
        assert {lane.id for lane in lanes} == peer.ended
        assert all(peer.bodies[lane.id] == bytes((lane.id,)) * 100_000 for lane in lanes)


@libraries
async def test_nothing_to_send_but_the_end(library):
    async with linked(library) as (link, stream, _):
        lane = begin(link)
        await lane.send(b"", end=True)
        await settled()
        assert frames(stream.take_written())[-1] == (Kind.DATA, 1, 1, b"")


# -- who left early ----------------------------------------------------------------------------------------------------


class FullSession:
    """A connection's session that takes no octet until its stream is given up."""

    client = False

    def __init__(self):
        self.resets = []

    def send_data(self, stream, data, *, end):
        if self.resets:
            raise StreamBroken("the stream is over")
        return 0

    def reset(self, stream, code):
        self.resets.append(stream)


class FullLink:
    """The connection, as a lane sees it."""

    is_full = False

    def __init__(self):
        self.session = FullSession()
        self.starving = set()

    def sent(self, octets):
        pass

    def forget(self, lane):
        pass

    def open_gate(self):
        pass


@pytest.mark.parametrize("wait", [lambda lane: lane.next(), lambda lane: lane.send(b"x")])
async def test_an_upload_that_was_answered_early_waits_no_more(autojump_clock, wait):
    """Such a task was never woken, and so never forgotten: some 5 KB for each request that was answered before its
    body had ended."""
    lane, woken = Lane(FullLink(), 1), []

    async def upload():
        with pytest.raises(StreamBroken):
            await wait(lane)
        woken.append(lane.id)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload)
            await trio.testing.wait_all_tasks_blocked()
            assert woken == []
            lane.leave()
    assert woken == [1]
    assert (lane.link.session.resets, lane.link.starving) == ([1], set())
