"""Drawing endpoints by weight, one or two different ones.

Two different ones are drawn as linkerd2's `gen_pair` does it: the second from what the first left, stepping over the
first, so that there is no drawing again. With weights the first leaves a gap as wide as its weight; without, of one.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from random import Random

from meshd.core.endpoint import Endpoint


class Draw:
    """Chance over one candidate tuple at a time; its running weights are kept while it is the same object."""

    __slots__ = ("_ends", "_random", "_seen")

    def __init__(self, random: Random) -> None:
        self._random = random
        self._seen: Sequence[Endpoint] | None = None
        self._ends: list[int] | None = None  # running sums of the weights; None when all weigh the same

    def forget(self) -> None:
        """Weights may have changed."""
        self._seen = None

    def one(self, candidates: Sequence[Endpoint]) -> Endpoint:
        """One, by weight."""
        if candidates is not self._seen:
            self._look_at(candidates)
        ends = self._ends
        if ends is None:
            return candidates[int(self._random.random() * len(candidates))]
        return candidates[bisect_right(ends, int(self._random.random() * ends[-1]))]

    def two(self, candidates: Sequence[Endpoint]) -> tuple[Endpoint, Endpoint]:
        """Two different ones of at least two, each by weight."""
        if candidates is not self._seen:
            self._look_at(candidates)
        random, ends = self._random.random, self._ends
        if ends is None:
            count = len(candidates)
            first = int(random() * count)
            second = int(random() * (count - 1))
            if second >= first:
                second += 1
            return candidates[first], candidates[second]
        first = bisect_right(ends, int(random() * ends[-1]))
        begin = ends[first - 1] if first else 0
        weight = ends[first] - begin
        point = int(random() * (ends[-1] - weight))
        if point >= begin:
            point += weight
        return candidates[first], candidates[bisect_right(ends, point)]

    def _look_at(self, candidates: Sequence[Endpoint]) -> None:
        self._seen = candidates
        weights = [max(1, endpoint.weight) for endpoint in candidates]
        self._ends = None if min(weights) == max(weights) else list(accumulate(weights))
