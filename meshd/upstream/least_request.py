"""Least request by the power of two choices: the one of two with less under way for its weight."""

from collections.abc import Sequence
from random import Random

from meshd.core.endpoint import Endpoint
from meshd.upstream.draw import Draw


class LeastRequest:
    """Two are drawn by weight and compared by what is under way per weight; when that is equal, the first drawn wins,
    so that an idle cluster spreads by weight too."""

    __slots__ = ("_draw",)

    def __init__(self, random: Random, _size: int = 0) -> None:
        self._draw = Draw(random)

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Weights may have changed."""
        self._draw.forget()

    def pick(self, candidates: Sequence[Endpoint], now: float, key: int) -> Endpoint:
        """The less loaded of two."""
        if len(candidates) == 1:
            return candidates[0]
        one, other = self._draw.two(candidates)
        return one if one.active * other.weight <= other.active * one.weight else other
