"""An HTTP/2 connection being driven: what leaves together, what waits for the socket, and how it ends."""

import contextlib

import pytest
import trio
import trio.testing
from support.background import in_background, settled
from support.h2_peers import PEERS
from support.http2 import LIBRARIES, SETTINGS, data, frames, headers
from support.joined import Joined, driven
from support.lanes import OK, begin, linked

from meshd.core.errors import StreamBroken
from meshd.core.head import ResponseHead
from meshd.http.h2_client import ClientSession
from meshd.http.h2_events import Code, RequestArrived
from meshd.http.h2_floods import LIMITS
from meshd.http.h2_frames import ACK, PREFACE, Kind, frame
from meshd.http.h2_server import ServerSession
from meshd.net import wait
from meshd.net.reactor import Reactor
from meshd.upstream import link as link_module
from meshd.upstream.lane import Lane
from meshd.upstream.link import LAST_WORD, PING, Link

INTERVAL, LIMIT = 30.0, 10.0  # of a ping
libraries = pytest.mark.parametrize("library", LIBRARIES, ids=repr)


@contextlib.asynccontextmanager
async def full(monkeypatch):
    """The same with a socket that takes nothing, and a lane that has given it all it may."""
    monkeypatch.setattr(link_module, "FULL", 10)
    async with linked() as (link, stream, nursery):
        stream.stop()
        lane = begin(link)
        await settled()  # the writer is at it
        await lane.send(b"x" * 20)
        yield link, lane, stream, nursery


async def record(outcomes, fn, *args):
    try:
        await fn(*args)
        outcomes.append("sent")
    except StreamBroken:
        outcomes.append("broken")


def kinds(octets):
    return [kind for kind, *_ in frames(octets.removeprefix(PREFACE))]


# -- one writer --------------------------------------------------------------------------------------------------------


@libraries
async def test_what_many_lanes_say_in_one_turn_leaves_in_one_write(library):
    async with linked(library) as (link, stream, _):
        for number in range(10):
            await begin(link).send(b"z" * (number == 0), end=True)
        await settled()
        (written,) = stream.writes
        assert kinds(written).count(Kind.HEADERS) == kinds(written).count(Kind.DATA) == 10


@libraries
async def test_what_many_tasks_say_to_one_read_leaves_in_one_write(library):
    """Heads, bodies, resets and answers of all who were woken by it; the reactor keeps their order."""

    async def body():
        stream = Joined(early=SETTINGS)
        link = Link(ClientSession(library=library), stream)
        wait.spawn(link.write)
        wait.spawn(link.read)
        await settled()
        lanes = [begin(link) for _ in range(8)]

        async def react(lane):
            await lane.next()
            await lane.send(b"more")
            if lane.id % 4 == 1:
                lane.reset(Code.CANCEL, "enough")
            else:
                lane.finish([])

        for lane in lanes:
            wait.spawn(react, lane)
        await settled()
        stream.take_written()
        stream.say(b"".join(headers(lane.id, OK) for lane in lanes) + frame(Kind.PING, 0, 0, bytes(8)))
        await settled()
        (written,) = stream.writes
        assert sorted(set(kinds(written))) == [Kind.DATA, Kind.RST_STREAM, Kind.PING]

    await in_background(body, Reactor())


@libraries
async def test_a_server_answers_all_requests_of_one_read_in_one_write(library):
    stream = Joined(early=PREFACE + SETTINGS)
    lanes = []

    def on_request(event):
        assert isinstance(event, RequestArrived)
        lane = link.lanes[event.stream] = Lane(link, event.stream)
        lanes.append(lane)

    link = Link(ServerSession(library=library), stream, on_request)
    async with driven(link):
        stream.take_written()
        fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
        stream.say(b"".join(headers(number, fields, end=True) for number in (1, 3, 5)))
        await settled()
        for lane in lanes:
            link.session.send_head(lane.id, ResponseHead(204), end=True)
            link.flush()
        await settled()
        assert [kinds(written) for written in stream.writes] == [[Kind.HEADERS] * 3]


# -- a socket that takes nothing ---------------------------------------------------------------------------------------


async def test_nobody_waits_for_a_writer_that_has_ended(monkeypatch):
    async with full(monkeypatch) as (link, lane, stream, _):
        stream.break_off("connection reset")
        await settled()
        assert link.reason == stream.aborted == "connection reset"
        with pytest.raises(StreamBroken):
            await lane.send(b"y")
        with pytest.raises(StreamBroken):
            await lane.next()


