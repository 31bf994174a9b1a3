"""Chance, for questions: always the same number, so that the same question has the same answer."""

from random import Random


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


NEARLY = 1 - 2**-53  # the greatest number that chance itself could draw
