"""Maglev: a table of prime size in which every endpoint has its share of slots; a key is one slot, found at once.

Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016), section 3.4: endpoints take
slots in turn, each in an order of its own, until none is free. Evener than a ring; when endpoints change, a few keys of
others move as well. Weights as in Envoy: an endpoint takes its turn in proportion to the heaviest one.
"""

from array import array
from collections.abc import Sequence
from hashlib import blake2b
from random import Random
from typing import Final

from meshd.core.endpoint import Endpoint
from meshd.upstream.members import Members
from meshd.upstream.ring_hash import spread

TABLE_SIZE: Final = 65537


class Maglev:
    """The table of all endpoints; a slot of one that is no candidate passes to the owner of the next slot that is."""

    __slots__ = ("_endpoints", "_members", "_size", "_slots")

    def __init__(self, _random: Random, size: int = 0) -> None:
        self._size = size or TABLE_SIZE
        self._endpoints: tuple[Endpoint, ...] = ()
        self._members = Members()
        self._slots = array("I")

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Fill the table anew. The order of names decides, not the order they come in."""
        self._endpoints = tuple(sorted(endpoints, key=lambda endpoint: endpoint.name))
        self._slots = fill_table(self._endpoints, self._size) if endpoints else array("I")
        self._members.update(endpoints)

    def pick(self, candidates: Sequence[Endpoint], now: float, key: int) -> Endpoint:
        """The candidate of the key's slot, or of the next slot that has one."""
        slots, endpoints, size = self._slots, self._endpoints, len(self._slots)
        allowed = self._members.allowed(candidates)
        first = spread(key) % size if size else 0
        for step in range(size):
            owner = endpoints[slots[(first + step) % size]]
            if allowed is None or owner in allowed:
                return owner
        return candidates[key % len(candidates)]


def fill_table(endpoints: Sequence[Endpoint], size: int) -> "array[int]":
    """The owner of each slot, as an index into `endpoints`. The search for free slots is what it costs: tens of ms."""
    slots = array("I", [0]) * size
    taken = bytearray(size)
    weights = [max(1, endpoint.weight) for endpoint in endpoints]
    heaviest = max(weights)
    credit = [0] * len(weights)
    orders = [_order(endpoint.name, size) for endpoint in endpoints]
    places = [offset for offset, _ in orders]
    left = size
    while True:
        for number, (_, skip) in enumerate(orders):
            credit[number] += weights[number]
            if credit[number] < heaviest:
                continue
            credit[number] -= heaviest
            place = places[number]
            while taken[place]:
                place += skip
                if place >= size:
                    place -= size
            taken[place] = 1
            slots[place] = number
            places[number] = place
            left -= 1
            if not left:
                return slots


def _order(name: str, size: int) -> tuple[int, int]:
    """Where an endpoint begins and how it goes on; any step reaches every slot, because the size is a prime."""
    digest = blake2b(name.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "big") % size, int.from_bytes(digest[8:], "big") % (size - 1) + 1
