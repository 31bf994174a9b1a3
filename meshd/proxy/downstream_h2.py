"""A client's HTTP/2 connection: one task reads, one writes, and every request has a task of its own."""

from dataclasses import replace
from functools import cache

from meshd.core import flags
from meshd.core.errors import DownstreamError, StreamBroken
from meshd.core.exchange import Exchange
from meshd.core.head import Headers, RequestHead, ResponseHead, index
from meshd.core.peer import Peer
from meshd.core.reply import Reply
from meshd.core.rpc import Rpc
from meshd.http.events import End
from meshd.http.forwarding import Hop
from meshd.http.grpc import failure, outcome_of, status_of, trailers_only
from meshd.http.h2_engine import Offer
from meshd.http.h2_events import Code, RequestArrived, RequestRefused
from meshd.http.h2_floods import flood_limits
from meshd.http.h2_server import ServerSession
from meshd.http.limits import Limits
from meshd.net import wait
from meshd.net.stream import Stream
from meshd.proxy.cut import Cut
from meshd.proxy.downstream_connections import Standing, State
from meshd.proxy.flight import Flight
from meshd.proxy.forward import carry
from meshd.proxy.listener import Listener
from meshd.proxy.rescue import NO_CONNECT, rescue
from meshd.upstream.lane import Lane
from meshd.upstream.lane_stream import LaneStream
from meshd.upstream.link import Link, Request

OFFER = Offer(connect_protocol=True)
# Seconds that a client may go on with an upload that was answered early, before we ask it to stop (RFC 9113 section
# 8.1): curl 7 and others forget an answer that they have not read when they hear that. A sidecar does not.
LINGER = 1.0
LAST_STEP = 1.0  # seconds between the two GOAWAYs of a drain, when the client answers no ping


@cache
def offer_of(heads: Limits) -> Offer:
    """What clients may do, with what heads may be."""
    return replace(OFFER, header_list=heads.head)


