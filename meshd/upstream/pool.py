"""The connections of one endpoint in one worker: kept warm, bounded, never leased twice.

Theory of operation: who has which connection is `Leases`, beside this file, with the hot path (`take`, `release`). Here
is how connections come to be and how they grow old. `acquire` is for when none is to be had at once: dial in the
caller's own task while there is room, else wait in line. What is decided is decided in plain functions (`enter`,
`sweep`); the two places that wait, `_dial` and `acquire`, only carry it out.

Rule 1: `live` counts every connection and every dial under way, so the bound holds before a socket exists; whoever
adds to it takes it away again on any failure. Rule 2: nobody stands in line while there is room, unless dialling
fails; so what is released goes to the first in line, and when a connection ends the first in line is permitted to
dial in its place.
Rule 3: the warm floor is refilled in the background, all that is missing at once, but one at a time and with growing
pauses after a failure. Rule 4: when dials fail slowly, nobody but one in a while finds that out by waiting: the
endpoint is *held* for as long as such dials took, doubling, and requests are turned away at once unless live
connections may yet come free. A failure that cost nothing holds nobody, so that an app which restarts is back the
moment it listens.
Rule 5: a closed pool keeps nothing, but lets end what is under way: those in line are still served.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

from meshd.core import flags, proxy_errors
from meshd.core.endpoint import Endpoint
from meshd.core.errors import Resend, UpstreamError
from meshd.net import wait
from meshd.upstream.connection import Connection
from meshd.upstream.holding import Holding
from meshd.upstream.keep_alive import TRIAL, KeepAlive
from meshd.upstream.leases import ENDED, Leases
from meshd.upstream.pool_statistics import PoolStatistics
from meshd.upstream.ticket import Ticket

LIFETIME_JITTER: Final = 0.1  # of the maximum either way, so that connections made together do not end together
MANY: Final = 100  # exchanges that a multiplexed connection carries, as RFC 9113 section 6.5.2 has it
NEVER: Final = float("inf")

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
    prove: bool = False  # keep idle only as many as the server has shown to leave it room for others
    multiplexed: bool = False  # a connection carries many exchanges: a dial serves `MANY` of those in line


class Pool(Leases[C]):
    """Connections made by `connect` (raises `UpstreamError`). `changed` is called when `warming` or `held_until` do."""

    __slots__ = (
        "_changed",
        "_connect",
        "_dialled",
        "_expired",
        "_failed",
        "_overflowed",
        "_random",
        "_refilling",
        "_refused",
        "_wanted",
        "endpoint",
        "holding",
        "settings",
        "warming",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        connect: Callable[[], Awaitable[C]],
        settings: PoolSettings,
        random: Random,
        changed: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(KeepAlive(settings.warm) if settings.prove else None)
        self.endpoint = endpoint
        self.settings = settings
        # Until the first connection is there. Where none is kept it is made nevertheless, to see that one can be.
        self.warming = settings.eager and (settings.warm > 0 or settings.prove)
        self._connect = connect
        self._random = random
        self._changed = changed
        self._refilling = 0  # background tasks
        self._wanted = settings.eager  # the floor is
        self.holding = Holding(random)
        self._refused: bool | None = None  # by the last: that the next is dialled says nothing until it has answered
        self._dialled = self._failed = self._overflowed = self._expired = 0

    @property
    def live(self) -> int:
        """Connections and dials under way."""
        return len(self._lives) + self._dialling

    @property
    def held_until(self) -> float:
        """Until when requests had better go elsewhere, because dialling fails."""
        return self.holding.until

    # -- one exchange ------------------------------------------------------------------------------------------------

    async def acquire(
        self,
        now: float,
        deadline: float = NEVER,
        watch: Callable[[Ticket[C]], None] | None = None,
        *,
        fresh: bool = False,
    ) -> C:
        """A connection: idle, fresh, or the first that somebody gives back before `deadline`. Raises `UpstreamError`.

        `fresh` asks for none that is idle, where one has just turned out dead: others may have died with it.

        `watch` is given the ticket of a caller that has to wait, so that it can be expired from outside. Whoever is
        cancelled leaves the line and leaves no connection behind.
        """
        connection = None if fresh else self.take(now)
        if connection is not None:
            return connection
        ticket = self.enter(now, deadline)
        if not ticket.permit:
            if watch is not None:
                watch(ticket)
            try:
                await ticket.event.wait()
            except BaseException:
                self.abandon(ticket)
                raise
        if ticket.connection is not None:
            return ticket.connection
        if ticket.permit:
            connection = await self._dial()
            self._lease(connection)
            if self._line:
                self._admit(wait.now())
            return connection
        raise ticket.error or self._overdue()

    def enter(self, now: float, deadline: float) -> Ticket[C]:
        """A ticket with the permit to dial, or else a place in line. Raises `UpstreamError` when there is neither."""
        self._wanted = True
        held = now < self.holding.until
        if self._trial is not None and (held or self.live >= self.settings.max_connections):
            self._discard(self._trial)  # its place is wanted
        if held and not self._lives:
            raise self.holding.error(self.endpoint.name, now)
        if not held and not self._line and self._may_dial():
            ticket = Ticket(deadline, self._line)
            self._permit(ticket, now)
            return ticket
        if len(self._line) >= self.settings.max_pending + self.patience:
            self._overflowed += 1
            raise self._overflow()
        ticket = Ticket(deadline, self._line)
        self._line[ticket] = None
        if self._dialling:
            self._admit(now)
        return ticket

    def abandon(self, ticket: Ticket[C]) -> None:
        """The waiter is gone; what it was given meanwhile goes to the next."""
        ticket.leave()
        now = wait.now()
        if ticket.connection is not None:
            self._unlease(ticket.connection, now, reusable=True)
        elif ticket.permit:
            self._dialling -= 1
            self._admit(now)

    def release(self, connection: C, now: float, *, reusable: bool) -> None:
        """Give a leased connection back."""
        if reusable:
            if self._refused and self.holding.succeeded():
                self._tell()
            self._refused = False
        super().release(connection, now, reusable=reusable)

    def _replace(self, now: float) -> None:
        """A connection ended: there is room for somebody in line, or the floor is short."""
        self._admit(now)
        self._refill(now)

    # -- dialling ----------------------------------------------------------------------------------------------------

    def _may_dial(self) -> bool:
        settings = self.settings
        enough = settings.multiplexed and self._dialling and len(self._line) <= MANY * self._dialling
        return self.live < settings.max_connections and not enough

    def _permit(self, ticket: Ticket[C], now: float) -> None:
        self._dialling += 1
        if self.holding.probe(now):
            self._tell()  # this one finds out; the others go elsewhere meanwhile
        ticket.admit()

    def _admit(self, now: float) -> None:
        """Permit as many in line to dial as there is room for."""
        while self._line and self._may_dial() and now >= self.holding.until:
            ticket, _ = self._line.popitem(last=self.patience > 0)
            self._permit(ticket, now)

    async def _dial(self) -> C:
        """A new connection, in `_lives` and nowhere else yet. It was counted as dialling before."""
        began = wait.now()
        try:
            connection = await self._connect()
        except UpstreamError as error:
            self._dialling -= 1
            self._note_failure(error, began, wait.now())
            raise
        except BaseException:
            self._dialling -= 1
            self._admit(wait.now())
            raise
        self._dialling -= 1
        self._dialled += 1
        jitter = 1 + LIFETIME_JITTER * (2 * self._random.random() - 1)
        self._lives[connection] = connection.born + self.settings.max_lifetime * jitter
        if (not self._refused and self.holding.succeeded()) or self.warming:
            self.warming = False
            self._tell()
            self._admit(wait.now())  # those who stood in line because dialling failed
        return connection

    def _discard(self, connection: C) -> None:
        """A connection that was refused counts as a dial that failed: it came about, but not for the server."""
        super()._discard(connection)
        refusal = connection.refusal
        if refusal is not None and connection.tls is None and self._refused is False:
            self.holding.note(refusal, wait.now())  # in clear anybody can write an alert; who has answered is there
        elif refusal is not None:
            self._refused = True
            self._note_failure(refusal, connection.born, wait.now())

    def _note_failure(self, error: UpstreamError, began: float, now: float) -> None:
        self._failed += 1
        if self.holding.failed(error, began, now):
            self._tell()
            if not self.live:  # nothing will come free: those in line need not wait
                while self._line:
                    self._line.popitem(last=False)[0].refuse(self.holding.error(self.endpoint.name, now))
        self._admit(now)

    async def fill(self) -> None:
        """Dial until the floor is there; a failure leaves the rest to the background."""
        while self._missing() > 0:
            self._dialling += 1
            try:
                connection = await self._dial()
            except UpstreamError:
                return
            self._offer(connection, wait.now())

    def _missing(self) -> int:
        if self.closed or not self._wanted:
            return 0
        floor = self.settings.warm or int(self.warming)
        return min(floor, self.settings.max_connections) - self.live

    def _refill(self, now: float) -> None:
        missing = self._missing()
        if missing <= 0 or now < self.holding.refill_at:
            return
        wanted = 1 if self.holding.failures else missing
        while self._refilling < wanted:
            self._refilling += 1
            wait.spawn(self._dial_for_floor)

    async def _dial_for_floor(self) -> None:
        try:
            if self._missing() > 0:
                self._dialling += 1
                connection = await self._dial()
                self._offer(connection, wait.now())
        except UpstreamError:
            return  # counted, and tried again by a later sweep
        finally:
            self._refilling -= 1

    # -- upkeep ------------------------------------------------------------------------------------------------------

    def sweep(self, now: float, dead: Collection[C] | None = None) -> int:
        """Close what was idle too long, lived too long or has died; see to the line and to the warm floor. How many
        dials for the floor that began.

        `dead`: the idle connections known to have ended; None to look at each.
        """
        if self._trial is not None and now >= self._trial.idle_since + TRIAL:
            self._end_trial(self._trial, now)
        if self._idle:
            self._cull(now, dead)
        for ticket in [ticket for ticket in self._line if ticket.deadline <= now]:
            self._expired += 1
            ticket.expire()
        if self._line:
            self._look_again(now)
        before = self._refilling
        self._replace(now)
        return self._refilling - before

    def _look_again(self, now: float) -> None:
        """A peer may let more begin than it did when those in line came: idle connections are there only if it did
        not."""
        for connection in tuple(self._shared):
            self._share_out(connection)
        idle = self._idle[:]
        self._idle.clear()
        for connection in idle:
            self._offer(connection, now)

    def _cull(self, now: float, dead: Collection[C] | None) -> None:
        settings = self.settings
        spare = self.live - settings.warm
        kept = []
        closed = 0
        for connection in self._idle:
            gone = connection.is_stale() if dead is None else connection in dead
            bored = spare > 0 and now - connection.idle_since >= settings.idle_timeout
            if self._keep_alive is not None and len(self._idle) - closed > self._keep_alive.room:
                bored = True  # it has shown less than it had, since others ended
            if gone or bored or now >= self._lives[connection]:
                self._stale += gone
                spare -= 1
                closed += 1
                self._discard(connection)
            else:
                kept.append(connection)
        self._idle[:] = kept

    def expel(self, is_good: Callable[[C], bool]) -> None:
        """Let every connection end that is not good any more: at once when it is idle, after its exchange when not."""
        for connection in [connection for connection in self._lives if not is_good(connection)]:
            if connection in self._leases:
                self._lives[connection] = ENDED
            else:
                if connection is not self._trial:
                    self._idle.remove(connection)
                self._discard(connection)

    def close(self) -> None:
        """Nothing is kept from now on: idle ones close, leased ones when they come back and nobody is in line."""
        self.closed = True
        if self._trial is not None:
            self._discard(self._trial)
        while self._idle:
            self._discard(self._idle.pop())

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed()

    # -- words -------------------------------------------------------------------------------------------------------

    def _overflow(self) -> UpstreamError:
        most = self.settings
        details = (
            f"overflow: {self.live} of {most.max_connections} connections (max_connections) to {self.endpoint.name}"
            f" in use, {len(self._line)} of {most.max_pending} requests (max_pending) waiting"
        )
        return UpstreamError(503, flags.OVERFLOW, details, retry=Resend.UNSENT)

    def _overdue(self) -> UpstreamError:
        details = (
            f"no connection to {self.endpoint.name} came free in time:"
            f" {self.live} of {self.settings.max_connections} in use, {len(self._line)} others waiting"
        )
        is_full = self.live >= self.settings.max_connections
        kind = proxy_errors.CONNECTION_LIMIT_REACHED if is_full else proxy_errors.CONNECTION_TIMEOUT
        return UpstreamError(504, flags.REQUEST_TIMEOUT, details, proxy_error=kind)

    def statistics(self) -> PoolStatistics:
        """How many are where."""
        return PoolStatistics(
            leased=len(self._leases),
            idle=len(self._idle) + (self._trial is not None),
            waiting=len(self._line),
            live=self.live,
            dialling=self._dialling,
            dialled=self._dialled,
            failed=self._failed,
            stale=self._stale,
            overflowed=self._overflowed,
            expired=self._expired,
        )

    def __repr__(self) -> str:
        most = self.settings.max_connections
        return (
            f"<Pool {self.endpoint.name} {len(self._leases)}/{most} leased,"
            f" {len(self._idle)} idle, {len(self._line)} waiting>"
        )
