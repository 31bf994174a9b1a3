"""Requests over one HTTP/2 connection: how each ends, and who may send it again."""

import pytest
from support.background import in_background, settled
from support.h2_peers import PEERS
from support.http2 import LIBRARIES, SETTINGS, data, frames, headers, settings
from support.joined import Joined
from support.requests import request

from meshd.core import flags
from meshd.core.errors import Resend, UpstreamError
from meshd.http.events import End
from meshd.http.h2_client import ClientSession
from meshd.http.h2_events import Code, code_name
from meshd.http.h2_floods import LIMITS
from meshd.http.h2_frames import Kind, frame
from meshd.net import wait
from meshd.net.sweep import Sweeper
from meshd.upstream import http2
from meshd.upstream.http2 import PING_AFTER, PING_LIMIT, Http2Connection

OK = [(b":status", b"200")]


@pytest.fixture(params=LIBRARIES, ids=repr, autouse=True)
def _library(request, monkeypatch):
    """Connections speak through one library, then through the other."""

    class Session(ClientSession):
        def __init__(self, offer, heads, limits):
            super().__init__(offer, heads, limits, library=request.param)

    monkeypatch.setattr(http2, "ClientSession", Session)


def connected(body):
    """Run `body(connection, stream)` with a connection at work, whose peer has said its settings."""

    async def run():
        stream = Joined()
        stream.say(SETTINGS)
        connection = Http2Connection(stream, 0.0, Sweeper())
        await connection.start()
        await settled()
        stream.take_written()
        await body(connection, stream)

    return in_background(run)


def post(target="/"):
    head = request(target, "POST")
    head.length = None
    return head


async def begin(connection, *, end=True):
    carrier = connection.open()
    await carrier.send_request(request() if end else post(), b"", end=end)
    await settled()
    return carrier


async def failure_of(carrier):
    """What reading heads ends with."""
    try:
        while True:
            await carrier.read_head()
    except UpstreamError as error:
        return error


def reset(stream, code):
    return frame(Kind.RST_STREAM, 0, stream, int(code).to_bytes(4, "big"))


