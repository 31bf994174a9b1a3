"""Which endpoint of many: algorithms behind one method.

The power of two choices is linkerd2's `gen_pair`: two distinct indices by drawing the second from one fewer and stepping
over the first. Peak EWMA is linkerd2-proxy's: a latency that jumps up at once and decays over ten seconds, times the load.
"""

from bisect import bisect_left
from collections.abc import Sequence
from hashlib import blake2b
from math import exp
from random import Random
from typing import Final, Protocol

from meshd.core.endpoint import Endpoint

DEFAULT_RTT: Final = 0.03  # seconds assumed of an endpoint that has not answered yet
DECAY: Final = 10.0  # seconds
RING_POINTS: Final = 1024


class Balancer(Protocol):
    """Picks among candidates, of which there is at least one."""

    def pick(self, candidates: Sequence[Endpoint], now: float, key: int) -> Endpoint:
        """`key` is a hash of what should stick to one endpoint; balancers that spread do not look at it."""


class RoundRobin:
    """In turn, by weight, smoothly: nginx's algorithm, which never sends a heavy endpoint its share in a row."""

    __slots__ = ("_credit",)

    def __init__(self, _random: Random) -> None:
        self._credit: dict[int, int] = {}

    def pick(self, candidates: Sequence[Endpoint], now: float, key: int) -> Endpoint:
        if len(self._credit) > 4 * len(candidates) + 16:
            self._credit.clear()  # endpoints that are gone
        total, best = 0, candidates[0]
        top = None
        for endpoint in candidates:
            credit = self._credit[id(endpoint)] = self._credit.get(id(endpoint), 0) + endpoint.weight
            total += endpoint.weight
            if top is None or credit > top:
                top, best = credit, endpoint
        self._credit[id(best)] -= total
        return best


class RandomChoice:
    """Any, by weight."""

    __slots__ = ("_random",)

    def __init__(self, random: Random) -> None:
        self._random = random

    def pick(self, candidates: Sequence[Endpoint], now: float, key: int) -> Endpoint:
        return self._random.choices(candidates, [endpoint.weight for endpoint in candidates])[0]


class LeastRequest:
    """The less loaded of two, where a heavier endpoint counts as less loaded."""

    __slots__ = ("_random",)

    def __init__(self, random: Random) -> None:
        self._random = random

    def pick(self, candidates: Sequence[Endpoint], now: float, key: int) -> Endpoint:
        if len(candidates) == 1:
            return candidates[0]
        one, other = two_of(candidates, self._random)
        return one if (one.active + 1) * other.weight <= (other.active + 1) * one.weight else other


class PeakEwma:
    """The one of two that promises the earlier answer: latency times what is in progress there."""

    __slots__ = ("_random",)

    def __init__(self, random: Random) -> None:
        self._random = random

    def pick(self, candidates: Sequence[Endpoint], now: float, key: int) -> Endpoint:
        if len(candidates) == 1:
            return candidates[0]
        one, other = two_of(candidates, self._random)
        return one if cost(one, now) <= cost(other, now) else other


class RingHash:
    """Ketama: each endpoint owns points on a ring, a key goes to the next point. Few keys move when endpoints change."""

    __slots__ = ("_members", "_owners", "_points", "_random")

    def __init__(self, random: Random) -> None:
        self._random = random
        self._members: tuple[str, ...] = ()
        self._points: list[int] = []
        self._owners: list[str] = []

    def pick(self, candidates: Sequence[Endpoint], now: float, key: int) -> Endpoint:
        by_name = {endpoint.name: endpoint for endpoint in candidates}
        members = tuple(sorted(by_name))
        if members != self._members:
            self._build(members, by_name)
        place = bisect_left(self._points, spread(key.to_bytes(8, "big", signed=True))) % len(self._points)
        return by_name[self._owners[place]]

    def _build(self, members: tuple[str, ...], by_name: dict[str, Endpoint]) -> None:
        total = sum(by_name[name].weight for name in members)
        ring = []
        for name in members:
            share = max(1, round(RING_POINTS * by_name[name].weight / total))
            ring += [(spread(f"{name}#{point}".encode()), name) for point in range(share)]
        ring.sort()
        self._members = members
        self._points = [point for point, _ in ring]
        self._owners = [name for _, name in ring]


def two_of(candidates: Sequence[Endpoint], random: Random) -> tuple[Endpoint, Endpoint]:
    """Two different ones, every pair as likely; an endpoint is drawn in proportion to nothing but chance."""
    count = len(candidates)
    first = int(random.random() * count)
    second = int(random.random() * (count - 1))
    if second >= first:
        second += 1
    return candidates[first], candidates[second]


def cost(endpoint: Endpoint, now: float) -> float:
    """Expected seconds until an answer, by weight."""
    latency = endpoint.ewma * exp((endpoint.ewma_at - now) / DECAY) if endpoint.ewma_at else DEFAULT_RTT
    return (latency + 1e-6) * (endpoint.active + 1) / endpoint.weight


def observe_latency(endpoint: Endpoint, seconds: float, now: float) -> None:
    """A peak is believed at once, a lower latency slowly."""
    if not endpoint.ewma_at or seconds > endpoint.ewma:
        endpoint.ewma = seconds
    else:
        kept = exp((endpoint.ewma_at - now) / DECAY)
        endpoint.ewma = endpoint.ewma * kept + seconds * (1 - kept)
    endpoint.ewma_at = now


def spread(data: bytes) -> int:
    """A 64-bit hash that is the same in every process."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


BALANCERS: Final = {
    "ROUND_ROBIN": RoundRobin,
    "RANDOM": RandomChoice,
    "LEAST_REQUEST": LeastRequest,
    "PEAK_EWMA": PeakEwma,
    "RING_HASH": RingHash,
}
