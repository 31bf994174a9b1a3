"""The connections of one endpoint in one worker: kept warm, bounded, never leased twice.

Theory of operation: `take` is the hot path: the connection used last, if it is not stale, without waiting. `acquire` is
for when there is none: dial in the caller's own task while there is room, else wait in line. `live` counts every
connection and every dial under way, so the bound holds before a socket exists. Rule 1: whoever adds to `live` takes it
away again on any failure. Rule 2: a released connection goes to the first in line before it goes to the idle.
Rule 3: the warm floor is refilled in the background, one dial at a time and with growing pauses after failures.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol, TypeVar

from meshd.core import flags
from meshd.core.endpoint import Endpoint
from meshd.core.errors import Resend, UpstreamError
from meshd.net import wait

LIFETIME_JITTER = 0.1  # of the maximum, so that connections made together do not end together
REFILL_PAUSE = 0.1  # seconds after a failed dial, doubling
REFILL_PAUSE_MAX = 5.0
FAIL_FAST_AFTER = 3  # dials that failed in a row, above which requests answer at once between probes


class Connection(Protocol):
    """What a pool needs to know of a connection."""

    born: float
    idle_since: float
    uses: int

    def is_stale(self) -> bool:
        """Whether it has ended, or said something unasked, while idle."""

    def close(self) -> None:
        """Close it at once."""


C = TypeVar("C", bound=Connection)


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Bounds of one pool. Seconds."""

    max_connections: int = 1024
    max_pending: int = 1024
    warm: int = 1  # connections kept at least
    eager: bool = True  # filled before there is traffic; lazy: after the first request
    idle_timeout: float = 60.0  # beyond the floor
    max_lifetime: float = 3600.0


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """How many are where."""

    leased: int
    idle: int
    waiting: int
    live: int
    dialled: int
    failed: int
    stale: int
    overflowed: int


class Ticket:
    """A place in line."""

    __slots__ = ("connection", "deadline", "event", "over")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.event = wait.Event()
        self.connection: Connection | None = None
        self.over = False  # served, expired or abandoned

    def expire(self) -> None:
        """Leave the line; whoever waits is told."""
        self.over = True
        self.event.set()


