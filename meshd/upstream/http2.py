"""HTTP/2 toward an endpoint: one multiplexed connection, and the carrier that one exchange has on it."""

from typing import Final

from meshd.core import flags, proxy_errors
from meshd.core.errors import Resend, StreamBroken, UpstreamError
from meshd.core.head import Headers, RequestHead, ResponseHead
from meshd.http.events import End
from meshd.http.h2_client import ClientSession, offer_of
from meshd.http.h2_events import Code, Reset
from meshd.http.h2_floods import flood_limits
from meshd.http.limits import RESPONSE_LIMITS, Limits
from meshd.identity.peer import PeerIdentity
from meshd.net import wait
from meshd.net.stream import Stream, identity_of, session_of
from meshd.net.sweep import Sweeper
from meshd.upstream.lane import Lane
from meshd.upstream.lane_stream import LaneStream
from meshd.upstream.link import Link
from meshd.upstream.refusal import refused

PING_AFTER: Final = 30.0  # seconds of silence while a response is awaited
PING_LIMIT: Final = 10.0  # seconds for the answer
BROKEN: Final = proxy_errors.CONNECTION_TERMINATED
LATE: Final = "timed out waiting for the server's first frame"
NEVER: Final = float("inf")
NO_UPGRADES: Final = (
    "http_upgrade_failed{the upstream is declared to speak HTTP/2 and takes no extended CONNECT there (RFC 8441);"
    " if it switches protocols in HTTP/1.1, declare its port http}"
)


class Http2Connection:
    """Pooled; carries as many exchanges at a time as its peer lets it."""

    refusal: Final = None  # it is there when the server has spoken, and so accepted us

    __slots__ = ("_late", "_settle_by", "_sweeper", "born", "idle_since", "link", "session", "tls", "uses")

    protocol: bytes = b"h2"

    def __init__(self, stream: Stream, born: float, sweeper: Sweeper, heads: Limits = RESPONSE_LIMITS) -> None:
        self.session = ClientSession(offer_of(heads), heads, flood_limits(heads))
        self.link = Link(self.session, stream)
        self.tls = session_of(stream)
        self.born = born
        self.idle_since = born
        self.uses = 0
        self._sweeper = sweeper
        self._settle_by = NEVER
        self._late = False  # nothing was settled by then

    async def start(self, deadline: float = NEVER) -> None:
        """Begin to speak and to listen, and return when the server has said what it takes: more than that must not be
        asked of it at once. Raises UpstreamError when it does not before `deadline`, or does not speak HTTP/2.
        """
        self._sweeper.add(self)
        self._settle_by = deadline
        wait.spawn(self.link.write)
        wait.spawn(self._read)
        try:
            await self.link.settled.wait()
        except BaseException:
            self.link.stream.abort("nobody waits for it any more")
            raise
        self._settle_by = NEVER
        if self.link.alert:
            raise refused(self.link.stream, self.link.alert)
        if self.link.reason:
            closed = self.session.closed
            nonsense = closed is not None and closed.code != Code.NO_ERROR
            flag = flags.UPSTREAM_PROTOCOL if nonsense else flags.CONNECTION_FAILURE
            details = f"no connection of HTTP/2: {self.link.reason}"
            status, kind = (504, proxy_errors.CONNECTION_TIMEOUT) if self._late else (502, "" if nonsense else BROKEN)
            raise UpstreamError(status, flag, details, retry=Resend.UNSENT, proxy_error=kind)
        if not self.session.room:
            self.link.close("no room")
            details = "no connection of HTTP/2: the server lets no request begin"
            kind = proxy_errors.DESTINATION_UNAVAILABLE
            raise UpstreamError(503, flags.CONNECTION_FAILURE, details, retry=Resend.UNSENT, proxy_error=kind)

    async def _read(self) -> None:
        try:
            await self.link.read()
        finally:
            self._sweeper.discard(self)

    @property
    def streams(self) -> int:
        """What we ask for at most; `has_room` tells what the peer grants now."""
        return self.session.offer.streams

    def has_room(self, leases: int) -> bool:
        """Whether one more may begin now, beside so many exchanges; the last of those may not have begun yet."""
        room = self.session.room
        return room > 0 and leases < room + self.session.open_streams

    def is_stale(self) -> bool:
        """Whether no request will ever begin on it again."""
        return bool(self.link.reason) or not self.session.usable

    def is_gone(self) -> bool:
        """Whether no request will ever begin on it again: its reader hears at once what the peer does."""
        return self.is_stale()

    def is_quiet(self) -> bool:
        """Never known without looking; looking costs nothing here."""
        return False

    def open(self) -> "Http2Exchange":
        """A carrier for one exchange."""
        return Http2Exchange(self)

    @property
    def identity(self) -> PeerIdentity | None:
        """What the endpoint proved; None without TLS."""
        return identity_of(self.link.stream)

    def close(self) -> None:
        """Say goodbye and close it."""
        self.link.close("idle")

    def sweep(self, now: float) -> None:
        """See that the peer lives and that nobody starves."""
        if now > self._settle_by:
            self._late = True
            self.link.stream.abort(LATE)
        self.link.sweep(now)
        self.link.keep_alive(now, PING_AFTER, PING_LIMIT)

    def __repr__(self) -> str:
        return f"<Http2Connection {self.session!r} used {self.uses} times>"


