"""Ring hash, ketama's: every endpoint owns points on a ring, a key goes to the owner of the next point.

When an endpoint comes or goes only the keys of its own points move. An endpoint's points are numbered from its name, so
another number of points is a few more or a few less of the same.
"""

from bisect import bisect_left
from collections.abc import Sequence
from hashlib import blake2b
from random import Random
from struct import unpack
from typing import Final

from meshd.core.endpoint import Endpoint
from meshd.upstream.members import Members

RING_SIZE: Final = 1024  # points at least, as DestinationRule's minimumRingSize
POINTS_OF_A_DIGEST: Final = 8
MASK: Final = (1 << 64) - 1


class RingHash:
    """The ring of all endpoints; who is not a candidate is stepped over."""

    __slots__ = ("_members", "_owners", "_points", "_size")

    def __init__(self, _random: Random, size: int = 0) -> None:
        self._size = size or RING_SIZE
        self._members = Members()
        self._points: list[int] = []
        self._owners: list[Endpoint] = []

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Build the ring anew, each endpoint's share of points by its weight."""
        total = sum(max(1, endpoint.weight) for endpoint in endpoints)
        ring = []
        for endpoint in endpoints:
            share = -(-self._size * max(1, endpoint.weight) // total)  # rounded up
            ring += [(point, endpoint.name, endpoint) for point in points_of(endpoint.name, share)]
        ring.sort(key=lambda place: place[:2])
        self._points = [point for point, _, _ in ring]
        self._owners = [endpoint for _, _, endpoint in ring]
        self._members.update(endpoints)

    def pick(self, candidates: Sequence[Endpoint], now: float, key: int) -> Endpoint:
        """The candidate that owns the next point at or after the key's."""
        owners = self._owners
        allowed = self._members.allowed(candidates)
        place = bisect_left(self._points, spread(key))
        for step in range(len(owners)):
            owner = owners[(place + step) % len(owners)]
            if allowed is None or owner in allowed:
                return owner
        return candidates[key % len(candidates)]


def spread(key: int) -> int:
    """A key's place on the ring: the same in every process, whatever patterns keys have."""
    return int.from_bytes(blake2b((key & MASK).to_bytes(8, "big"), digest_size=8).digest(), "big")


def points_of(name: str, count: int) -> list[int]:
    """The first `count` points of an endpoint."""
    points: list[int] = []
    for number in range(-(-count // POINTS_OF_A_DIGEST)):
        points += unpack(">8Q", blake2b(f"{name}#{number}".encode()).digest())
    return points[:count]
