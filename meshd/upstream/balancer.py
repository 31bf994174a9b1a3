"""Which endpoint of many: the protocol of every algorithm, the two that need no state of the endpoints, the registry.

An algorithm is told of all endpoints by `update` and picks among those in service by `pick`, so that one endpoint less
is a matter of stepping over it and never of building a table within a request. A candidate tuple that is the same
object as the last time is the same set: what is derived from it is kept.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final, Protocol

from meshd.core.endpoint import Endpoint
from meshd.upstream.draw import Draw
from meshd.upstream.least_request import LeastRequest
from meshd.upstream.maglev import Maglev
from meshd.upstream.members import Members
from meshd.upstream.peak_ewma import PeakEwma
from meshd.upstream.ring_hash import RingHash

MOST_TURNS: Final = 4096  # of one cycle: past it weights are rounded


class Balancer(Protocol):
    """One algorithm with its state, for one cluster in one worker."""

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Candidates will be some of `endpoints` from now on, with the weights they have now."""

    def pick(self, candidates: Sequence[Endpoint], now: float, key: int) -> Endpoint:
        """One of at least one. `key` is a hash of what should stay at one endpoint; most do not look at it."""


class RoundRobin:
    """In turn, by weight, smoothly: the turns of a heavy endpoint are spread over the cycle, never in a row.

    Turn k of an endpoint of weight w belongs at (k + 1/2) / w of the cycle; sorting the turns of all by that place
    gives the cycle. Whoever is not a candidate is stepped over, and its share goes to all the others alike.
    """

    __slots__ = ("_members", "_next", "_random", "_turns")

    def __init__(self, random: Random, _size: int = 0) -> None:
        self._random = random
        self._members = Members()
        self._turns: list[Endpoint] = []
        self._next = 0

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        total = sum(endpoint.weight for endpoint in endpoints)
        scale = min(1.0, MOST_TURNS / total) if total else 1.0
        places = []
        for order, endpoint in enumerate(endpoints):
            turns = max(1, round(endpoint.weight * scale))
            places += [((turn + 0.5) / turns, order, endpoint) for turn in range(turns)]
        places.sort(key=lambda place: place[:2])
        self._turns = [endpoint for _, _, endpoint in places]
        self._next = int(self._random.random() * len(places))  # so that many sidecars do not all begin with the first
        self._members.update(endpoints)

    def pick(self, candidates: Sequence[Endpoint], now: float, key: int) -> Endpoint:
        turns = self._turns
        allowed = self._members.allowed(candidates)
        for _ in range(len(turns)):
            endpoint = turns[self._next]
            self._next += 1
            if self._next == len(turns):
                self._next = 0
            if allowed is None or endpoint in allowed:
                return endpoint
        return candidates[0]


class RandomChoice:
    """Any, by weight."""

    __slots__ = ("_draw",)

    def __init__(self, random: Random, _size: int = 0) -> None:
        self._draw = Draw(random)

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        self._draw.forget()

    def pick(self, candidates: Sequence[Endpoint], now: float, key: int) -> Endpoint:
        return self._draw.one(candidates)


# By the names that DestinationRule uses, and ours. Called with the source of chance and the table's size, 0 = default.
BALANCERS: Final[dict[str, Callable[[Random, int], Balancer]]] = {
    "ROUND_ROBIN": RoundRobin,
    "RANDOM": RandomChoice,
    "LEAST_REQUEST": LeastRequest,
    "PEAK_EWMA": PeakEwma,
    "RING_HASH": RingHash,
    "MAGLEV": Maglev,
}