class Http2Exchange:
    """A stream of a connection, from its request to its end."""

    __slots__ = ("_began", "_connection", "_lane", "_responding", "_why")

    def __init__(self, connection: Http2Connection) -> None:
        self._connection = connection
        self._lane: Lane | None = None  # None before the request
        self._began = 0.0  # monotonic
        self._responding = False
        self._why = ""  # we ended it

    @property
    def stream(self) -> Stream:
        """Its octets, once a protocol was switched."""
        assert self._lane is not None
        return LaneStream(self._lane)

    async def send_request(self, head: RequestHead, body: bytes, *, end: bool) -> None:
        """Begin the stream, with the first octets of the body."""
        connection = self._connection
        link = connection.link
        if head.upgrade is not None:
            if not connection.session.takes_upgrades:  # RFC 8441 section 3: it must have said so before
                kind = proxy_errors.HTTP_UPGRADE_FAILED
                raise UpstreamError(502, flags.UPSTREAM_PROTOCOL, NO_UPGRADES, proxy_error=kind)
            end = False  # what comes behind it is the other protocol's
        now = self._began = wait.now()
        try:
            stream = connection.session.send_request(head, now, end=end and not body)
        except StreamBroken as error:
            details = f"upstream_stream_refused{{{link.reason or error}}}"
            retry = Resend.MOVED if connection.session.peer_last is not None else Resend.UNSENT
            raise UpstreamError(502, flags.REMOTE_RESET, details, retry=retry) from error
        lane = self._lane = link.lanes[stream] = Lane(link, stream)
        link.flush()
        if body:
            try:
                await lane.send(body, end=end)
            except StreamBroken as error:
                raise self._lost(error) from error

    async def send(self, data: bytes) -> None:
        """Write more of the body, as fast as the peer takes it."""
        assert self._lane is not None
        try:
            await self._lane.send(data)
        except StreamBroken as error:
            raise self._lost(error) from error

    async def finish(self, trailers: Headers) -> None:
        """End the body."""
        assert self._lane is not None
        try:
            self._lane.finish(trailers)
        except StreamBroken as error:
            raise self._lost(error) from error

    async def read_head(self) -> ResponseHead:
        """The next response head, interim ones included."""
        item = await self._next()
        assert isinstance(item, ResponseHead)
        self._responding = True
        return item

    def take_ready(self) -> tuple[bytes, End | None]:
        """All of the body that is here already, and its end if that is here too."""
        assert self._lane is not None
        return self._lane.take_body()

    async def read_body(self) -> bytes | End:
        """The next piece of body, or its end."""
        item = await self._next()
        assert not isinstance(item, ResponseHead)
        return item

    def leftover(self) -> bytes:
        """Nothing: what came is in the stream."""
        return b""

    def abort(self, reason: str) -> None:
        """End the stream where it stands."""
        self._why = reason
        if self._lane is not None:
            self._lane.reset(Code.CANCEL, reason)

    def done(self, *, whole: bool) -> bool:
        """Give up what is not finished of it; whether the connection may carry another."""
        connection = self._connection
        if self._lane is not None:
            self._lane.leave()
        return not connection.is_stale()

    async def _next(self) -> ResponseHead | bytes | End:
        assert self._lane is not None
        try:
            return await self._lane.next()
        except StreamBroken as error:
            raise self._lost(error) from error

    def _lost(self, error: StreamBroken) -> UpstreamError:
        """How sure we are that the request was not executed decides who may send it again."""
        assert self._lane is not None
        connection, reset = self._connection, self._lane.broken
        if reset is not None and reset.unprocessed:
            details = f"upstream_reset_before_response_started{{{reset.details}}}"
            last = connection.session.peer_last
            left_behind = reset.code == Code.NO_ERROR and last is not None and self._lane.id > last
            return UpstreamError(502, flags.REMOTE_RESET, details, retry=Resend.MOVED if left_behind else Resend.UNSENT)
        when = "after" if self._responding else "before"
        details = f"upstream_reset_{when}_response_started{{{error}}}"
        if reset is not None and not reset.by_peer and not self._why:  # we ended it, for what the peer did
            kind = reset.proxy_error
            return UpstreamError(502, flags.UPSTREAM_PROTOCOL, details, retry=Resend.IF_SAFE, proxy_error=kind)
        link = connection.link
        if link.reason:  # one that has said anything since the request began was not dead then
            was_dead = connection.uses and link.heard_at <= self._began
            retry = Resend.REUSED if was_dead else Resend.IF_SAFE
            return UpstreamError(502, flags.CONNECTION_TERMINATION, details, retry=retry)
        return UpstreamError(502, flags.REMOTE_RESET, details, retry=_after_reset(reset))

    def __repr__(self) -> str:
        return f"<Http2Exchange {self._lane!r}>"


def _after_reset(reset: Reset | None) -> Resend:
    """ENHANCE_YOUR_CALM asks for less, not for the same again."""
    return Resend.NEVER if reset is not None and reset.code == Code.ENHANCE_YOUR_CALM else Resend.IF_SAFE
