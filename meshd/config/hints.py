"""Hints at names that may be meant, as many as one check can afford: each costs a look at every name there is."""

from collections.abc import Collection
from typing import Final

from meshd.config.errors import did_you_mean

MOST_COMPARED: Final = 10_000  # names that one check looks at; after that it only says what is missing


class Hints:
    """Those of one check of all documents."""

    __slots__ = ("_compared",)

    def __init__(self) -> None:
        self._compared = 0

    def nearest(self, given: str, names: Collection[str]) -> str:
        """The nearest name as a question; nothing when none is near, or when too many were asked for."""
        if self._compared >= MOST_COMPARED:
            return ""
        self._compared += len(names)
        return did_you_mean(given, names)

    def __repr__(self) -> str:
        return f"<Hints, {self._compared} of {MOST_COMPARED} names compared>"
