"""A client's HTTP/1.1 connection: one task reads a request, carries it, answers, and reads the next."""

from enum import Enum, auto

from meshd.core import flags
from meshd.core.errors import DownstreamError, ProtocolError, StreamBroken, UpstreamError
from meshd.core.exchange import Exchange
from meshd.core.head import Headers, RequestHead, ResponseHead
from meshd.core.peer import Peer
from meshd.core.reply import Reply
from meshd.http.events import End
from meshd.http.forwarding import Hop
from meshd.http.h1 import ServerCodec
from meshd.net import wait
from meshd.net.stream import Stream
from meshd.proxy.cut import Cut
from meshd.proxy.downstream_connections import Standing, State
from meshd.proxy.flight import Flight
from meshd.proxy.forward import carry
from meshd.proxy.listener import Listener
from meshd.proxy.passage import BEGINNINGS, Passage, cluster_behind, opaque_cluster
from meshd.proxy.rescue import rescue

TLS_HANDSHAKE = 0x16  # the first octet of a handshake record (RFC 8446 section 5.1)
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# An empty SETTINGS, and GOAWAY for stream 0 with ENHANCE_YOUR_CALM: nothing was processed (RFC 9113 section 6.8).
HTTP2_TOO_MANY = bytes.fromhex("000000 04 00 00000000000008 07 00 00000000 00000000 0000000b")
# Seconds we go on reading after the last response, so that it is not lost to a reset: until the client has been silent
# for so long, and in all. Octets are no measure: most clients that upload look up only at the end of it.
LINGER_QUIET = 1.0
LINGER_MOST = 5.0


class Phase(Enum):
    """What the connection is doing, which says what an expired deadline means."""

    IDLE = auto()
    HEAD = auto()
    EXCHANGE = auto()
    LINGER = auto()


