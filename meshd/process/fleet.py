"""The processes that serve one bootstrap: a controller and a worker a slot. Starts, watches, restarts and ends them.

Theory of operation: nothing here waits and nothing reads a clock. The supervisor calls `tick(now)` whenever something
may have changed, tells it which processes ended, and asks `deadline` when to look again. Forking and killing are given,
so that every rule below can be tested without a process.

Rule 1: a child that ends is started again, with backoff; its listening sockets and its channel stayed open meanwhile.
Rule 2: a child whose heartbeat stands still is asked what it is doing (`stall.py`) and killed, and then rule 1 holds.
Rule 3: a fleet that cannot become ready gives up, so that a broken start ends and a broken reload leaves the old fleet.
Rule 4: at the end workers go first and the controller last, because it receives what they still have to report.
"""

import logging
import signal
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, Protocol

from meshd.process.announce import described
from meshd.process.backoff import Backoff
from meshd.process.board import ANSWERED, Board, Row
from meshd.process.channel import pair
from meshd.process.child import cause
from meshd.process.delta import Gathering
from meshd.process.listeners import ADMIN, Listeners
from meshd.process.stall import GRACE, QUESTION, Stall
from meshd.process.start import Accepted, ControllerStart, WorkerStart

HANG: Final = 10.0  # seconds without a heartbeat after which a process is killed
NAP: Final = 3.0  # seconds between two looks after which we were stopped ourselves, and blame nobody for a while
TICK: Final = 1.0
GIVE_UP: Final = 5  # ends of one child before the fleet was ready
HARD_STOP: Final = 0.5  # seconds past the drain deadline after which workers are killed
LAST_WORDS: Final = 0.9  # seconds past it, or past the last worker, after which the controller is killed

log = logging.getLogger(__name__)


class Kernel(Protocol):
    """What a fleet needs done outside."""

    def fork(self, role: str, body: Callable[[], int], keep: frozenset[int]) -> int:
        """Run `body` in a child that has let go of every descriptor of the supervisor's but those to keep."""

    def kill(self, pid: int, number: int) -> None:
        """Send a signal to a child of ours that has not been waited for."""


class Roles(Protocol):
    """What the children do; each returns its exit code."""

    def work(self, start: WorkerStart) -> int:
        """Serve traffic until told to drain."""

    def control(self, start: ControllerStart) -> int:
        """Watch documents, receive telemetry, serve the admin page until told to stop."""


class Stage(Enum):
    """How far a fleet is."""

    STARTING = auto()
    SERVING = auto()
    DRAINING = auto()  # workers are leaving
    STOPPING = auto()  # only the controller is left
    GONE = auto()
    FAILED = auto()  # it never became ready, and was ended


class Child:
    """One place in the fleet and the process in it, if there is one."""

    __slots__ = ("backoff", "body", "due", "ends", "is_killed", "keep", "pid", "role", "row", "stall", "started")

    def __init__(self, role: str, row: Row, body: Callable[[], int], keep: Callable[[], frozenset[int]]) -> None:
        self.role = role
        self.row = row
        self.body = body
        self.keep = keep
        self.backoff = Backoff()
        self.pid = 0
        self.started = 0.0
        self.due = 0.0  # when it is to be started; infinite for never again
        self.ends = 0
        self.is_killed = False  # by us, and not yet waited for
        self.stall = Stall()

    def __repr__(self) -> str:
        return f"<Child {self.role} {self.pid or 'not running'}>"


