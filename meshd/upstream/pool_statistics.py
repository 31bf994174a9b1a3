"""A pool in numbers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """How many are where."""

    leased: int
    idle: int
    waiting: int
    live: int
    dialling: int
    dialled: int
    failed: int
    stale: int
    overflowed: int
    expired: int
