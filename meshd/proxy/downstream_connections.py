"""All client connections of one worker: how many there may be, and which gives way when there are too many.

Theory of operation: a connection has one of three states that matter here. It is new until its first request head is
here (a handshake under way, or silence), idle between two requests, and busy while it serves one. Rule 1: those that
are new have a bound of their own, half of all, and handshakes under way a smaller one, because each costs memory before
anything is known of the peer; past it the oldest of the network that has most of them gives way. So silent strangers
evict each other, and nobody whose first request comes as fast as it can. Rule 2: past the bound of all, those that are
new give way first, then those idle longest, then those whose client has not taken what we write for a while; who is
served is never cut off. Rule 3: nobody is refused for its address alone, for behind a node, a NAT or an outbound
listener everybody has the same. Rule 4: looking at all of them is not for each connection that comes: one look finds
many that may give way.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from heapq import nsmallest
from typing import Final, Protocol, TypeAlias

from meshd.core.peer_class import network_of

SHARE_NEW: Final = 2  # one in so many may be new
SHARE_SHAKING: Final = 6  # one in so many may be shaking hands
BLOCKED: Final = 1.0  # seconds after which a client that takes nothing may give way
AT_ONCE: Final = 256  # connections that are closed in one look
LOOK_AGAIN: Final = 0.05  # seconds between two looks when the last found nobody
FEWEST: Final = 4


class State(IntEnum):
    """What a connection is for us, in the order in which they give way."""

    NEW = 0
    IDLE = 1
    BLOCKED = 2  # busy, but its client does not take what we write
    BUSY = 3


Standing: TypeAlias = tuple[State, float]  # and since when


class Served(Protocol):
    """A connection that has come as far as HTTP."""

    def standing(self) -> Standing | None:
        """Its state, and since when it is in it; None before the head of its first request."""

    def give_way(self) -> None:
        """End it at once."""


class ClientConnection:
    """One connection, from accept(2) to its end."""

    __slots__ = ("_close", "address", "given_up", "is_shaking", "listener", "network", "served", "since")

    def __init__(self, address: str, listener: str, since: float, close: Callable[[], None]) -> None:
        self.address = address
        self.network = network_of(address)
        self.listener = listener
        self.since = since
        self._close = close  # of its socket, which wakes whoever waits on it
        self.served: Served | None = None
        self.is_shaking = False
        self.given_up = False

    def standing(self) -> Standing:
        """Its state, and since when."""
        found = self.served.standing() if self.served is not None else None
        return found or (State.NEW, self.since)

    def give_way(self) -> None:
        """Close it."""
        self.given_up = True
        if self.served is None:
            self._close()
        else:
            self.served.give_way()


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many there may be."""

    connections: int
    new: int
    shaking: int

    @classmethod
    def of(cls, connections: int) -> "Bounds":
        """The others follow from the first."""
        new = max(FEWEST, connections // SHARE_NEW)
        return cls(connections, new, max(FEWEST, connections // SHARE_SHAKING))


class DownstreamConnections:
    """Those of one worker."""

    __slots__ = ("_bounds", "_gave_way", "_look_at", "_open", "_queue", "shaking", "shed")

    def __init__(self, connections: int, gave_way: Callable[[str, State], None] | None = None) -> None:
        """`gave_way` is told of each that does, by listener and state."""
        self._bounds = Bounds.of(connections)
        self._gave_way = gave_way
        self._open: set[ClientConnection] = set()
        self._queue: deque[ClientConnection] = deque()  # that may give way, as the last look found
        self._look_at = 0.0
        self.shaking = 0
        self.shed = 0  # how many gave way

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, connection: ClientConnection, now: float) -> bool:
        """Whether there is a place for one more; another may have given way for it."""
        if len(self._open) >= self._bounds.connections and not self._shed(now):
            return False
        self._open.add(connection)
        return True

    def leave(self, connection: ClientConnection) -> None:
        """It has ended."""
        self._open.discard(connection)

    def shake(self, connection: ClientConnection) -> None:
        """Its handshake begins; the oldest under way gives way if there are too many."""
        if self.shaking >= self._bounds.shaking:
            under_way = [each for each in self._open if each.is_shaking]
            for each in giving_way(under_way, connection.since, max(1, len(under_way) // 16)):
                self._end(each, State.NEW)
        connection.is_shaking = True
        self.shaking += 1

    def shaken(self, connection: ClientConnection) -> None:
        """The handshake is over, either way."""
        if connection.is_shaking:
            connection.is_shaking = False
            self.shaking -= 1

    def make_room(self, now: float, count: int) -> int:
        """Have so many give way, because descriptors are short; how many did."""
        return sum(self._shed(now) for _ in range(count))

    def limit_new(self, now: float) -> None:
        """Have those that are new give way beyond their bound. Looks at all: not for each connection that comes."""
        if len(self._open) <= self._bounds.new:
            return
        new = [each for each in self._open if not each.given_up and each.standing()[0] is State.NEW]
        for each in giving_way(new, now, min(len(new) - self._bounds.new, AT_ONCE)):
            self._end(each, State.NEW)

    def _shed(self, now: float) -> bool:
        """Have one give way; False when everybody is served."""
        for _ in range(2):
            while self._queue:
                found = self._queue.popleft()
                if found in self._open and not found.given_up and (state := may_give_way(found, now)) is not None:
                    self._end(found, state)
                    return True
            if now < self._look_at:
                return False
            many = max(FEWEST, len(self._open) // 32)
            self._queue.extend(giving_way((each for each in self._open if not each.given_up), now, many))
            if not self._queue:
                self._look_at = now + LOOK_AGAIN
        return False

    def _end(self, connection: ClientConnection, state: State) -> None:
        self.shed += 1
        self._open.discard(connection)
        self.shaken(connection)
        connection.give_way()
        if self._gave_way is not None:
            self._gave_way(connection.listener, state)

    def statistics(self) -> dict[str, int]:
        """How many there are, and may be."""
        return {
            "open": len(self._open),
            "handshakes": self.shaking,
            "limit": self._bounds.connections,
            "shed": self.shed,
        }

    def __repr__(self) -> str:
        return f"<DownstreamConnections {len(self._open)} of {self._bounds.connections}>"


def may_give_way(connection: ClientConnection, now: float) -> State | None:
    """The state of a connection that may be closed for another's sake; None when it may not."""
    state, since = connection.standing()
    if state is State.BUSY or (state is State.BLOCKED and now - since < BLOCKED):
        return None
    return state


def giving_way(connections: Iterable[ClientConnection], now: float, count: int) -> list[ClientConnection]:
    """The first so many to give way: new before idle before blocked; of the new those of the network that has most of
    them; and each the longest first."""
    found: list[tuple[State, float, ClientConnection]] = []
    crowds: Counter[str] = Counter()
    for connection in connections:
        state, since = connection.standing()
        if state is State.BUSY or (state is State.BLOCKED and now - since < BLOCKED):
            continue
        if state is State.NEW:
            crowds[connection.network] += 1
        found.append((state, since, connection))
    order = nsmallest(
        count, found, key=lambda each: (each[0], -crowds[each[2].network] if each[0] is State.NEW else 0, each[1])
    )
    return [connection for _state, _since, connection in order]
