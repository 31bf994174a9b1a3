"""Chance, for questions: always the same number, so that the same question has the same answer; and what it decides."""

from collections.abc import Callable
from random import Random
from typing import Final, TypeVar

T = TypeVar("T")


class Drawn(Random):  # nothing is drawn at all
    """Draws what it was told to. `share` is of 100; at 100 nothing that happens to a part of requests happens."""

    def __init__(self, share: float = 100.0) -> None:
        super().__init__(0)
        self.share = share

    def random(self) -> float:
        """A number from 0 to below 1."""
        return min(self.share / 100, NEARLY)

    def __repr__(self) -> str:
        return f"<Drawn {self.share:g} of 100>"


NEARLY: Final = 1 - 2**-53  # the greatest number that chance itself could draw
FINEST: Final = 0.001  # of 100: shares are told no finer


def turns(ask: Callable[[float], T], tell: Callable[[T], object]) -> list[tuple[float, T]]:
    """What a draw decides: each answer with the draw, of 100, up to which it holds, the last with 100. Answers are one
    where `tell` says the same of them."""
    found: list[tuple[float, T]] = []
    low, last = 0.0, ask(100.0)
    here = ask(low)
    while tell(here) != tell(last):
        inside, outside = low, 100.0
        while outside - inside > FINEST:
            middle = (inside + outside) / 2
            if tell(ask(middle)) == tell(here):
                inside = middle
            else:
                outside = middle
        found.append((round(outside, 2), here))
        low, here = outside, ask(outside)
    return [*found, (100.0, last)]
