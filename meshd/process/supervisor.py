"""The first process: binds, forks, watches, restarts, passes signals on, and ends everything in order.

Theory of operation: one loop around poll(2) with no threads and no trio loop, because a process with either could not
fork safely. Everything imported and loaded before the first fork is shared by all children as long as nobody writes to
it, which is why the garbage is collected and the rest frozen (`gc.freeze`) before each fork, and why garbage collection
stays off here. What happens to the processes of one bootstrap is decided by `fleet.py`; here are only the signals, the
order of two fleets when the bootstrap changes, and the app of `meshd run -- command`.

Rule 1: a reload never takes anything away before its replacement serves: new sockets are bound, new processes are
ready, then the old fleet drains. When any of that fails the old fleet stays, and the log says why.
Rule 2: the first SIGTERM or SIGINT drains, the second ends at once.
Rule 3: with an app, the app is told first, and the sidecar stays up until it is gone: what it sends while it shuts down
still needs a way out.
"""

import gc
import logging
import os
import select
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from meshd.config.errors import ConfigError
from meshd.core.steps import run
from meshd.process import child
from meshd.process.channel import Message
from meshd.process.clock import monotonic
from meshd.process.command import Command
from meshd.process.fleet import Fleet, Roles, Stage
from meshd.process.listeners import BindFailed, Listeners, bind, listens_of
from meshd.process.log import counts, look_after, set_level, waits_for
from meshd.process.signals import Signals
from meshd.process.source import Source, folding, renewed
from meshd.process.start import Accepted, fetched_keys

DRAINED: Final = 0
FAILED: Final = 1  # it could not start
CUT: Final = 3  # something had to be killed at the hard stop
FOLD: Final = 20_000  # documents that are kept as they came: beyond, they are laid over the others at last
SAME: Final = 0.05  # seconds within which a repeated signal is the same request: some senders send to process and group

log = logging.getLogger(__name__)


