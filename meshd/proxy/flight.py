"""The moving parts of one exchange under way: what it waits on, and until when."""

from collections.abc import Callable
from typing import Protocol

from meshd.core.exchange import Exchange
from meshd.core.head import Headers, ResponseHead
from meshd.core.route import STREAM_IDLE
from meshd.http.events import End
from meshd.net import wait
from meshd.net.stream import Stream
from meshd.proxy.cut import OVERDUE, Cut
from meshd.upstream.connection import Carrier

NEVER = float("inf")
LOOK = 0.1  # seconds between two looks at an exchange that only waits for the clock
WATCH_AFTER = 0.05  # seconds an exchange runs before we look whether its client is still there


class Downstream(Protocol):
    """The client's side of one exchange, whichever protocol it speaks."""

    def body_nowait(self) -> bytes | End | None:
        """The next piece of the request body that is here already; None when the rest is still to come."""

    async def read_body(self) -> bytes | End:
        """The next piece of the request body, or its end. Raises `DownstreamError`."""

    async def interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on."""

    async def respond(self, head: ResponseHead, body: bytes, *, end: bool) -> None:
        """Write the response head and the first octets of its body in one go. Raises `DownstreamError`."""

    async def send(self, data: bytes) -> None:
        """Write more of the body."""

    async def finish(self, trailers: Headers) -> None:
        """End the body."""

    def take_over(self) -> tuple[Stream, bytes]:
        """The bare stream, for a tunnel, and what the client has sent on it already."""

    def is_gone(self) -> bool:
        """Whether the client has left."""

    def abort(self, reason: str, status: int) -> None:
        """End it where it stands, visibly incomplete. `status` is the HTTP status that the cause would have had."""


class Ticket(Protocol):
    """A place in a pool's queue."""

    def expire(self) -> None:
        """Give the place up; whoever waits on it is told."""


class Flight:
    """One exchange, its client and, while there is one, its upstream connection."""

    __slots__ = (
        "attempt_deadline",
        "attempt_idle_timeout",
        "cause",
        "connection",
        "down",
        "exchange",
        "hedge",
        "idle_deadline",
        "idle_timeout",
        "rival",
        "ticket",
        "writing_since",
    )

    def __init__(self, exchange: Exchange, down: Downstream) -> None:
        self.exchange = exchange
        self.down = down
        self.connection: Carrier | None = None
        self.ticket: Ticket | None = None
        self.cause: Cut | None = None
        self.hedge: Callable[[], None] | None = None  # called once at the attempt's deadline, instead of a cut
        self.rival: Flight | None = None  # a second try under way
        self.attempt_deadline = NEVER
        self.attempt_idle_timeout = NEVER
        self.writing_since = 0.0  # since when we wait for the client to take what is written; 0 while we do not
        self.idle_timeout = STREAM_IDLE
        self.idle_deadline = exchange.started + STREAM_IDLE

    def touch(self, now: float) -> None:
        """Bytes moved: the idle clock starts again."""
        self.idle_deadline = now + self.idle_timeout

    async def rest(self, until: float) -> None:
        """Wait for the clock, but not once the exchange is cut; see `cause` then."""
        self.touch(until)
        while self.cause is None and wait.now() < until:
            await wait.sleep_until(min(until, wait.now() + LOOK))

    def sweep(self, now: float) -> None:
        """End what is overdue; notice a client that left while we wait for the response."""
        exchange = self.exchange
        if now > exchange.deadline:
            self.cut(Cut.TIMEOUT)
        elif now > self.attempt_deadline:
            if self.hedge is not None:
                self.attempt_deadline = NEVER
                self.hedge()
            else:
                self.cut(Cut.ATTEMPT_TIMEOUT)
        elif now > self.idle_deadline:
            self.cut(Cut.IDLE)
        elif now > self.idle_deadline - self.idle_timeout + self.attempt_idle_timeout:
            self.cut(Cut.ATTEMPT_IDLE)
        elif now > exchange.started + WATCH_AFTER and not exchange.responded and self.down.is_gone():
            self.cut(Cut.GONE)
        if self.rival is not None:
            self.rival.sweep(now)

    def overtake(self) -> None:
        """Another try has the answer: let this one see that it is over."""
        self.cause = Cut.OVERTAKEN
        if self.connection is not None:
            self.connection.abort(Cut.OVERTAKEN.value)
        if self.ticket is not None:
            self.ticket.expire()

    def cut(self, cause: Cut) -> None:
        """Wake whoever waits for this exchange and let it see `cause`. Once cut for good it stays so."""
        if self.rival is not None:
            self.rival.cut(cause)
        if self.cause is not None:
            return
        self.cause = cause
        if self.connection is not None:
            self.connection.abort(cause.value)
        if self.ticket is not None:
            self.ticket.expire()
        if self.exchange.responded or cause is Cut.DRAINED:
            self.down.abort(cause.value, 504 if cause in OVERDUE else 503)

    def __repr__(self) -> str:
        return f"<Flight {self.exchange!r} {self.cause.value if self.cause else 'under way'}>"