class Pool:
    """Connections made by `connect`, which raises `UpstreamError`."""

    __slots__ = (
        "_connect",
        "_dialled",
        "_failed",
        "_failures",
        "_idle",
        "_line",
        "_next_refill",
        "_overflowed",
        "_random",
        "_refilling",
        "_retry_at",
        "_stale",
        "_used",
        "closed",
        "endpoint",
        "live",
        "settings",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        connect: Callable[[Endpoint], Awaitable[Connection]],
        settings: PoolSettings,
        random: Random,
    ) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self.closed = False
        self.live = 0
        self._connect = connect
        self._random = random
        self._idle: list[Connection] = []  # the one used last at the end
        self._line: deque[Ticket] = deque()
        self._refilling = False
        self._next_refill = 0.0
        self._failures = 0  # dials in a row
        self._retry_at = 0.0  # fail fast until then
        self._used = settings.eager
        self._dialled = self._failed = self._stale = self._overflowed = 0

    def take(self, now: float) -> Connection | None:
        """A live idle connection, or None. Never waits."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.is_stale():
                return connection
            self._stale += 1
            self._discard(connection)
        return None

    async def acquire(self, now: float, deadline: float, watch: Callable[[Ticket], None]) -> Connection:
        """A connection: idle, fresh, or the first that somebody gives back before `deadline`. Raises `UpstreamError`.

        `watch` is given the ticket of a caller that has to wait, so that a sweeper can expire it.
        """
        self._used = True
        connection = self.take(now)
        if connection is not None:
            return connection
        if self.live < self.settings.max_connections and not self._line:
            return await self._dial_for_caller(now)
        return await self._stand_in_line(deadline, watch)

    async def _dial_for_caller(self, now: float) -> Connection:
        if self._failures >= FAIL_FAST_AFTER and now < self._retry_at:
            details = f"{self.endpoint.name} failed {self._failures} times in a row; next probe in {self._retry_at - now:.1f} s"
            raise UpstreamError(503, flags.CONNECTION_FAILURE, details, retry=Resend.UNSENT)
        if self._failures >= FAIL_FAST_AFTER:
            self._retry_at = now + self._pause()  # this request is the probe; others fail fast meanwhile
        return await self._dial()

    async def _dial(self) -> Connection:
        self.live += 1
        try:
            connection = await self._connect(self.endpoint)
        except UpstreamError:
            self.live -= 1
            self._failed += 1
            self._failures += 1
            self._retry_at = wait.now() + self._pause()
            self._serve_next_by_dialling()
            raise
        except BaseException:
            self.live -= 1
            raise
        self._dialled += 1
        self._failures = 0
        return connection

    async def _stand_in_line(self, deadline: float, watch: Callable[[Ticket], None]) -> Connection:
        if len(self._line) >= self.settings.max_pending:
            self._overflowed += 1
            settings = self.settings
            details = (
                f"overflow: {self.live} of {settings.max_connections} connections to {self.endpoint.name} in use"
                f" and {len(self._line)} of {settings.max_pending} requests waiting"
            )
            raise UpstreamError(503, flags.OVERFLOW, details, retry=Resend.NEVER)
        ticket = Ticket(deadline)
        self._line.append(ticket)
        watch(ticket)
        try:
            await ticket.event.wait()
        finally:
            ticket.over = True
            if ticket.connection is None and ticket in self._line:
                self._line.remove(ticket)
        if ticket.connection is None:
            details = f"no connection to {self.endpoint.name} became free in time"
            raise UpstreamError(504, flags.REQUEST_TIMEOUT, details)
        return ticket.connection

    def release(self, connection: Connection, now: float, *, reusable: bool) -> None:
        """Give a leased connection back."""
        connection.uses += 1
        if not reusable or self.closed or now - connection.born > self._lifetime(connection):
            self._discard(connection)
            self._serve_next_by_dialling()
            return
        connection.idle_since = now
        while self._line:
            ticket = self._line.popleft()
            if not ticket.over:
                ticket.over = True
                ticket.connection = connection
                ticket.event.set()
                return
        self._idle.append(connection)

    def _discard(self, connection: Connection) -> None:
        self.live -= 1
        connection.close()

    def _serve_next_by_dialling(self) -> None:
        """Somebody waits and there is room again: dial for them."""
        if self._line and not self.closed and self.live < self.settings.max_connections and not self._refilling:
            self._refilling = True
            wait.spawn(self._refill)

    async def fill(self) -> None:
        """Dial until the eager floor is there; a failure leaves the rest to the background."""
        while self._used and not self.closed and self.live < self.settings.warm:
            try:
                connection = await self._dial()
            except UpstreamError:
                self._next_refill = wait.now() + self._pause()
                return
            self._put(connection)

    def sweep(self, now: float) -> None:
        """Close what was idle too long or lived too long or has died, and see to the warm floor."""
        settings = self.settings
        spare = self.live - settings.warm
        kept = []
        for connection in self._idle:
            too_long = spare > 0 and now - connection.idle_since > settings.idle_timeout
            if too_long or now - connection.born > self._lifetime(connection):
                spare -= 1
                self._discard(connection)
            elif connection.is_stale():
                self._stale += 1
                spare -= 1
                self._discard(connection)
            else:
                kept.append(connection)
        self._idle = kept
        floor = settings.warm if self._used else 0
        short = self.live < floor or (self._line and self.live < settings.max_connections)
        if short and not self.closed and not self._refilling and now >= self._next_refill:
            self._refilling = True
            wait.spawn(self._refill)

    async def _refill(self) -> None:
        """One connection, for whoever waits or for the floor."""
        try:
            connection = await self._dial()
        except UpstreamError:
            self._next_refill = wait.now() + self._pause()
            return
        finally:
            self._refilling = False
        self._put(connection)

    def _put(self, connection: Connection) -> None:
        connection.uses -= 1  # `release` counts a use, and this one was none
        self.release(connection, wait.now(), reusable=True)

    def _pause(self) -> float:
        return min(REFILL_PAUSE * 2 ** min(self._failures, 10), REFILL_PAUSE_MAX) * (0.5 + self._random.random() / 2)

    def _lifetime(self, connection: Connection) -> float:
        """Its own within the jitter: drawn from its birth, so that it stays the same."""
        return self.settings.max_lifetime * (1 - LIFETIME_JITTER * (connection.born * 1e3 % 1))

    def close(self) -> None:
        """No more new ones; idle ones close now, leased ones when they come back, those in line are turned away."""
        self.closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            self._discard(connection)
        while self._line:
            self._line.popleft().expire()

    def statistics(self) -> PoolStatistics:
        """How many are where."""
        idle = len(self._idle)
        return PoolStatistics(
            leased=self.live - idle,
            idle=idle,
            waiting=len(self._line),
            live=self.live,
            dialled=self._dialled,
            failed=self._failed,
            stale=self._stale,
            overflowed=self._overflowed,
        )

    def __repr__(self) -> str:
        idle = len(self._idle)
        most = self.settings.max_connections
        return f"<Pool {self.endpoint.name} {self.live - idle}/{most} leased, {idle} idle, {len(self._line)} waiting>"