class Supervisor:
    """One sidecar. `announce` is called with a fleet when its listeners are bound, `ready` once it serves."""

    def __init__(
        self,
        source: Source,
        roles: Roles,
        command: Command | None = None,
        *,
        announce: Callable[[Fleet], None],
        ready: Callable[[Fleet], None],
    ) -> None:
        self.fleet: Fleet | None = None
        self._source = source
        self._roles = roles
        self._command = command
        self._announce = announce
        self._ready = ready
        self._signals = Signals()
        self._next: Fleet | None = None  # started by a reload, not ready yet
        self._old: list[Fleet] = []  # draining because a reload replaced them
        self._reload_again = False
        self._drain_deadline = 0.0  # of the sidecar; 0 while nobody asked it to end
        self._asked = 0.0  # when it was asked to
        self._code = DRAINED
        self._told: Fleet | None = None  # whose readiness was made known
        self._on_signal: Mapping[int, Callable[[int, float], None]] = {
            signal.SIGTERM: self._terminate,
            signal.SIGINT: self._terminate,
            signal.SIGHUP: self._reload,
            signal.SIGUSR1: self._reopen,
            signal.SIGUSR2: self._forward,
            signal.SIGCHLD: self._wake,
        }
        self._on_message: Mapping[object, Callable[[Fleet, Message, float], None]] = {
            "part": self._take_set,
            "set": self._take_set,
            "keys": self._take_keys,
            "drain": self._drain_asked,
            "level": self._take_level,
        }

    def run(self, accepted: Accepted) -> int:
        """Bind, serve until asked to end, and return the exit code. Raises `BindFailed`."""
        self._signals.listen()
        try:
            listeners = bind(listens_of(accepted))
        except BindFailed:
            self._signals.close()
            raise
        gc.disable()
        self.fleet = self._raise_fleet(accepted, listeners)
        while not self._is_over():
            self._step()
        for fleet in self._fleets():
            fleet.listeners.close()
            self._bury(fleet)
        self._signals.close()
        return self._exit_code()

    # -- Kernel, as fleets see it ------------------------------------------------------------------------------------

    def fork(self, role: str, body: Callable[[], int], keep: frozenset[int]) -> int:
        """Start a child that keeps only these of our descriptors."""
        held = frozenset(self._descriptors())

        def live() -> int:
            for descriptor in held - keep:
                os.close(descriptor)  # the objects that own them are never used or ended in the child
            return body()

        gc.collect()
        gc.freeze()
        return child.fork(role, live)

    def kill(self, pid: int, number: int) -> None:
        """Send a signal to a child that has not been waited for."""
        os.kill(pid, number)

    # -- The loop ----------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        now = monotonic()
        look_after(now)
        for fleet in self._fleets():
            fleet.tick(now)
            fleet.board.log_counts = counts()
        self._advance(now)
        if self._is_over():
            return
        self._wait(now)
        now = monotonic()
        for number in self._signals.take():
            self._on_signal[number](number, now)
        self._reap(now)
        for fleet in self._fleets():
            fleet.board.heard()
            self._hear(fleet, now)

    def _wait(self, now: float) -> None:
        poll = select.poll()
        poll.register(self._signals.fileno(), select.POLLIN)
        if (log_outlet := waits_for()) is not None:
            poll.register(log_outlet, select.POLLOUT)
        for fleet in self._fleets():
            poll.register(fleet.board.bell, select.POLLIN)
            poll.register(fleet.control[0].fileno(), select.POLLIN)
        deadlines = [fleet.deadline() for fleet in self._fleets()]
        if self._drain_deadline and self._command is not None and self._command.is_running:
            deadlines.append(max(self._drain_deadline, now + 0.01))
        poll.poll(max(0.0, min(deadlines, default=now + 1.0) - now) * 1000)

    def _reap(self, now: float) -> None:
        """Everything that ended; as process 1 of a container also what others left behind."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._command is not None and pid == self._command.pid:
                self._command.reaped(status)
                continue
            for fleet in self._fleets():
                if fleet.reaped(pid, status, now):
                    break

    def _hear(self, fleet: Fleet, now: float) -> None:
        """What the fleet's controller has to say."""
        while (message := fleet.control[0].receive()) is not None:
            self._on_message[message[0]](fleet, message, now)

    def _advance(self, now: float) -> None:
        """Go on from one stage to the next wherever something has come to its end."""
        self._advance_next(now)
        for old in [old for old in self._old if old.is_over]:
            self._old.remove(old)
            self._bury(old)
        fleet = self.fleet
        assert fleet is not None
        if fleet.stage is Stage.SERVING and self._told is not fleet:
            self._told = fleet
            self._ready(fleet)
        self._advance_end(fleet, now)

    def _advance_end(self, fleet: Fleet, now: float) -> None:
        """The app starts once the sidecar serves; the sidecar drains once the app is gone."""
        command = self._command
        if fleet.stage is Stage.SERVING and command is not None and not command.pid and not self._drain_deadline:
            command.start()
        if command is not None and command.code is not None and not self._drain_deadline:
            self._begin_drain(now)
        if self._drain_deadline and (command is None or not command.is_running):
            self._drain(fleet, now, max(self._drain_deadline, now))
        if self._drain_deadline and command is not None and command.is_running and now >= self._drain_deadline:
            log.warning("%s did not end in time: killing it", command.argv[0])
            command.kill()

    def _advance_next(self, now: float) -> None:
        """A reload: the new fleet takes over once it serves; one that fails is forgotten."""
        fresh = self._next
        if fresh is None:
            if self._reload_again:
                self._reload_again = False
                self._reload(signal.SIGHUP, now)
            return
        assert self.fleet is not None
        if fresh.stage is Stage.SERVING:
            before, self.fleet, self._next = self.fleet, fresh, None
            for older in self._old:
                older.hasten()  # one beside the new is enough
            self._old.append(before)
            before.tell("retire")
            before.listeners.close(keep=fresh.listeners)
            before.give_over(now, now + before.accepted.drain)
            log.info("the new bootstrap serves; %d processes of the old one drain", len(before.children))
        elif fresh.is_over:
            log.error("the new bootstrap could not serve: the old one goes on")
            self._next = None
            fresh.listeners.close(keep=self.fleet.listeners)
            self._bury(fresh)
            self.fleet.tell("refused", "the processes of the new bootstrap ended before they were ready")

    # -- What signals ask for ----------------------------------------------------------------------------------------

    def _terminate(self, number: int, now: float) -> None:
        if not self._asked:
            self._asked = now
            self._begin_drain(now, number)
            return
        if now - self._asked < SAME:
            return
        log.warning("asked a second time: ending at once")
        if self._command is not None and self._command.is_running:
            self._command.kill()
        for fleet in self._fleets():
            fleet.end(now)

    def _reload(self, _number: int, now: float) -> None:
        """Read the bootstrap again. Policies and certificates are the controller's business, unless it changed."""
        if self._drain_deadline:
            return
        if self._next is not None:
            self._reload_again = True
            return
        fleet = self.fleet
        assert fleet is not None
        try:
            loaded = self._source.read_proxy()
            before = fleet.accepted
            if loaded.proxy == before.proxy and loaded.policies == before.loaded.policies:
                fleet.tell("reload")
                return
            before = fleet.accepted = run(folding(before))
            accepted = self._source.read_all(loaded, before.generation + 1, before)
            accepted = replace(accepted, keys=before.keys)
            listeners = bind(listens_of(accepted), fleet.listeners)
        except (ConfigError, BindFailed) as error:
            log.error("reload refused, the old bootstrap goes on:\n%s", error)  # noqa: TRY400  # no bug of ours to trace
            fleet.tell("refused", str(error))
            return
        log.info("the bootstrap changed: starting generation %d", accepted.generation)
        self._next = self._raise_fleet(accepted, listeners)
        self._next.tick(now)

    def _reopen(self, _number: int, _now: float) -> None:
        for fleet in self._fleets():
            fleet.tell("reopen")

    def _forward(self, number: int, _now: float) -> None:
        if self._command is not None:
            self._command.signal(number)

    def _wake(self, _number: int, _now: float) -> None:
        return  # SIGCHLD: `_reap` looks anyway

    # -- What the controller says ------------------------------------------------------------------------------------

    def _take_set(self, fleet: Fleet, message: Message, _now: float) -> None:
        """Keep the newest accepted set: a worker started later begins with it even if the controller is gone."""
        delta = fleet.gathering.take(message)
        if delta is None or not delta.since <= fleet.accepted.generation < delta.generation:
            return  # incomplete: it is told again
        try:
            fleet.accepted = renewed(fleet.accepted, delta, self._source if delta.reread else None)
        except ConfigError as error:
            log.warning("certificates changed while they were read: %s", error)
        held = fleet.accepted.delta
        if held is not None and len(held.documents) > FOLD:
            fleet.accepted = run(folding(fleet.accepted))
        fleet.board.kept_generation = fleet.accepted.generation

    def _take_keys(self, fleet: Fleet, message: Message, _now: float) -> None:
        """The keys of issuers, for processes that are started later."""
        fleet.accepted = replace(fleet.accepted, keys=fetched_keys(message))

    def _drain_asked(self, fleet: Fleet, _message: Message, now: float) -> None:
        if fleet is self.fleet and not self._asked:
            log.info("asked to drain by the admin page")
            self._asked = now
            self._begin_drain(now)

    def _take_level(self, _fleet: Fleet, message: Message, _now: float) -> None:
        """The admin page changed the log level: ours too, and that of every process started from now on."""
        _, level = message
        assert isinstance(level, str)
        set_level(level)

    # -- Fleets ------------------------------------------------------------------------------------------------------

    def _raise_fleet(self, accepted: Accepted, listeners: Listeners) -> Fleet:
        fleet = Fleet(accepted, listeners, self._roles, self)
        self._announce(fleet)
        return fleet

    def _begin_drain(self, now: float, number: int = signal.SIGTERM) -> None:
        fleet = self.fleet
        assert fleet is not None
        self._drain_deadline = now + fleet.accepted.drain
        for each in self._fleets():
            each.announce_drain(self._drain_deadline)
            each.hasten()
        if self._next is not None:
            self._next.listeners.close(keep=fleet.listeners)
            self._next.end(now)
            self._old.append(self._next)
            self._next = None
        if self._command is not None and self._command.is_running:
            self._command.signal(number)
        log.info("draining, at most %.1f s", fleet.accepted.drain)

    def _drain(self, fleet: Fleet, now: float, deadline: float) -> None:
        if fleet.stage in (Stage.STARTING, Stage.SERVING):
            fleet.listeners.close()
            fleet.drain(now, deadline)

    def _bury(self, fleet: Fleet) -> None:
        if fleet.cut and self._drain_deadline:
            self._code = CUT
        fleet.close()

    def _fleets(self) -> list[Fleet]:
        return [fleet for fleet in (self.fleet, self._next, *self._old) if fleet is not None]

    def _descriptors(self) -> list[int]:
        held = [*self._signals.descriptors()]
        for fleet in self._fleets():
            held += fleet.descriptors()
            held += [sock.fileno() for sock in fleet.listeners.sockets() if sock.fileno() >= 0]
        return held

    def _is_over(self) -> bool:
        running = self._command is not None and self._command.is_running
        return not running and all(fleet.is_over for fleet in self._fleets())

    def _exit_code(self) -> int:
        assert self.fleet is not None
        if self.fleet.stage is Stage.FAILED:
            return FAILED
        if self._command is not None and self._command.code is not None:
            return self._command.code
        return self._code