def goaway(last, code=0):
    return frame(Kind.GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big"))


# -- an exchange -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PEERS)
async def test_an_exchange_from_end_to_end(kind):
    async def run():
        peer = kind(client=False)
        stream = Joined(peer)
        connection = Http2Connection(stream, 0.0, Sweeper())
        wait.spawn(connection.start)
        carrier = connection.open()
        await carrier.send_request(post("/up"), b"one ", end=False)
        await carrier.send(b"two")
        await carrier.finish([(b"x-sum", b"7")])
        await settled()
        assert (peer.heads[1][0][b":method"], peer.heads[1][0][b":path"]) == (b"POST", b"/up")
        assert (peer.bodies[1], dict(peer.trailers[1])) == (b"one two", {b"x-sum": b"7"})
        peer.answer(1, 103, [(b"link", b"l")])
        peer.answer(1, 200)
        peer.send(1, b"answer", end=False)
        peer.finish(1, [(b"grpc-status", b"0")])
        stream.carry()
        assert [(await carrier.read_head()).status for _ in range(2)] == [103, 200]
        body, end = carrier.take_ready()
        assert (body, end.trailers) == (b"answer", [(b"grpc-status", b"0")])
        assert carrier.leftover() == b""
        assert carrier.done(whole=True)
        await settled()
        assert not peer.resets
        assert not connection.link.lanes

    await in_background(run)


async def test_a_body_is_read_as_it_comes():
    async def body(connection, stream):
        carrier = await begin(connection)
        stream.say(headers(1, OK))
        assert (await carrier.read_head()).status == 200
        assert carrier.take_ready() == (b"", None)
        stream.say(data(1, b"piece"))
        assert await carrier.read_body() == b"piece"
        stream.say(headers(1, [(b"x", b"y")], end=True))
        assert isinstance(await carrier.read_body(), End)
        assert repr(carrier) == "<Http2Exchange <Lane 1 0 to read>>"

    await connected(body)


async def test_a_body_that_comes_with_the_head_ends_the_request():
    async def body(connection, stream):
        await connection.open().send_request(post(), b"whole", end=True)
        await settled()
        written = frames(stream.take_written())
        assert [(kind, flag & 1) for kind, flag, _, _ in written] == [(Kind.HEADERS, 0), (Kind.DATA, 1)]

    await connected(body)


async def test_an_exchange_that_is_given_up_costs_its_stream_alone():
    async def body(connection, stream):
        carrier, other = await begin(connection), await begin(connection)
        assert carrier.done(whole=False)
        await settled()
        assert [found for found in frames(stream.take_written()) if found[0] == Kind.RST_STREAM] == [
            (Kind.RST_STREAM, 0, 1, b"\0\0\0\x08")
        ]
        stream.say(headers(3, OK, end=True))
        assert (await other.read_head()).status == 200
        assert connection.open().done(whole=False)  # one that never began

    await connected(body)


async def test_whoever_waits_is_woken_by_an_abort():
    async def body(connection, stream):
        carrier = await begin(connection)
        connection.open().abort("before it began")
        carrier.abort("upstream_response_timeout")
        failure = await failure_of(carrier)
        assert failure.details == "upstream_reset_before_response_started{upstream_response_timeout}"
        assert failure.flag == flags.REMOTE_RESET

    await connected(body)


# -- how it fails, and who may send it again ---------------------------------------------------------------------------

BEFORE, AFTER = "before", "after"
LOSS = "connection reset"
#           what the peer does with stream 1, uses before → flag, Resend, details
FAILURES = {
    "refused": (reset(1, Code.REFUSED_STREAM), 0, flags.REMOTE_RESET, Resend.UNSENT),
    "calm": (reset(1, Code.ENHANCE_YOUR_CALM), 0, flags.REMOTE_RESET, Resend.NEVER),
    **{
        code_name(code): (reset(1, code), uses, flags.REMOTE_RESET, Resend.IF_SAFE)
        for uses, code in enumerate([*Code, 99])
        if code not in (Code.REFUSED_STREAM, Code.ENHANCE_YOUR_CALM)
    },
    "GOAWAY below it": (goaway(0), 0, flags.REMOTE_RESET, Resend.MOVED),
    "GOAWAY below it, for a reason": (goaway(0, 11), 3, flags.REMOTE_RESET, Resend.UNSENT),
    "GOAWAY above it, then the end": (goaway(1) + b"!", 0, flags.CONNECTION_TERMINATION, Resend.IF_SAFE),
    "GOAWAY above it on a used connection": (goaway(1) + b"!", 3, flags.CONNECTION_TERMINATION, Resend.IF_SAFE),
    "lost, fresh": (b"", 0, flags.CONNECTION_TERMINATION, Resend.IF_SAFE),
    "lost, used": (b"", 3, flags.CONNECTION_TERMINATION, Resend.REUSED),
    "lost after a sign of life": (
        frame(Kind.WINDOW_UPDATE, 0, 0, b"\0\0\0\1") + b"!",
        3,
        flags.CONNECTION_TERMINATION,
        Resend.IF_SAFE,
    ),
    "lost after an interim response": (
        headers(1, [(b":status", b"103")]) + b"!",
        3,
        flags.CONNECTION_TERMINATION,
        Resend.IF_SAFE,
    ),
    "lost in the middle": (headers(1, OK) + b"!", 3, flags.CONNECTION_TERMINATION, Resend.IF_SAFE),
    "nonsense on the stream": (data(1, b"x"), 3, flags.UPSTREAM_PROTOCOL, Resend.IF_SAFE),
    "nonsense on the connection": (data(0, b"x"), 3, flags.UPSTREAM_PROTOCOL, Resend.IF_SAFE),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("orderly", [False, True], ids=["reset", "closed"])
async def test_who_may_send_it_again(name, orderly):
    octets, uses, flag, resend = FAILURES[name]

    async def body(connection, stream):
        connection.uses = uses
        carrier = await begin(connection)
        stream.say(octets.removesuffix(b"!"))
        await settled()
        if not octets or octets.endswith(b"!"):
            stream.end() if orderly else stream.break_off(LOSS)
        failure = await failure_of(carrier)
        assert (failure.status, failure.flag, failure.retry) == (502, flag, resend)
        when = AFTER if octets.startswith(headers(1, OK)[:3]) and octets[3] == Kind.HEADERS else BEFORE
        assert failure.details.startswith(f"upstream_reset_{when}_response_started{{")
        if flag == flags.CONNECTION_TERMINATION:
            assert failure.details.endswith("{the peer closed the connection}" if orderly else f"{{{LOSS}}}")
        dead = flag == flags.CONNECTION_TERMINATION or name == "nonsense on the connection" or "GOAWAY" in name
        assert connection.is_stale() is dead
        assert carrier.done(whole=False) is not dead

    await connected(body)


async def test_a_stream_that_starves_is_its_peers_fault():
    async def body(connection, stream):
        connection.uses = 1
        carrier = connection.open()
        failures = []

        async def send():
            try:
                await carrier.send_request(post(), bytes(70_000), end=False)
            except UpstreamError as error:
                failures.append(error)

        http2.wait.spawn(send)
        await settled()
        for now in (0.0, LIMITS.stall):
            connection.link.sweep(now)
        await settled()
        [failure] = failures
        assert (failure.flag, failure.retry) == (flags.UPSTREAM_PROTOCOL, Resend.IF_SAFE)
        assert "opened no window" in failure.details

    await connected(body)


@pytest.mark.parametrize(
    "write", [lambda carrier: carrier.send(b"x"), lambda carrier: carrier.finish([])], ids=["send", "finish"]
)
async def test_who_writes_learns_of_it_as_well(write):
    async def body(connection, stream):
        carrier = await begin(connection, end=False)
        stream.say(reset(1, Code.REFUSED_STREAM))
        await settled()
        with pytest.raises(UpstreamError) as caught:
            await write(carrier)
        assert caught.value.retry is Resend.UNSENT

    await connected(body)


FULL = {
    "no room": settings(streams=0),
    "going away": goaway(2**31 - 1),
    "lost": b"",
}


@pytest.mark.parametrize("name", FULL)
async def test_a_request_that_finds_no_room_was_never_sent(name):
    async def body(connection, stream):
        stream.say(FULL[name]) if FULL[name] else stream.break_off(LOSS)
        await settled()
        stream.take_written()
        assert not connection.has_room(0)
        with pytest.raises(UpstreamError) as caught:
            await connection.open().send_request(request(), b"", end=True)
        resend = Resend.MOVED if name == "going away" else Resend.UNSENT
        assert (caught.value.flag, caught.value.retry) == (flags.REMOTE_RESET, resend)
        why = LOSS if name == "lost" else "no room for another stream"
        assert caught.value.details == f"upstream_stream_refused{{{why}}}"
        assert stream.take_written() == b""
        assert connection.is_stale() is (name != "no room")

    await connected(body)


# -- the connection ----------------------------------------------------------------------------------------------------


async def test_as_many_exchanges_as_the_peer_takes():
    async def body(connection, stream):
        stream.say(settings(streams=2))
        await settled()
        assert connection.streams == 100
        first = await begin(connection)
        assert connection.has_room(1)
        assert not connection.has_room(2)  # another was given it that has not begun yet
        await begin(connection)
        assert not connection.has_room(2)
        stream.say(headers(1, OK, end=True))
        await first.read_head()
        assert connection.has_room(1)
        assert not connection.is_quiet()
        assert connection.identity is None

    await connected(body)


async def test_a_connection_that_is_closed_says_goodbye():
    async def body(connection, stream):
        connection.close()
        await settled()
        [(kind, _, _, payload)] = frames(stream.take_written())
        assert (kind, payload[8:]) == (Kind.GOAWAY, b"idle")
        assert stream.aborted
        assert connection.is_stale()

    await connected(body)


async def test_it_is_swept_until_it_ends():
    async def body(connection, stream):
        sweeper = connection._sweeper
        assert repr(sweeper) == "<Sweeper 1 under way>"
        carrier = await begin(connection)
        stream.take_written()
        heard = connection.link.heard_at
        connection.sweep(heard + PING_AFTER + 1)
        await settled()
        assert [kind for kind, *_ in frames(stream.take_written())] == [Kind.PING]
        connection.sweep(heard + PING_AFTER + PING_LIMIT + 2)
        failure = await failure_of(carrier)
        assert failure.flag == flags.CONNECTION_TERMINATION
        assert "did not answer a ping" in failure.details
        await settled()
        assert repr(sweeper) == "<Sweeper 0 under way>"
        assert "used 0 times" in repr(connection)

    await connected(body)


async def test_a_peer_that_goes_away_finishes_what_was_begun():
    async def body(connection, stream):
        carrier = await begin(connection)
        stream.say(goaway(2**31 - 1) + headers(1, OK) + data(1, b"all", end=True))
        assert (await carrier.read_head()).status == 200
        body, end = carrier.take_ready()
        assert (body, end is not None) == (b"all", True)
        assert connection.is_stale()
        assert carrier.done(whole=True) is False

    await connected(body)


# -- upgrades ----------------------------------------------------------------------------------------------------------


def websocket():
    head = request("/chat")
    head.upgrade = b"websocket"
    return head


async def upgraded(first):
    """What becomes of a WebSocket on a connection whose peer begins with `first`."""
    outcomes = []

    async def run():
        stream = Joined()
        stream.say(first)
        connection = Http2Connection(stream, 0.0, Sweeper())
        await connection.start()
        carrier = connection.open()
        try:
            await carrier.send_request(websocket(), b"", end=True)
        except UpstreamError as error:
            outcomes.append(error)
            return
        stream.say(headers(1, OK) + data(1, b"frame"))
        assert (await carrier.read_head()).status == 200
        outcomes.append(await carrier.stream.receive())

    await in_background(run)
    return outcomes[0]


async def test_an_upgrade_needs_a_server_that_has_said_it_takes_them():
    assert await upgraded(settings(connect=1)) == b"frame"
    refused = await upgraded(SETTINGS)
    assert (refused.status, refused.flag, refused.retry) == (502, flags.UPSTREAM_PROTOCOL, Resend.NEVER)
    assert "declare its port http" in refused.details