@pytest.mark.parametrize(
    "end",
    [
        lambda link, lane, stream: stream.break_off(),
        lambda link, lane, stream: lane.reset(Code.CANCEL, "cut"),
        lambda link, lane, stream: stream.say(frame(Kind.RST_STREAM, 0, lane.id, b"\0\0\0\x08")),
        lambda link, lane, stream: link.close("idle"),
        lambda link, lane, stream: stream.end(),
    ],
    ids=["lost", "reset", "reset by peer", "closed", "closed by peer"],
)
async def test_who_waits_for_the_socket_hears_that_it_is_in_vain(monkeypatch, end):
    async with full(monkeypatch) as (link, lane, stream, nursery):
        outcomes = []
        nursery.start_soon(record, outcomes, lane.send, b"y")
        await settled()
        assert not outcomes
        end(link, lane, stream)
        await settled()
        assert outcomes == ["broken"]


async def test_those_who_waited_do_not_all_add_to_it_at_once(monkeypatch):
    async with full(monkeypatch) as (link, _, stream, nursery):
        outcomes = []
        for _ in range(5):
            nursery.start_soon(record, outcomes, begin(link).send, b"y" * 20)
        await settled()
        before = len(stream.writes)
        stream.go_on()
        await settled()
        assert outcomes == ["sent"] * 5
        assert max(octets.count(b"y") for octets in stream.writes[before:]) <= 20


@pytest.mark.parametrize("kind", PEERS)
async def test_what_waits_for_a_socket_stays_below_a_bound(kind):
    """Ten uploads of 60 kB to a socket that takes nothing: less than half of them is in memory, then all arrive."""
    peer = kind(client=False)
    async with linked(peer=peer) as (link, stream, nursery):
        outcomes = []
        stream.stop()
        lanes = [begin(link) for _ in range(10)]
        await settled()
        for lane in lanes:
            nursery.start_soon(record, outcomes, lane.send, bytes((lane.id,)) * 60_000)
        await settled()
        assert link_module.FULL <= len(outcomes) * 60_000 < link_module.FULL + 60_000
        stream.go_on()
        await settled()
        assert outcomes == ["sent"] * 10
        assert all(peer.bodies[lane.id] == bytes((lane.id,)) * 60_000 for lane in lanes)


# -- an answer before the request is out -----------------------------------------------------------------------------


class Deaf(Joined):
    """Takes nothing more, as a socket whose other end has closed; what it said before can still be read."""

    async def send(self, data):
        if self.is_deaf:
            raise StreamBroken("broken pipe")
        await super().send(data)

    is_deaf = False


@pytest.mark.parametrize("noticed", [False, True], ids=["the write fails", "seen before the write"])
async def test_an_answer_is_read_though_nothing_can_be_written_any_more(noticed):
    stream = Deaf()
    stream.say(SETTINGS)
    link = Link(ClientSession(), stream)
    async with driven(link):
        lane = begin(link)
        await settled()
        stream.is_deaf = True
        if noticed:
            stream.is_gone = lambda: True
        with contextlib.suppress(StreamBroken):
            await lane.send(b"x" * 100)
        await trio.testing.wait_all_tasks_blocked()
        stream.say(headers(1, OK) + data(1, b"early", end=True))
        stream.end()
        head = await lane.next()
        assert (head.status, await lane.next()) == (200, b"early")
        await settled()
        assert stream.aborted


async def test_a_peer_that_says_nothing_more_is_not_heard_out_for_ever():
    stream = Deaf()
    stream.say(SETTINGS)
    link = Link(ClientSession(), stream)
    async with driven(link):
        lane = begin(link)
        await settled()
        stream.is_deaf = True
        with contextlib.suppress(StreamBroken):
            await lane.send(b"x" * 100)
        await settled()
        assert not stream.aborted
        link.sweep(trio.current_time() + 1.1)
        await settled()
        assert stream.aborted
        with pytest.raises(StreamBroken):
            await lane.next()


# -- does the peer live ------------------------------------------------------------------------------------------------


def look(link, seconds):
    """The link is looked at when it has heard nothing for so long."""
    link.keep_alive(link.heard_at + seconds, INTERVAL, LIMIT)


async def test_a_silent_peer_is_asked_and_given_up_when_it_does_not_answer():
    async with linked() as (link, stream, _):
        lane = begin(link, end=True)
        look(link, INTERVAL)
        await settled()
        assert Kind.PING not in kinds(stream.take_written())
        look(link, INTERVAL + 1)
        look(link, INTERVAL + 2)  # asked already
        await settled()
        assert frames(stream.take_written()) == [(Kind.PING, 0, 0, PING)]
        look(link, INTERVAL + 1 + LIMIT)
        assert not stream.aborted
        look(link, INTERVAL + 2 + LIMIT)
        assert stream.aborted == link.reason == "the peer did not answer a ping"
        with pytest.raises(StreamBroken, match="did not answer a ping"):
            await lane.next()
        look(link, 1000.0)  # once is enough


