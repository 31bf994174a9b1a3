"""Where in its file each value of a document stands: a tree beside the data."""

import marshal
from typing import NamedTuple, TypeAlias

from meshd.config.errors import Path


class Spot(NamedTuple):
    """Where a value stands, and the key before it. Lines and columns count from 1."""

    line: int
    column: int
    key_line: int
    key_column: int
    children: "dict[str | int, Spot] | None" = None

    def find(self, path: Path) -> "Spot":
        """The spot of the longest known start of a path."""
        spot = self
        for step in path:
            child = spot.children.get(step) if spot.children else None
            if child is None:
                break
            spot = child
        return spot

    def pack(self) -> bytes:
        """A short form for another process of the same interpreter."""
        return marshal.dumps(_plain(self))

    @staticmethod
    def unpack(packed: bytes) -> "Spot":
        """What was packed. Only for octets that `pack` made."""
        return _spot(marshal.loads(packed))  # noqa: S302  # our own octets, from our own controller


_Plain: TypeAlias = "tuple[int, int, int, int, dict[str | int, _Plain] | None]"


def _plain(spot: Spot) -> _Plain:
    children = {step: _plain(child) for step, child in spot.children.items()} if spot.children is not None else None
    return (spot.line, spot.column, spot.key_line, spot.key_column, children)


def _spot(plain: _Plain) -> Spot:
    children = {step: _spot(child) for step, child in plain[4].items()} if plain[4] is not None else None
    return Spot(*plain[:4], children)
