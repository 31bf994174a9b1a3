"""Who has which connection of a pool, and who is next: taken, shared, given back, handed on, closed.

Theory of operation: a connection is idle, or leased to as many exchanges as `_leases` says. `take` and `release` are
the hot path and wait for nothing; `take` gives what is shared already, else the connection that was used last. Rule 1:
what is given back goes to the first in line if it may go on, and only else to the idle; a connection that carries
several exchanges goes to as many in line as it has room for. While clients that read nothing hold connections
(`patience`), the last in line is first: requests that fill the line for their sake are not served before all who come
later. Rule 2: a connection that may not go on takes nobody more, and closes with the last exchange it carries. Rule 3:
whenever one has ended the pool hears of it (`_replace`), for somebody in line may dial in its place. Rule 4: where the
server may serve one connection at a time, what is kept idle is bounded by what it has shown (`keep_alive.py`).
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from meshd.net import wait
from meshd.upstream.connection import Connection
from meshd.upstream.keep_alive import TRIAL, KeepAlive
from meshd.upstream.ticket import Ticket

ENDED: Final = float("-inf")  # when a connection must end that is of no more use

C = TypeVar("C", bound=Connection)


class Leases(Generic[C]):
    """The connections of one endpoint that are there. `Pool` adds how they are dialled."""

    __slots__ = (
        "_dialling",
        "_idle",
        "_keep_alive",
        "_leases",
        "_line",
        "_lives",
        "_shared",
        "_stale",
        "_trial",
        "closed",
        "parted",
        "patience",
    )

    def __init__(self, keep_alive: KeepAlive | None = None) -> None:
        self.closed = False
        self.patience = 0  # how many more than `max_pending` may wait, because as many connections are being freed
        self._dialling = 0  # connections that are not there yet
        self._keep_alive = keep_alive  # None: the server serves many connections at a time
        self._trial: C | None = None  # idle, and not used, to see whether the server serves others meanwhile
        self.parted: Callable[[float], None] | None = None  # told of each connection that ends, since when it was there
        self._lives: dict[C, float] = {}  # every connection, and when it must end
        self._leases: dict[C, int] = {}  # how many exchanges it carries
        self._idle: list[C] = []  # the one used last at the end
        self._shared: list[C] = []  # leased, and able to carry more than one exchange
        self._line: OrderedDict[Ticket[C], None] = OrderedDict()
        self._stale = 0  # that were found dead while idle

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    def take(self, now: float, *, careful: bool = True) -> C | None:
        """A live idle connection, or None. Never waits.

        `careful` asks the kernel once more whether it is still live. For a request that may simply be sent again, what
        the event loop has heard is enough.
        """
        if self._shared:
            connection = self._join(now)
            if connection is not None:
                return connection
        idle = self._idle
        for _ in range(len(idle)):
            connection = idle.pop()
            if (careful or not connection.is_quiet()) and connection.is_stale():
                self._bury(connection, now)
                continue
            if connection.streams > 1:
                if not connection.has_room(0):  # its peer lets nobody begin at present
                    idle.insert(0, connection)
                    continue
                self._shared.append(connection)
            self._leases[connection] = 1
            return connection
        return None

    def release(self, connection: C, now: float, *, reusable: bool) -> None:
        """Give a leased connection back."""
        connection.uses += 1
        self._unlease(connection, now, reusable=reusable)

    # -- what becomes of them -----------------------------------------------------------------------------------------

    def _join(self, now: float) -> C | None:
        """A connection that carries an exchange and takes another."""
        for connection in self._shared:
            if self._can_share(connection) and now < self._lives[connection]:
                self._leases[connection] += 1
                return connection
        return None

    def _can_share(self, connection: C) -> bool:
        leases = self._leases[connection]
        return leases < connection.streams and connection.has_room(leases)

    def _lease(self, connection: C) -> None:
        """To whoever asked for it; and to those in line, as far as it has room."""
        self._leases[connection] = 1
        if connection.streams > 1:
            self._shared.append(connection)
            self._share_out(connection)

    def _share_out(self, connection: C) -> None:
        while self._line and self._can_share(connection):
            self._leases[connection] += 1
            self._line.popitem(last=self.patience > 0)[0].serve(connection)

    def _unlease(self, connection: C, now: float, *, reusable: bool) -> None:
        left = self._leases.pop(connection, 0) - 1
        if left < 0:
            raise AssertionError(f"{connection!r} is not leased from {self!r}")
        if left or connection.streams > 1:
            self._unshare(connection, left, reusable=reusable)
            if left:
                return
        if reusable and now < self._lives[connection]:
            self._offer(connection, now)
        else:
            self._discard(connection)
            self._replace(now)

    def _unshare(self, connection: C, left: int, *, reusable: bool) -> None:
        """One exchange less on a connection with several."""
        if not reusable:
            self._lives[connection] = ENDED  # it closes with the last of them
        if left:
            self._leases[connection] = left
        if connection in self._shared and not (left and reusable):
            self._shared.remove(connection)
        elif left and reusable:
            self._share_out(connection)

    def _offer(self, connection: C, now: float) -> None:
        """To the first in line, else to the idle."""
        if self._line and connection.is_stale():
            self._bury(connection, now)
        elif self._line and (connection.streams == 1 or connection.has_room(0)):
            ticket, _ = self._line.popitem(last=self.patience > 0)
            self._lease(connection)
            ticket.serve(connection)
        elif self.closed or (self._keep_alive is not None and not self._keeps(self._keep_alive, connection, now)):
            self._discard(connection)
            self._replace(now)
        elif connection is not self._trial:
            connection.idle_since = now
            self._idle.append(connection)

    def _keeps(self, keep_alive: KeepAlive, connection: C, now: float) -> bool:
        """Whether a connection stays: among the idle, or on trial."""
        idle = self._idle
        if len(idle) < keep_alive.room:
            return True
        if connection.uses:
            others = [each for each in self._lives if each.uses and each is not connection]
            keep_alive.saw(1 + sum(not each.is_gone() for each in others))
        if self._trial is not None and len(idle) < keep_alive.room:
            self._trial.idle_since = now
            idle.append(self._trial)
            self._trial = None
        if len(idle) < keep_alive.room:
            return True
        if self._trial is not None or not keep_alive.may_try(now):
            return False
        self._trial = connection
        self._try(connection, now)
        return True

    def _discard(self, connection: C) -> None:
        del self._lives[connection]
        if connection is self._trial:
            self._trial = None
        if self._keep_alive is not None:
            self._keep_alive.lost(len(self._lives))
        if self.parted is not None:
            self.parted(connection.born)
        connection.close()

    def _bury(self, connection: C, now: float) -> None:
        self._stale += 1
        self._discard(connection)
        self._replace(now)

    def _try(self, connection: C, now: float) -> None:
        connection.idle_since = now
        wait.spawn(self._watch_trial, connection)

    async def _watch_trial(self, connection: C) -> None:
        await wait.sleep_until(connection.idle_since + TRIAL)
        if self._trial is connection:
            self._end_trial(connection, wait.now())

    def _end_trial(self, connection: C, now: float) -> None:
        """The server has answered nobody else meanwhile: perhaps nobody asked."""
        keep_alive = self._keep_alive
        assert keep_alive is not None
        unanswered = any(not each.uses and each.born >= connection.idle_since for each in self._leases)
        if unanswered or self._dialling:
            keep_alive.failed(now)
        self._discard(connection)
        self._replace(now)

    def _replace(self, now: float) -> None:
        """A connection ended: there is room for somebody in line, or the floor is short."""
        raise NotImplementedError