class Http1Downstream:
    """The connection's task owns codec and stream."""

    __slots__ = (
        "beyond",
        "codec",
        "deadline",
        "flight",
        "hop",
        "is_opaque",
        "listener",
        "peer",
        "phase",
        "preface",
        "reading",
        "served",
        "stream",
        "taken",
    )

    def __init__(self, listener: Listener, stream: Stream, peer: Peer) -> None:
        self.listener = listener
        self.stream = stream
        self.peer = peer
        self.hop = Hop(peer, listener.plan.forwarding)
        self.codec = ServerCodec(listener.limits.heads)
        self.flight: Flight | None = None
        self.phase = Phase.IDLE
        stranger = listener.plan.inbound and not peer.principal  # who may not come only to sit there
        self.deadline = wait.now() + (listener.limits.head_timeout if stranger else listener.limits.idle)
        self.served = False  # at least one request has begun
        self.taken = False  # a tunnel has the stream now
        self.reading = False  # somebody waits for more of a request body
        self.beyond = b""  # the authority of a CONNECT, until something has come through
        self.is_opaque = False  # what came through is not HTTP
        self.preface = b""  # what was read of a connection that turned out to speak HTTP/2

    async def serve(self) -> None:
        """Serve until the client leaves, the connection may not go on, or the listener drains.

        A client that begins with the preface of HTTP/2 is left as it is, for `preface` to go on with.
        """
        try:
            while not self.is_opaque and (head := await self._next_head()) is not None:
                await self._exchange(head)
                if self.taken:
                    return
                codec = self.codec
                if codec.must_close:
                    await self._part()
                    return
                if head.method != b"CONNECT":  # behind which everything begins anew
                    codec.next_cycle()
            if self.is_opaque:
                await self._pass_through()
        except (StreamBroken, DownstreamError):
            return  # nobody is there any more; its exchange is accounted for
        finally:
            if not self.preface:
                self.stream.close()

    async def _next_head(self) -> RequestHead | None:
        """The next request; None when there is none: the client closed, or was told what was wrong with its bytes."""
        codec = self.codec
        try:
            event = codec.next_event()
            while event is None:
                if self.listener.draining and not codec.buffered and self._may_end(wait.now()):
                    return None
                if codec.buffered:
                    self.stream.acknowledge()
                data = await self.stream.receive()
                if not codec.buffered and (not data or self._is_opaque(data)):
                    return None
                codec.receive(data)
                event = codec.next_event()
                if event is None and self.phase is Phase.IDLE:
                    self.phase = Phase.HEAD
                    self.deadline = wait.now() + self.listener.limits.head_timeout
        except ProtocolError as error:
            if error.status == 505 and codec.speaks_http2:
                self.preface = codec.leftover()
            elif not codec.asked_upgrade:
                await self._refuse(error.status, error.details)
            return None
        except StreamBroken:
            if self.phase is Phase.HEAD and self.deadline < 0:
                await self._refuse(408, "request_header_timeout")
            return None
        assert isinstance(event, RequestHead)
        return event

    async def _exchange(self, head: RequestHead) -> None:
        now = wait.now()
        listener = self.listener
        exchange = listener.begin(head, self.peer, self.hop, now)
        if self.phase is Phase.HEAD:
            exchange.arrived = self.deadline - listener.limits.head_timeout
        self.flight = flight = Flight(exchange, self)
        self.phase = Phase.EXCHANGE
        self.served = True
        self.beyond = b""
        if head.method == b"CONNECT":
            await self._connect(flight)
        elif (reply := await carry(flight, listener.plan)) is not None:
            await self._answer(exchange, reply)
        listener.finish(exchange)
        self.flight = None
        self.phase = Phase.IDLE
        self.deadline = exchange.ended + listener.limits.idle

    async def _connect(self, flight: Flight) -> None:
        """A tunnel to a service of the mesh ends here: what comes through it is HTTP, routed and counted as always,
        or goes through as it is."""
        exchange, plan = flight.exchange, self.listener.plan
        refusal = self.listener.connect(exchange)
        cluster = opaque_cluster(plan, exchange.head.authority)
        passage = Passage(flight, cluster) if refusal is None and cluster is not None else None
        if passage is not None:
            try:
                await passage.open()
            except UpstreamError as error:
                exchange.flag(error.flag)
                refusal = rescue(error, exchange.attempts)
        if refusal is not None:
            self.codec.must_close = True  # what follows may be meant for the tunnel already
            await self._answer(exchange, refusal)
            return
        exchange.responded = wait.now()
        exchange.status = 200
        exchange.details = "connect"
        await self.respond(ResponseHead(200), b"", end=False)
        if passage is not None:
            await passage.carry(b"")
            return
        self.beyond, early = exchange.head.authority, self.codec.leftover()
        self.codec = ServerCodec(self.listener.limits.heads)
        if early and not self._is_opaque(early):  # to the codec no octets are the client's end
            self.codec.receive(early)

    def _is_opaque(self, data: bytes) -> bool:
        """Whether the first octets through a tunnel are not HTTP; they are kept for where they go."""
        if self.beyond and data and data[0] not in BEGINNINGS:
            self.is_opaque, self.preface = True, data
        return self.is_opaque

    async def _pass_through(self) -> None:
        """Carry what is not HTTP, and account for it as one exchange."""
        listener, early = self.listener, self.preface
        self.preface = b""
        exchange = Exchange(RequestHead(b"CONNECT", b"", self.beyond), self.peer, wait.now())
        exchange.listener = listener.plan.name
        exchange.responded, exchange.status, exchange.details = exchange.started, 200, "tunnel"
        self.flight = flight = Flight(exchange, self)
        self.phase = Phase.EXCHANGE
        try:
            cluster = cluster_behind(listener.plan, self.beyond, flight)
            if cluster is not None:
                passage = Passage(flight, cluster)
                await passage.open()
                await passage.carry(early)
        except UpstreamError as error:
            exchange.flag(error.flag)
            exchange.details = error.details
        finally:
            listener.finish(exchange)
            self.flight = None

    async def _answer(self, exchange: Exchange, reply: Reply) -> None:
        """Send a reply of our own."""
        head, body = self.listener.render(exchange, reply)
        exchange.responded = wait.now()
        exchange.status = reply.status
        exchange.bytes_sent = len(body)
        try:
            await self.respond(head, body, end=True)
        except DownstreamError as error:
            exchange.flag(error.flag)
            exchange.status = 0
            self.codec.must_close = True

    async def turn_away(self) -> None:
        """Tell whoever it is that there are too many connections, and close; without a word for TLS, which was not
        spoken yet. Called instead of `serve`."""
        self.deadline = wait.now() + LINGER_QUIET
        try:
            first = await self.stream.receive()
            if first.startswith(HTTP2_PREFACE[: len(first)]) and first:
                await self.stream.send(HTTP2_TOO_MANY)
                await self._linger(LINGER_QUIET)
            elif first and first[0] != TLS_HANDSHAKE:
                await self._refuse(503, "connection_limit", flags.OVERLOAD)
        except (StreamBroken, DownstreamError):
            pass  # it has left, or says nothing
        finally:
            self.stream.close()

    async def _refuse(self, status: int, details: str, flag: str = flags.DOWNSTREAM_PROTOCOL) -> None:
        """Say what is wrong with bytes that are no request, or with their coming now, then close."""
        exchange = self.listener.begin_unparsed(self.peer, wait.now(), self.codec.refused_head())
        error = DownstreamError(status, flag, details)
        exchange.flag(error.flag)
        exchange.details = details
        self.codec.must_close = True
        await self._answer(exchange, rescue(error))
        self.listener.finish(exchange)
        await self._linger(LINGER_QUIET)

    async def _part(self) -> None:
        """End the connection after its last response."""
        if self.codec.pending_body or self.codec.buffered or self.stream.has_news():
            await self._linger()
        elif self.peer.tls:
            await self.stream.send_eof()  # a body that ends with the connection needs its close_notify

    async def _linger(self, most: float = LINGER_MOST) -> None:
        """Read what the client still sends, for a while: closing at once would reset the connection, and our last
        response with it (RFC 9112 section 9.6)."""
        self.phase = Phase.LINGER
        now = wait.now()
        self.deadline, end = now + LINGER_QUIET, now + most
        if self.reading:
            self.stream.interrupt("answered")  # the upload gives way: of two who wait on one stream only one is woken
        try:
            await self.stream.send_eof()
            while await self.stream.receive():
                self.deadline = min(wait.now() + LINGER_QUIET, end)
        except StreamBroken:
            pass  # the moment is over, or the client reset

    def sweep(self, now: float) -> None:
        """End what is overdue."""
        if self.flight is not None:
            self.flight.sweep(now)
        elif now > self.deadline:
            self.deadline = -1.0
            self.stream.interrupt(self.phase.name.lower() + " timeout")
        elif self._may_end(now):
            self.stream.interrupt("draining")

    def _may_end(self, now: float) -> bool:
        """Whether a drain ends the connection, on which nothing goes on."""
        listener = self.listener
        return listener.draining and self.phase is Phase.IDLE and now >= listener.idle_until

    # -- Downstream, for the exchange under way ----------------------------------------------------------------

    def body_nowait(self) -> bytes | End | None:
        try:
            event = self.codec.next_event()
        except ProtocolError as error:
            raise DownstreamError(error.status, flags.DOWNSTREAM_PROTOCOL, error.details) from error
        assert not isinstance(event, RequestHead)
        return event

    async def read_body(self) -> bytes | End:
        while True:
            event = self.body_nowait()
            if event is not None:
                return event
            if self.phase is Phase.LINGER:
                raise self._gone(StreamBroken("answered"))
            self.reading = True
            self.stream.acknowledge()
            try:
                data = await self.stream.receive()
            except StreamBroken as error:
                raise self._gone(error) from error
            finally:
                self.reading = False
            if not data:
                raise self._gone(StreamBroken("the client ended its request early"))
            self.codec.receive(data)

    async def interim(self, head: ResponseHead) -> None:
        await self._write(self.codec.send_interim(head.status, head.headers))

    async def respond(self, head: ResponseHead, body: bytes, *, end: bool) -> None:
        codec = self.codec
        if codec.pending_body or self.listener.draining or (codec.offers_upgrade and self.stream.has_news()):
            codec.must_close = True
        await self._write(codec.send_head(head, body, end=end))

    async def send(self, data: bytes) -> None:
        await self._write(self.codec.send_data(data))

    async def finish(self, trailers: Headers) -> None:
        await self._write(self.codec.send_end(trailers))

    async def _write(self, data: bytes) -> None:
        if data:
            try:
                await self.stream.send(data)
            except StreamBroken as error:
                raise self._gone(error) from error

    def take_over(self) -> tuple[Stream, bytes]:
        self.taken = True
        return self.stream, self.codec.leftover()

    def is_gone(self) -> bool:
        return self.stream.has_left()

    def abort(self, reason: str, status: int) -> None:
        self.codec.must_close = True
        self.stream.abort(reason)

    def _gone(self, error: StreamBroken) -> DownstreamError:
        self.codec.must_close = True
        return DownstreamError(0, flags.DOWNSTREAM_GONE, f"{Cut.GONE.value}{{{error}}}")

    def under_way(self) -> list[Flight]:
        """The exchange that has begun and not ended."""
        return [] if self.flight is None else [self.flight]

    def standing(self) -> Standing | None:
        """What this connection is for us; None before its first request."""
        if self.flight is not None:
            since = self.flight.writing_since
            return (State.BLOCKED, since) if since else (State.BUSY, self.deadline)
        if self.phase is Phase.LINGER:
            return State.BUSY, self.deadline
        return (State.IDLE, self.deadline - self.listener.limits.idle) if self.served else None

    def give_way(self) -> None:
        """End it at once, for another's sake."""
        if self.flight is not None:
            self.flight.cut(Cut.SLOW)
        else:
            self.stream.close()

    def retire(self) -> None:
        """Its peer would not be let in any more: end it, after the exchange if there is one."""
        self.codec.must_close = True
        if self.phase is Phase.IDLE:
            self.stream.interrupt("retired")

    def cut_off(self) -> None:
        """The drain is over: end whatever goes on here."""
        if self.flight is not None:
            self.flight.cut(Cut.DRAINED)
        self.stream.abort("drained")

    def __repr__(self) -> str:
        return f"<Http1Downstream {self.peer.address}:{self.peer.port} {self.phase.name.lower()}>"
