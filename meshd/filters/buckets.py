"""Token buckets in a table of fixed size, which all workers of a sidecar may share.

Theory of operation: a bucket is one number, the moment at which it will be full again (the "theoretical arrival time"
of the generic cell rate algorithm): taking a token moves that moment by the time one token takes to grow, and there is
room while it is less than a whole bucket away. So a bucket that is full says nothing, needs no upkeep and may be
forgotten, and a row of 16 octets holds one: a hash of its key, and that moment.

Rule 1: the table never grows. A key has `WAYS` places; when all are taken, the bucket that is nearest to full gives
way, for forgetting it forgives the least. Whoever sends ever new keys displaces nobody who owes more than they do.
Rule 2: the table may lie in memory that several processes share, so a limit holds for the sidecar as a whole however
its connections are spread. Each number is read and written whole, but nobody locks: of two workers that decide within
the same microsecond one may count for both. That is the price of never waiting for another process.
Rule 3: keys of callers are found by Python's own keyed hash, whose secret all processes of one fleet inherit, so nobody
outside can aim at another's bucket.
"""

from dataclasses import dataclass
from mmap import mmap
from typing import Final

WAYS: Final = 8
SETS: Final = 2048
OCTETS: Final = SETS * WAYS * 16
SLACK: Final = 1e-6  # seconds: what the rounding of moments may amount to


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a bucket grows, and how much it holds."""

    interval: float  # seconds a token takes to grow
    burst: int  # tokens of a full bucket

    def shortage(self, full_at: float, now: float) -> float:
        """Seconds until there is room for one more; not above 0 when there is room now."""
        return full_at - now - (self.burst - 1) * self.interval - SLACK


class Buckets:
    """The table. Two views of the same memory: hashes at even places, moments at odd ones."""

    __slots__ = ("_full_at", "_keys", "_sets")

    def __init__(self, memory: mmap | bytearray, sets: int = SETS) -> None:
        whole = memoryview(memory)[: sets * WAYS * 16]
        self._keys = whole.cast("q")
        self._full_at = whole.cast("d")
        self._sets = sets

    def take(self, key: int, rate: Rate, now: float) -> float:
        """Take one token for a key. Returns 0, or the seconds until there will be one."""
        place = self._place(key, now)
        full_at = max(self._full_at[place], now)
        shortage = rate.shortage(full_at, now)
        if shortage > 0:
            return shortage
        self._full_at[place] = full_at + rate.interval
        return 0.0

    def give_back(self, key: int, rate: Rate, now: float) -> None:
        """Return a token that was taken, but not used."""
        self._full_at[self._place(key, now)] -= rate.interval

    def _place(self, key: int, now: float) -> int:
        """Where the moment of a key stands; one that is not there is put in the place of the one nearest to full."""
        keys, full_at = self._keys, self._full_at
        start = key % self._sets * WAYS * 2
        for place in range(start, start + WAYS * 2, 2):
            if keys[place] == key:
                return place + 1
        nearest = min(range(start + 1, start + WAYS * 2, 2), key=full_at.__getitem__)
        keys[nearest - 1] = key
        full_at[nearest] = now
        return nearest

    def __repr__(self) -> str:
        taken = sum(key != 0 for key in self._keys[::2])
        return f"<Buckets {taken} of {self._sets * WAYS}>"


def bucket_key(owner: str, caller: bytes) -> int:
    """A key of the table: never 0, which is an empty place. 64 bits, so that keys do not meet by chance."""
    return hash((owner, caller)) or 1
