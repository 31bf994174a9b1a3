"""The known name nearest to one that nobody knows. Bounded, because it runs while somebody waits for a reply."""

from collections.abc import Iterable
from itertools import islice
from typing import Final

LOOKED_AT: Final = 20_000  # names
COMPARED: Final = 64  # of them, those that might be meant
DISTANCE: Final = 2  # slips of the pen


def nearest(name: str, known: Iterable[str]) -> str:
    """The one that is fewest slips away; of equals the shorter, then the first by alphabet. Empty when none is near."""
    letters = set(name)
    candidates = (
        each
        for each in islice(known, LOOKED_AT)
        if abs(len(each) - len(name)) <= DISTANCE and len(letters.symmetric_difference(each)) <= 2 * DISTANCE
    )
    most = min(DISTANCE, max(1, len(name) // 3))  # of a short name two slips leave nothing
    found = ((distance(name, each, most), len(each), each) for each in islice(candidates, COMPARED))
    slips, _length, best = min(found, default=(most + 1, 0, ""))
    return best if slips <= most else ""


def distance(one: str, other: str, most: int) -> int:
    """How many letters must be put in, left out, changed or swapped with their neighbour; `most` + 1 when more."""
    before, last = list[int](), list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        here = [row]
        for column, wanted in enumerate(other, 1):
            best = min(last[column] + 1, here[-1] + 1, last[column - 1] + (letter != wanted))
            if row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == wanted:
                best = min(best, before[column - 2] + 1)
            here.append(best)
        if min(here) > most:
            return most + 1
        before, last = last, here
    return min(last[-1], most + 1)