class Http2Downstream:
    """The connection. Its exchanges outlive nothing: when the client is gone, each of them is cut."""

    __slots__ = (
        "_drain_at",
        "_lingering",
        "_retired",
        "deadline",
        "flights",
        "hop",
        "link",
        "listener",
        "peer",
        "served",
        "session",
        "stream",
    )

    def __init__(self, listener: Listener, stream: Stream, peer: Peer) -> None:
        self.listener = listener
        self.stream = stream
        self.peer = peer
        self.hop = Hop(peer, listener.plan.forwarding)
        heads = listener.limits.heads
        self.session = ServerSession(offer_of(heads), heads, flood_limits(heads))
        self.link = Link(self.session, stream, self._begin)
        self.flights: dict[int, Flight] = {}
        self.deadline = wait.now() + listener.limits.head_timeout
        self.served = False  # at least one request has begun
        self._lingering: dict[Lane, float] = {}  # streams that were answered early, and until when they are heard
        self._retired = False  # its peer would not be let in any more
        self._drain_at = 0.0  # when the next step of a drain is due

    async def serve(self, early: bytes = b"") -> None:
        """Serve until the client leaves or the connection may not go on. `early`: octets of it that were read
        already."""
        wait.spawn(self.link.write)
        try:
            await self.link.read(early)
        finally:
            for flight in tuple(self.flights.values()):
                flight.cut(Cut.GONE)
            closed = self.session.closed
            if closed is not None and (closed.counter or closed.code):
                self.listener.broke_off(closed.counter or f"h2_{closed.code}", closed.details)

    def _begin(self, event: Request) -> None:
        lane = self.link.lanes[event.stream] = Lane(self.link, event.stream)
        if isinstance(event, RequestArrived):
            wait.spawn(self._exchange, lane, event.head)
        else:
            wait.spawn(self._refuse, lane, event)

    async def _exchange(self, lane: Lane, head: RequestHead) -> None:
        listener = self.listener
        exchange = listener.begin(head, self.peer, self.hop, wait.now())
        down = Http2Request(lane, exchange.rpc)
        flight = self.flights[lane.id] = Flight(exchange, down)
        self.served = True
        try:
            if lane.broken is not None:  # given up before it began: costs nobody anything, and no GOAWAY waits for it
                error = down.gone()
                exchange.flag(error.flag)
                exchange.details = error.details
            elif head.method == b"CONNECT":
                await self._answer(exchange, down, NO_CONNECT)
            elif (reply := await carry(flight, listener.plan)) is not None:
                await self._answer(exchange, down, reply)
        finally:
            del self.flights[lane.id]
            listener.finish(exchange)
            if head.method == b"CONNECT":
                lane.leave()  # what would follow is no body
            else:
                self._part(lane)

    def _part(self, lane: Lane) -> None:
        """An exchange is over: so is its stream, now or soon."""
        if not self.session.awaits_end(lane.id):
            lane.leave()
        else:
            lane.drop()
            self._lingering[lane] = wait.now() + LINGER

    async def _refuse(self, lane: Lane, event: RequestRefused) -> None:
        """Answer a request that is HTTP/2 but not one to serve."""
        listener = self.listener
        exchange = listener.begin_unparsed(self.peer, wait.now(), event.head)
        error = DownstreamError(event.error.status, flags.DOWNSTREAM_PROTOCOL, event.error.details)
        exchange.flag(error.flag)
        try:
            await self._answer(exchange, Http2Request(lane), rescue(error))
        finally:
            listener.finish(exchange)
            lane.leave()

    async def _answer(self, exchange: Exchange, down: "Http2Request", reply: Reply) -> None:
        """Send a reply of our own."""
        head, body = self.listener.render(exchange, reply)
        exchange.responded = wait.now()
        exchange.status = reply.status
        exchange.bytes_sent = len(body)
        try:
            await down.respond(head, body if exchange.head.method != b"HEAD" else b"", end=True)
        except DownstreamError as error:
            exchange.flag(error.flag)
            exchange.status = 0

    def sweep(self, now: float) -> None:
        """End what is overdue; take leave when the listener drains."""
        flights = self.flights
        for flight in tuple(flights.values()):
            if flight.down.is_gone():  # costs nothing here, so a response under way is given up as well
                flight.cut(Cut.GONE)
            flight.sweep(now)
        for lane in [lane for lane, until in self._lingering.items() if now > until or lane.broken is not None]:
            del self._lingering[lane]
            lane.leave()
        self.link.sweep(now)
        limits = self.listener.limits
        if flights:
            self.deadline = now + limits.idle
        elif self.session.unfinished:
            self.deadline = min(self.deadline, self.link.heard_at + limits.head_timeout)
        else:
            self.deadline = self.link.heard_at + limits.idle
        if now > self.deadline:
            self.link.close("idle timeout")
        elif self.listener.draining or self._retired:
            self._drain(now)

    def _drain(self, now: float) -> None:
        session = self.session
        if now > self._drain_at:
            self._drain_at = now + LAST_STEP
            session.drain()
            self.link.flush()
        if session.drained and not self.flights:
            self.link.close("draining")

    def under_way(self) -> list[Flight]:
        """The exchanges that have begun and not ended."""
        return list(self.flights.values())

    def standing(self) -> Standing | None:
        """What this connection is for us; None before its first request."""
        since = [flight.writing_since for flight in self.flights.values()]
        if since:
            return (State.BLOCKED, max(since)) if all(since) else (State.BUSY, 0.0)
        return (State.IDLE, self.link.heard_at) if self.served else None

    def give_way(self) -> None:
        """End it at once, for another's sake."""
        for flight in tuple(self.flights.values()):
            flight.cut(Cut.SLOW)
        self.link.close("connection limit")

    def retire(self) -> None:
        """Its peer would not be let in any more: no new exchange, and the end after those under way."""
        self._retired = True

    def cut_off(self) -> None:
        """The drain is over: end whatever goes on here."""
        for flight in tuple(self.flights.values()):
            flight.cut(Cut.DRAINED)
        self.link.close("drained")

    def __repr__(self) -> str:
        return f"<Http2Downstream {self.peer.address}:{self.peer.port} {len(self.flights)} exchanges>"