class Fleet:
    """One bootstrap's processes. `accepted` is the newest set of documents that passed every check."""

    def __init__(self, accepted: Accepted, listeners: Listeners, roles: Roles, kernel: Kernel) -> None:
        self.accepted = accepted
        self.listeners = listeners
        self.stage = Stage.STARTING
        self.cut = 0  # processes that did not leave in time when asked to
        self._kernel = kernel
        self._roles = roles
        self._looked: float | None = None
        self._lenient_until = 0.0
        self._stop_by = 0.0
        slots = accepted.workers
        self.board = Board(slots)
        self.board.kept_generation = accepted.generation
        self.gathering = Gathering()
        self.channels = [pair() for _ in range(slots)]  # the worker's end first
        self.control = pair()  # the supervisor's end first
        controller = Child("controller", self.board.controller, self._control, self._controller_keeps)
        self.controller = controller
        self.workers = [self._worker(slot) for slot in range(slots)]
        self.children = [*self.workers, controller]  # workers first: readiness waits for them

    @property
    def is_over(self) -> bool:
        """Nothing of it is left."""
        return self.stage in (Stage.GONE, Stage.FAILED) and not any(child.pid for child in self.children)

    def deadline(self) -> float:
        """When to look again at the latest."""
        due = [child.due for child in self.children if not child.pid]
        due += [child.stall.asked + GRACE for child in self.children if child.pid and child.stall.asked]
        bound = self._stop_by if self.stage is Stage.STOPPING and not self.controller.is_killed else float("inf")
        if self.stage is Stage.DRAINING and any(child.pid and not child.is_killed for child in self.workers):
            bound = self.board.drain_deadline + HARD_STOP
        return min([(self._looked or 0.0) + TICK, bound, *due])

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self._looked is not None and now - self._looked > NAP:
            self._lenient_until = now + HANG
        self._looked = now
        if self.is_over:
            return
        if self.stage is Stage.STARTING and self.board.is_ready:
            self.stage = Stage.SERVING
        for child in self.children:
            if not child.pid and child.due <= now:
                self._start(child, now)
            elif child.pid and not child.is_killed and now >= self._lenient_until:
                self._watch(child, now)
        if self.stage is Stage.DRAINING:
            self._tick_draining(now)
        elif self.stage is Stage.STOPPING and now >= self._stop_by:
            self._cut(self.controller)

    def reaped(self, pid: int, status: int, now: float) -> bool:
        """Whether that process was of this fleet; it has ended."""
        child = next((child for child in self.children if child.pid == pid), None)
        if child is None:
            return False
        child.pid = 0
        child.row.end()
        if self.stage in (Stage.STARTING, Stage.SERVING):
            self._ended(child, status, now)
        elif self.stage is Stage.DRAINING and status and cause(status) != "SIGTERM":
            log.warning("%s ended while draining: %s", child.role, cause(status))
        self._settle(now)
        return True

    def drain(self, now: float, deadline: float) -> None:
        """Stop accepting, let exchanges end until `deadline`, then leave. Said again, nothing more happens."""
        if self.stage not in (Stage.STARTING, Stage.SERVING):
            return
        self.announce_drain(deadline)
        self.stage = Stage.DRAINING
        for child in self.children:
            child.due = float("inf")
        for child in self.workers:
            if child.pid:
                self._kernel.kill(child.pid, signal.SIGTERM)
        self._settle(now)

    def give_over(self, now: float, deadline: float) -> None:
        """The same, but with another fleet in its place: idle clients may take their time."""
        self.board.is_replaced = True
        self.drain(now, deadline)

    def hasten(self) -> None:
        """Somebody does wait for its end: idle clients are let go now."""
        self.board.is_replaced = False

    def announce_drain(self, deadline: float) -> None:
        """Say on the board that the end has begun: readiness is refused from this moment."""
        self.board.drain_deadline = deadline

    def end(self, now: float) -> None:
        """Leave at once: workers are killed, the controller may write down what it has."""
        for child in self.children:
            child.due = float("inf")
        for child in self.workers:
            self._kill(child)
        if self.stage in (Stage.STARTING, Stage.SERVING):
            self.stage = Stage.DRAINING
        self.board.drain_deadline = self.board.drain_deadline or now
        self._settle(now)

    def tell(self, *message: object) -> None:
        """Send the controller a message."""
        self.control[0].send(*message)

    def descriptors(self) -> list[int]:
        """Everything the supervisor holds open for this fleet, but for its listening sockets."""
        ends = [end.fileno() for two in (*self.channels, self.control) for end in two]
        stalls = [each for child in self.children for each in child.stall.descriptors()]
        return [*ends, self.board.bell, *stalls]

    def close(self) -> None:
        """Give back what `descriptors` lists."""
        for two in (*self.channels, self.control):
            for end in two:
                end.close()
        self.board.close()
        for child in self.children:
            child.stall.close()

    def _worker(self, slot: int) -> Child:
        return Child(
            f"worker-{slot}", self.board.workers[slot], lambda: self._work(slot), lambda: self._worker_keeps(slot)
        )

    def _work(self, slot: int) -> int:
        sockets = self.listeners.of_slot(slot)
        row = self.board.workers[slot]
        stall = self.workers[slot].stall
        return self._roles.work(
            WorkerStart(slot, self.accepted, sockets, self.channels[slot][0], row, self.board, stall)
        )

    def _control(self) -> int:
        admin = self.listeners.bound.get(ADMIN)
        ends = tuple(theirs for _, theirs in self.channels)
        return self._roles.control(
            ControllerStart(
                accepted=self.accepted,
                admin=admin.slot(0) if admin is not None else None,
                listeners=tuple(described(self.accepted, self.listeners)),
                workers=ends,
                supervisor=self.control[1],
                board=self.board,
                stall=self.controller.stall,
            )
        )

    def _worker_keeps(self, slot: int) -> frozenset[int]:
        sockets = self.listeners.of_slot(slot)
        own = [sock.fileno() for each in sockets.values() for sock in each]
        stall = self.workers[slot].stall.descriptors()
        return frozenset([*own, self.channels[slot][0].fileno(), self.board.bell, *stall])

    def _controller_keeps(self) -> frozenset[int]:
        admin = self.listeners.bound.get(ADMIN)
        own = [admin.slot(0).fileno()] if admin is not None else []
        ends = [theirs.fileno() for _, theirs in self.channels]
        stall = self.controller.stall.descriptors()
        return frozenset([*own, *ends, self.control[1].fileno(), self.board.bell, *stall])

    def _start(self, child: Child, now: float) -> None:
        child.row.begin(now, child.ends)
        child.started = now
        child.is_killed = False
        child.stall.begin()
        child.pid = self._kernel.fork(child.role, child.body, child.keep())

    def _watch(self, child: Child, now: float) -> None:
        status, stall = child.row.status(), child.stall
        silent = now - status.heartbeat
        if silent > HANG - GRACE and not stall.asked:
            stall.asked = now
            child.row.ask()
            self._kernel.kill(child.pid, QUESTION)
            self._kernel.kill(child.pid, signal.SIGCONT)
        elif stall.asked and (status.question == ANSWERED or now - stall.asked >= GRACE):
            told = "".join(f"\n{line}" for line in stall.text().splitlines())
            log.error("%s (pid %d) has not answered for %.1f s: killing it%s", child.role, child.pid, silent, told)
            self._kill(child)

    def _ended(self, child: Child, status: int, now: float) -> None:
        child.ends += 1
        if self.stage is Stage.STARTING and child.ends >= GIVE_UP:
            log.error("%s ended %d times before the sidecar was ready: %s", child.role, child.ends, cause(status))
            self.stage = Stage.FAILED
            for other in self.children:
                other.due = float("inf")
                self._kill(other)
            return
        delay = child.backoff.ended(now - child.started)
        child.due = now + delay
        log.error("%s ended (%s): starting it again%s", child.role, cause(status), f" in {delay:.1f} s" * (delay > 0))

    def _tick_draining(self, now: float) -> None:
        if now >= self.board.drain_deadline + HARD_STOP:
            for child in self.workers:
                self._cut(child)

    def _settle(self, now: float) -> None:
        """Go on to the next stage of the end once nothing of this one is left."""
        if self.stage is Stage.DRAINING and not any(child.pid for child in self.workers):
            self.stage = Stage.STOPPING
            self._stop_by = now + LAST_WORDS
            self.tell("stop")
        if self.stage is Stage.STOPPING and not self.controller.pid:
            self.stage = Stage.GONE

    def _cut(self, child: Child) -> None:
        """Kill what was asked to leave and did not."""
        if child.pid and not child.is_killed:
            log.warning("%s (pid %d) did not end in time: killing it", child.role, child.pid)
            self.cut += 1
            self._kill(child)

    def _kill(self, child: Child) -> None:
        if child.pid and not child.is_killed:
            child.is_killed = True
            self._kernel.kill(child.pid, signal.SIGKILL)

    def __repr__(self) -> str:
        return f"<Fleet {self.stage.name.lower()} {self.children}>"