@pytest.mark.parametrize("sign", [frame(Kind.PING, ACK, 0, PING), frame(Kind.WINDOW_UPDATE, 0, 0, b"\0\0\0\1")])
async def test_whatever_a_peer_says_it_lives(sign):
    async with linked() as (link, stream, _):
        begin(link, end=True)
        for _ in range(3):
            asked = link.heard_at + INTERVAL + 1
            link.keep_alive(asked, INTERVAL, LIMIT)
            await settled()
            assert kinds(stream.take_written()).count(Kind.PING) == 1
            stream.say(sign)
            await settled()
            link.heard_at = asked + LIMIT - 1  # when it said so
            link.keep_alive(asked + LIMIT + 1, INTERVAL, LIMIT)
            assert not stream.aborted
        assert link.session.closed is None


async def test_an_idle_connection_is_not_asked():
    async with linked() as (link, stream, _):
        lane = begin(link, end=True)
        stream.say(headers(lane.id, OK, end=True))
        await lane.next()
        lane.leave()
        look(link, 2 * INTERVAL)
        await settled()
        assert Kind.PING not in kinds(stream.take_written())


async def test_a_client_is_never_asked():
    """Clients that upload nothing are silent by right; what they are idle for is judged elsewhere."""
    stream = Joined(early=PREFACE + SETTINGS)
    link = Link(ServerSession(), stream, lambda event: link.lanes.update({event.stream: Lane(link, event.stream)}))
    async with driven(link):
        fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
        stream.say(headers(1, fields, end=True))
        await settled()
        assert list(link.lanes) == [1]
        look(link, 2 * INTERVAL)
        await settled()
        assert Kind.PING not in kinds(stream.take_written())


# -- the end -----------------------------------------------------------------------------------------------------------


@libraries
async def test_a_stream_that_starves_too_long_is_given_up_alone(library):
    async with linked(library) as (link, _, nursery):
        outcomes = []
        starving, patient = begin(link), begin(link)
        nursery.start_soon(record, outcomes, starving.send, b"x" * 70_000)
        await settled()
        link.sweep(1000.0)
        link.sweep(1000.0 + LIMITS.stall - 1)
        assert starving.broken is None
        link.sweep(1000.0 + LIMITS.stall)
        await settled()
        assert outcomes == ["broken"]
        assert starving.broken.details == "the peer opened no window for too long"
        assert patient.broken is None
        assert not link.starving


@libraries
async def test_closing_says_goodbye_and_closes(library):
    async with linked(library) as (link, stream, _):
        link.close("idle")
        await settled()
        [(kind, _, _, payload)] = frames(stream.take_written())
        assert (kind, payload) == (Kind.GOAWAY, bytes(8) + b"idle")
        assert stream.aborted == "idle"
        link.close("again")
        assert link.reason == "idle"


async def test_a_goodbye_that_nobody_takes_is_not_waited_for_long(autojump_clock):
    async with linked() as (link, stream, _):
        stream.stop()
        link.close("drained")
        await settled()
        await trio.sleep(LAST_WORD / 2)
        link.sweep(trio.current_time())
        assert not stream.aborted
        await trio.sleep(LAST_WORD)
        link.sweep(trio.current_time())
        assert stream.aborted == "drained"


@libraries
async def test_a_peer_that_speaks_nonsense_is_told_why(library):
    async with linked(library) as (link, stream, _):
        stream.say(data(0, b"x"))
        await settled()
        [(kind, _, _, payload)] = frames(stream.take_written())
        assert (kind, payload[4:8]) == (Kind.GOAWAY, b"\0\0\0\1")
        assert stream.aborted == link.reason
        assert "over" in repr(link)


async def test_a_stream_without_a_lane_is_nobodys_concern():
    """Between the moment that its task has left and the peer's next word about it."""
    async with linked() as (link, stream, _):
        lane, other = begin(link), begin(link)
        link.forget(lane)
        assert link.session.send_data(lane.id, bytes(70_000)) < 70_000
        stream.say(headers(lane.id, OK) + data(lane.id, b"x") + frame(Kind.WINDOW_UPDATE, 0, lane.id, b"\0\0\0\1"))
        await settled()
        link.sweep(0.0)
        link.sweep(LIMITS.stall)
        stream.say(frame(Kind.RST_STREAM, 0, lane.id, b"\0\0\0\x08") + headers(other.id, OK, end=True))
        assert (await other.next()).status == 200


async def test_what_came_for_a_lane_that_was_left_is_nobodys():
    async with linked() as (link, stream, _):
        lane, other = begin(link), begin(link)
        await settled()
        lane.leave()
        end = headers(lane.id, [(b"x", b"y")], end=True)
        stream.say(
            headers(lane.id, OK) + data(lane.id, b"x") + end + frame(Kind.WINDOW_UPDATE, 0, lane.id, b"\0\0\0\1")
        )
        stream.say(headers(other.id, OK, end=True))
        assert (await other.next()).status == 200
        assert repr(link) == f"<Link {link.session!r} 1 lanes>"
