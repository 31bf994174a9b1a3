"""What the workers of a sidecar have counted for their retry budgets, each where the others can read it.

Theory of operation: a budget counts requests and retries in slots of time (`budget.py`). Here each destination has a
row in memory that the processes share, and in it each worker a column that only it writes: the number of its current
slot, and its counts. A budget is asked about the sum of all columns, so that it holds for the sidecar as a whole,
however its connections are spread. Nobody locks or waits: each number is read and written whole, and a column whose
worker has not turned for a while says so by its slot.
Rule 1: the table never grows. A destination that finds no place counts for itself in each worker, as if alone.
Rule 2: a row belongs to a destination for as long as the fleet lives, also while a reload gives its cluster up; whoever
comes back finds its counts. Two workers that claim one place for two destinations at the same moment share the row:
the budgets of both are then one, which errs on either side and is harmless.
"""

from dataclasses import dataclass
from mmap import mmap
from typing import Final, Self

SLOTS: Final = 10  # of the window; retries are kept for one more
COLUMN: Final = 1 + SLOTS + SLOTS + 1  # the current slot, requests, retries
WAYS: Final = 8
SETS: Final = 512


def octets(workers: int, sets: int = SETS) -> int:
    """How much memory a ledger takes; what is not used of it is never touched."""
    return sets * WAYS * (1 + COLUMN * workers) * 8


@dataclass(frozen=True, slots=True)
class Account:
    """One destination's row as one worker sees it."""

    mine: "memoryview[int]"
    others: "tuple[memoryview[int], ...]" = ()


def private() -> Account:
    """Counts that nobody else has a part in."""
    return Account(memoryview(bytearray(COLUMN * 8)).cast("q"))


class Ledger:
    """The table, as one worker sees it."""

    __slots__ = ("_cells", "_memory", "_sets", "_width", "_worker", "_workers")

    def __init__(self, memory: mmap | bytearray, workers: int = 1, *, sets: int = SETS, worker: int = 0) -> None:
        self._memory = memory
        self._cells: memoryview[int] = memoryview(memory)[: octets(workers, sets)].cast("q")
        self._workers = workers
        self._worker = worker
        self._sets = sets
        self._width = 1 + COLUMN * workers

    def of(self, worker: int) -> Self:
        """The same table for another worker, counted from 0."""
        return type(self)(self._memory, self._workers, sets=self._sets, worker=worker)

    def account(self, destination: str, window: float) -> Account:
        """The row of a destination whose budget has this window, or one of its own where there is no place."""
        cells, width = self._cells, self._width
        key = hash((destination, window)) or 1
        start = key % self._sets * WAYS * width
        for row in range(start, start + WAYS * width, width):
            if cells[row] == 0:
                cells[row] = key
            if cells[row] == key:
                columns = [cells[at : at + COLUMN] for at in range(row + 1, row + width, COLUMN)]
                mine = columns.pop(self._worker)
                return Account(mine, tuple(columns))
        return private()

    def __repr__(self) -> str:
        taken = sum(key != 0 for key in self._cells[:: self._width])
        return f"<Ledger {taken} of {self._sets * WAYS}>"
