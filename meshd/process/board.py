"""What every process of a fleet shows to the others: one page of shared memory, made before the first fork.

Theory of operation: each process has a row that only it and the supervisor write; everybody reads. A heartbeat is one
store instead of a message, so it costs nothing, cannot be dropped, and shows a stopped process just by standing still.
Every field is one aligned 8-byte float, so a reader never sees half a value. The bell (an eventfd) wakes the supervisor
when a row changed in a way it waits for.
"""

import mmap
import os
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from meshd.filters.buckets import Buckets, octets
from meshd.upstream import ledger
from meshd.upstream.ledger import Ledger

FIELDS: Final = 10
ASKED: Final = 1
ANSWERED: Final = 2
UNRESPONSIVE: Final = 3.0  # seconds without a heartbeat after which health says so


class Phase(IntEnum):
    """Where a process stands."""

    ABSENT = 0
    STARTING = 1
    READY = 2
    DRAINING = 3


@dataclass(frozen=True, slots=True)
class Status:
    """One row as it was at a moment."""

    pid: int
    phase: Phase
    generation: int
    heartbeat: float  # monotonic seconds
    started: float  # monotonic seconds
    restarts: int
    log_dropped: int = 0  # lines of all who had this row
    log_coalesced: int = 0
    question: int = 0  # of the watchdog: ASKED, or ANSWERED
    is_compiling: bool = False

    def is_responsive(self, now: float) -> bool:
        """Whether it showed life lately."""
        return self.phase is not Phase.ABSENT and now - self.heartbeat < UNRESPONSIVE


class Row:
    """One process's line on the board."""

    __slots__ = ("_bell", "_cells", "_log_counts")

    def __init__(self, cells: "memoryview[float]", bell: int) -> None:
        self._cells = cells
        self._bell = bell
        self._log_counts = (0, 0)

    def begin(self, now: float, restarts: int) -> None:
        """The supervisor is about to start it."""
        self._cells[0] = 0.0
        self._cells[1] = float(Phase.STARTING)
        self._cells[3] = self._cells[4] = now
        self._cells[5] = float(restarts)
        self._cells[8] = self._cells[9] = 0.0

    def end(self) -> None:
        """It is gone."""
        self._cells[1] = float(Phase.ABSENT)

    def show(self, phase: Phase, pid: int) -> None:
        """The process itself says where it stands; the supervisor is woken."""
        self._cells[0] = float(pid)
        self._cells[1] = float(phase)
        self.ring()

    def ring(self) -> None:
        """Wake the supervisor."""
        os.eventfd_write(self._bell, 1)

    def beat(self, now: float, generation: int) -> None:
        """I am alive, and this is the generation I serve."""
        self._cells[2] = float(generation)
        self._cells[3] = now

    def pulse(self, now: float) -> None:
        """I am alive, and compiling."""
        self._cells[3] = now
        self._cells[9] = 1.0

    def compiled(self) -> None:
        """I am done with it."""
        self._cells[9] = 0.0

    def add_log_counts(self, counts: tuple[int, int]) -> None:
        """How many log lines this process has dropped and coalesced so far; those of its predecessors stay counted."""
        dropped, coalesced = self._log_counts
        self._cells[6] += counts[0] - dropped
        self._cells[7] += counts[1] - coalesced
        self._log_counts = counts

    def ask(self) -> None:
        """The supervisor wants to know why it does not answer."""
        self._cells[8] = float(ASKED)

    @property
    def is_asked(self) -> bool:
        """Whether the supervisor does, and has no answer yet."""
        return self._cells[8] == ASKED

    def answered(self) -> None:
        """It has said what there is to say."""
        self._cells[8] = float(ANSWERED)
        self.ring()

    def status(self) -> Status:
        """A copy."""
        pid, phase, generation, heartbeat, started, *counts = self._cells
        restarts, dropped, coalesced, question, compiling = map(int, counts)
        found = Status(int(pid), Phase(int(phase)), int(generation), heartbeat, started, restarts)
        return replace(
            found, log_dropped=dropped, log_coalesced=coalesced, question=question, is_compiling=bool(compiling)
        )

    def __repr__(self) -> str:
        status = self.status()
        return f"<Row {status.pid} {status.phase.name.lower()} generation {status.generation}>"


class Board:
    """The rows of one fleet: the controller's first, then one a worker slot; and whether the sidecar is ending. Beside
    them, in memory of their own, the token buckets that workers draw from together, and what they count for their
    retry budgets."""

    __slots__ = ("_cells", "bell", "buckets", "ledger", "rows")

    def __init__(self, workers: int) -> None:
        size = (workers + 2) * FIELDS * 8
        cells = memoryview(mmap.mmap(-1, size)).cast("d")
        self._cells = cells
        self.buckets = Buckets(mmap.mmap(-1, octets(workers)), workers)
        self.ledger = Ledger(mmap.mmap(-1, ledger.octets(workers)), workers)
        self.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.rows = [Row(cells[start : start + FIELDS], self.bell) for start in range(FIELDS, len(cells), FIELDS)]

    @property
    def controller(self) -> Row:
        """The controller's row."""
        return self.rows[0]

    @property
    def workers(self) -> list[Row]:
        """The workers' rows, by slot."""
        return self.rows[1:]

    @property
    def drain_deadline(self) -> float:
        """Until when exchanges may end, monotonic; 0 while nobody asked the fleet to end."""
        return self._cells[0]

    @drain_deadline.setter
    def drain_deadline(self, deadline: float) -> None:
        self._cells[0] = deadline

    @property
    def is_replaced(self) -> bool:
        """Whether another fleet serves meanwhile, so that nobody waits for the end of this one."""
        return bool(self._cells[4])

    @is_replaced.setter
    def is_replaced(self, replaced: bool) -> None:
        self._cells[4] = float(replaced)

    @property
    def log_counts(self) -> tuple[int, int]:
        """Log lines that the supervisor dropped, and coalesced."""
        return int(self._cells[1]), int(self._cells[2])

    @log_counts.setter
    def log_counts(self, counts: tuple[int, int]) -> None:
        self._cells[1], self._cells[2] = map(float, counts)

    @property
    def kept_generation(self) -> int:
        """The newest generation that the supervisor holds for processes that start."""
        return int(self._cells[3])

    @kept_generation.setter
    def kept_generation(self, generation: int) -> None:
        self._cells[3] = float(generation)

    @property
    def is_ready(self) -> bool:
        """Every worker serves, and nobody asked the fleet to end."""
        return not self.drain_deadline and all(row.status().phase is Phase.READY for row in self.workers)

    def is_serving(self, now: float) -> bool:
        """At least one worker serves and shows life, and nobody asked the fleet to end: readiness after the start."""
        statuses = [row.status() for row in self.workers]
        return not self.drain_deadline and any(
            status.phase is Phase.READY and status.is_responsive(now) for status in statuses
        )

    def heard(self) -> None:
        """Silence the bell."""
        try:
            os.eventfd_read(self.bell)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Give the bell back; the page goes with its last reader."""
        os.close(self.bell)

    def __repr__(self) -> str:
        return f"<Board {len(self.rows) - 1} workers{' ready' if self.is_ready else ''}>"
