"""Token buckets in a table of fixed size, which all workers of a sidecar may share.

Theory of operation: a bucket is one number, the moment at which it will be full again (the "theoretical arrival time"
of the generic cell rate algorithm): taking a token moves that moment by the time one token takes to grow, and there is
room while it is less than a whole bucket away. So a bucket that is full says nothing, needs no upkeep and may be
forgotten. A row of the table holds a hash of the bucket's key, a beginning, and for each worker the seconds that its
own takings have added; beginning and additions together are that moment.

Rule 1: the table never grows. A key has `WAYS` rows; when all are taken, the bucket that is nearest to full gives way,
for forgetting it forgives the least. Whoever sends ever new keys displaces nobody who owes more than they do.
Rule 2: the table may lie in memory that several processes share, so a limit holds for the sidecar as a whole however
its connections are spread, and nobody locks or waits. Each number is read and written whole. What a worker adds only it
writes, so no taking is lost. The beginning is moved, by anybody, only when the bucket is full, and two who move it at
once write the same but for the time between them. What is left: workers that look at the last token at the same moment
may each take it, and the bucket owes what they took too much; and where two find a key to be new at the same moment,
one's first taking may be forgotten.
Rule 3: keys of callers are found by Python's own keyed hash, whose secret all processes of one fleet inherit, so nobody
outside can aim at another's bucket.
"""

from dataclasses import dataclass
from mmap import mmap
from typing import Final, Self

WAYS: Final = 8
SETS: Final = 2048
SLACK: Final = 1e-6  # seconds: what the rounding of moments may amount to


def octets(workers: int, sets: int = SETS) -> int:
    """How much memory a table takes."""
    return sets * WAYS * (2 + workers) * 8


OCTETS: Final = octets(1)


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a bucket grows, and how much it holds."""

    interval: float  # seconds a token takes to grow
    burst: int  # tokens of a full bucket

    def shortage(self, full_at: float, now: float) -> float:
        """Seconds until there is room for one more; not above 0 when there is room now."""
        return full_at - now - (self.burst - 1) * self.interval - SLACK


class Buckets:
    """The table, as one worker sees it. Two views of the same memory: as whole numbers for keys, as seconds else."""

    __slots__ = ("_keys", "_memory", "_mine", "_seconds", "_sets", "_width")

    def __init__(self, memory: mmap | bytearray, workers: int = 1, *, sets: int = SETS, worker: int = 0) -> None:
        whole = memoryview(memory)[: octets(workers, sets)]
        self._memory = memory
        self._keys = whole.cast("q")
        self._seconds = whole.cast("d")
        self._sets = sets
        self._width = 2 + workers
        self._mine = 2 + worker

    def of(self, worker: int) -> Self:
        """The same table for another worker, counted from 0."""
        return type(self)(self._memory, self._width - 2, sets=self._sets, worker=worker)

    def take(self, key: int, rate: Rate, now: float) -> float:
        """Take one token for a key. Returns 0, or the seconds until there will be one."""
        row, seconds = self._row(key, now), self._seconds
        full_at = self._full_at(row)
        if full_at < now:  # that it was full for a while counts for nothing
            seconds[row + 1] += now - full_at
            full_at = now
        shortage = rate.shortage(full_at, now)
        if shortage > 0:
            return shortage
        seconds[row + self._mine] += rate.interval
        return 0.0

    def give_back(self, key: int, rate: Rate, now: float) -> None:
        """Return a token that was taken, but not used."""
        self._seconds[self._row(key, now) + self._mine] -= rate.interval

    def _full_at(self, row: int) -> float:
        """When the bucket of a row will be full."""
        return sum(self._seconds[row + 1 : row + self._width])

    def _row(self, key: int, now: float) -> int:
        """Where a key stands; one that is not there is put in the place of the one nearest to full."""
        keys, width = self._keys, self._width
        start = key % self._sets * WAYS * width
        rows = range(start, start + WAYS * width, width)
        for row in rows:
            if keys[row] == key:
                return row
        nearest = min(rows, key=self._full_at)
        self._seconds[nearest + 1] += now - self._full_at(nearest)
        keys[nearest] = key
        return nearest

    def __repr__(self) -> str:
        taken = sum(key != 0 for key in self._keys[:: self._width])
        return f"<Buckets {taken} of {self._sets * WAYS}>"


def bucket_key(owner: str, caller: bytes) -> int:
    """A key of the table: never 0, which is an empty place. 64 bits, so that keys do not meet by chance."""
    return hash((owner, caller)) or 1
