"""Rate limits, replayed: which of the recorded requests would have found room, by the times at which they came.

Theory of operation: for each bucket there are two, one that owes the least that is possible and one that owes the most,
and both are charged by the arithmetic of those that serve (`filters/buckets.py`). A request passes for certain where
even the second has room, is limited for certain where not even the first has any, and else nobody can tell.
Rule 1: times are known to the millisecond, so requests of one millisecond may have come in any order; where several
workers share the buckets, so may those of `RACE`. Rule 2: a bucket of a rule that was in force when the log begins may
have been anything from full to empty; one of a rule that is new begins full. Rule 3: what is taken for granted: the log
is one sidecar's and whole, the same requests come whatever becomes of them, and no bucket was displaced by too many.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final, Generic, TypeAlias, TypeVar

from meshd.explain.certainty import Maybe
from meshd.filters.buckets import SLACK
from meshd.filters.rate_limit import Limit

GRAIN: Final = 0.001  # seconds: times of a log are cut to it
MARGIN: Final = SLACK / 2  # what the rounding of times of day amounts to
RACE: Final = 0.005  # seconds in which one worker may not know what another has taken

T = TypeVar("T")
Key: TypeAlias = tuple[str, bytes]  # whose bucket: the rule, and who shares it
Room: TypeAlias = tuple[Maybe, str]  # whether it passes, and the rule that decides


@dataclass(frozen=True, slots=True)
class Draw:
    """One rule that takes a request, for certain or not."""

    limit: Limit
    key: Key
    certain: bool


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """A request at its time (seconds) and the rules that take it, in their order. `arrives`: nothing before them ends
    it, for certain."""

    at: float
    draws: tuple[Draw, ...]
    arrives: bool
    of: T


class _Bounds:
    """When a bucket will be full again, at the earliest and at the latest; and when requests draw from it."""

    __slots__ = ("_charged", "_come", "_counted", "early", "late", "times")

    def __init__(self, early: float, late: float) -> None:
        self.early = early
        self.late = late
        self.times: deque[float] = deque()  # of all that may draw from it, in order; those long over are dropped
        self._counted = late  # the latest, were only those tokens taken that are counted in `early`
        self._come = 0  # of these, how many were looked at
        self._charged: deque[float] = deque()  # the last that took a token for certain

    def room(self, draw: Draw, now: float, near: float) -> Maybe:
        """Whether it has room at `now`, or within the grain after it, in whichever order those near to it came."""
        while self.times[0] < now - near:
            self.times.popleft()
            self._come -= 1
        while self._charged and self._charged[0] < now - near:
            self._charged.popleft()
        self._come += 1
        to_come = sum(1 for _ in takewhile(lambda time: time <= now + near, self.times)) - self._come
        interval, shortage = draw.limit.rate.interval, draw.limit.rate.shortage
        if shortage(max(self.late - now, 0.0) + to_come * interval, 0.0) < -MARGIN:
            return True
        least = max(self.early - now - GRAIN - len(self._charged) * interval, 0.0)
        return False if draw.certain and shortage(least, 0.0) > MARGIN else None

    def has_place(self, draw: Draw, now: float) -> bool:
        """Whether, of those that came so far and this one, one more than was counted has found room, whichever it was:
        were it none of the others, there would be room for this one."""
        return draw.limit.rate.shortage(max(self._counted - now, 0.0), 0.0) < -MARGIN

    def charge(self, draw: Draw, now: float, *, certain: bool, before: bool = False) -> None:
        """A token was taken, for certain or not; `before`: if not now, then by one that came before."""
        rate, latest = draw.limit.rate, now + GRAIN
        if certain:
            self.early = (self.early if before else max(self.early, now)) + rate.interval
            self._counted = max(self._counted, latest) + rate.interval
            self._charged.append(now)
        self.late = min(max(self.late, latest) + rate.interval, latest + rate.interval * rate.burst)

    def __repr__(self) -> str:
        return f"<Bounds full from {self.early} to {self.late}>"


def replay(requests: Iterable[Request[T]], *, since: frozenset[str] | None, workers: int) -> Iterator[tuple[T, Room]]:
    """Each request, in the order of time, and whether it passes. `since`: the owners of rules that were in force
    before; None for all."""
    ordered = sorted(requests, key=lambda each: each.at)
    near = GRAIN / 2 if workers == 1 else RACE
    buckets: dict[Key, _Bounds] = {}
    for each in ordered:
        for draw in each.draws:
            bounds = buckets.get(draw.key)
            if bounds is None:
                full = draw.limit.rate.interval * draw.limit.rate.burst
                known = since is not None and draw.limit.owner not in since
                bounds = buckets[draw.key] = _Bounds(each.at, each.at if known else each.at + full)
            bounds.times.append(each.at)
    for each in ordered:
        yield each.of, _take(each, [buckets[draw.key] for draw in each.draws], near)


def _take(request: Request[T], buckets: Sequence[_Bounds], near: float) -> Room:
    """Charge every bucket for one request."""
    drawn = [
        (draw, bounds, bounds.room(draw, request.at, near)) for draw, bounds in zip(request.draws, buckets, strict=True)
    ]
    for draw, _, room in drawn:
        if room is False:
            return False, draw.limit.name
    doubt = next((draw.limit.name for draw, _, room in drawn if room is None), "")
    for draw, bounds, _ in drawn:
        # Rule 1 leaves open which of several found room, but not how many, where nothing else has a say.
        counted = not doubt or (len(drawn) == 1 and bounds.has_place(draw, request.at))
        certain = counted and request.arrives and draw.certain
        bounds.charge(draw, request.at, certain=certain, before=bool(doubt))
    return None if doubt else True, doubt