class Http2Request:
    """The client's side of one exchange: a stream of its connection."""

    __slots__ = ("_answered", "_lane", "_open", "_rpc")

    def __init__(self, lane: Lane, rpc: Rpc | None = None) -> None:
        self._lane = lane
        self._rpc = rpc
        self._answered = False  # the response has begun
        self._open = False  # and not ended

    def body_nowait(self) -> bytes | End | None:
        """The next piece of the request body that is here already."""
        item = self._lane.take()
        assert not isinstance(item, ResponseHead)
        if self._rpc is not None and isinstance(item, bytes):
            self._rpc.received.feed(item)
        return item

    async def read_body(self) -> bytes | End:
        """The next piece of the request body, or its end."""
        try:
            item = await self._lane.next()
        except StreamBroken as error:
            raise self._gone(error) from error
        assert not isinstance(item, ResponseHead)
        if self._rpc is not None and isinstance(item, bytes):
            self._rpc.received.feed(item)
        return item

    async def interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on."""
        self._send_head(head, end=False)

    async def respond(self, head: ResponseHead, body: bytes, *, end: bool) -> None:
        """Write the response head and the first octets of its body; they leave together."""
        if head.length is None and end and not head.bodiless:
            head.length = len(body)
        self._send_head(head, end=end and not body)
        self._answered = True
        self._open = not end
        if self._rpc is not None:
            self._rpc.status = outcome_of(head)
        if body:
            await self._send(body, end=end)

    async def send(self, data: bytes) -> None:
        """Write more of the body."""
        await self._send(data, end=False)

    async def finish(self, trailers: Headers) -> None:
        """End the body."""
        self._open = False
        try:
            self._lane.finish(trailers)
        except StreamBroken as error:
            raise self._gone(error) from error
        if self._rpc is not None:
            self._rpc.status = status_of(index(trailers).get(b"grpc-status"))

    def take_over(self) -> tuple[Stream, bytes]:
        """The bare stream, for a tunnel."""
        return LaneStream(self._lane), b""

    def is_gone(self) -> bool:
        """Whether the client has given the request up."""
        return self._lane.broken is not None

    def abort(self, reason: str, status: int) -> None:
        """End it where it stands, visibly incomplete: with a status for who speaks gRPC, else by a reset."""
        told = self._rpc is not None and self._tell(self._rpc, reason, status)
        self._lane.reset(Code.NO_ERROR if told else Code.INTERNAL_ERROR, reason)

    def _tell(self, rpc: Rpc, reason: str, status: int) -> bool:
        """End the response with a status of ours; False when it has ended already, or nobody is there."""
        own, trailers = failure(status, reason)
        try:
            if self._open:
                self._lane.finish(trailers)
            elif not self._answered:
                self._send_head(trailers_only(own, reason.encode(), []), end=True)
            else:
                return False
        except (StreamBroken, DownstreamError):
            return False
        self._answered, self._open, rpc.status = True, False, own
        return True

    def _send_head(self, head: ResponseHead, *, end: bool) -> None:
        lane = self._lane
        session = lane.link.session
        assert isinstance(session, ServerSession)
        try:
            session.send_head(lane.id, head, end=end)
        except StreamBroken as error:
            raise self._gone(error) from error
        lane.link.flush()

    async def _send(self, data: bytes, *, end: bool) -> None:
        if self._rpc is not None:
            self._rpc.sent.feed(data)
        try:
            await self._lane.send(data, end=end)
        except StreamBroken as error:
            raise self._gone(error) from error

    def gone(self) -> DownstreamError:
        """How the stream ended before its time."""
        assert self._lane.broken is not None
        return self._gone(StreamBroken(self._lane.broken.details))

    def _gone(self, error: StreamBroken) -> DownstreamError:
        broken = self._lane.broken
        if broken is not None and not broken.by_peer and broken.code == Code.PROTOCOL_ERROR:
            return DownstreamError(0, flags.DOWNSTREAM_PROTOCOL, f"{Cut.BAD_BODY.value}{{{error}}}")
        return DownstreamError(0, flags.DOWNSTREAM_GONE, f"{Cut.GONE.value}{{{error}}}")

    def __repr__(self) -> str:
        return f"<Http2Request {self._lane!r}>"
