"""The controller: reads documents and certificates when they change, receives what workers report, shows it.

Theory of operation: one trio loop beside the data path, which never waits for it. What is read is checked here to the
end, compilation included, before a worker hears of it. Every accepted set has a generation. What changed goes to the
supervisor (for workers that start later) and to the workers, one after the other, and is told again to whoever stays
behind, because a message to a busy process may have been dropped. When this process dies the workers serve on, and its
successor begins with the set that the supervisor kept.

Rule 1: a set that is refused changes nothing but the standing: the log names every problem, the metric
`meshd.config.ok` says 0, the ready page says why. Rule 2: blocking work (reading, compiling, the exporter's imports) is
done in threads, so that the admin page always answers.
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import trio

from meshd.admin.api import AdminApi
from meshd.admin.server import AdminServer
from meshd.config.documents import Documents
from meshd.config.errors import ConfigError
from meshd.identity.credentials import Credentials
from meshd.process.board import Phase, Status
from meshd.process.channel import Channel, Message
from meshd.process.clock import monotonic
from meshd.process.exporting import make_export_queue
from meshd.process.intake import Intake
from meshd.process.key_sets import KeySets
from meshd.process.ledger import Ledger
from meshd.process.log import counts, look_after, set_level
from meshd.process.pace import CollectorRests, with_signs_of_life
from meshd.process.source import Source, folding
from meshd.process.start import ControllerStart
from meshd.process.view import Standing, View
from meshd.process.watch import Watch
from meshd.telemetry.describe import Json
from meshd.telemetry.metrics import Kind

TICK: Final = 0.5  # seconds
CERTIFICATES_POLL: Final = 1.0
TURN: Final = 30.0  # seconds that the other workers wait for one that takes up a generation
LOOK: Final = 0.01  # seconds between looks at whether it has
BEHIND: Final = 4  # ticks that a worker may serve an older generation before it is told again
LAST_WORDS: Final = 0.5  # seconds to write out what is left at the end
REMIND: Final = 3600.0  # seconds between two warnings about the same certificate

log = logging.getLogger(__name__)


class Controller:
    """One controller's tasks and what they share."""

    def __init__(self, start: ControllerStart, source: Source) -> None:
        accepted = start.accepted
        self._start = start
        self._source = source
        self._standing = Standing(accepted, {})
        self._intake = Intake(len(start.workers))
        self._view = View(self._standing, start.board, self._intake, now=monotonic, wall=time.time)
        self._documents = Watch(lambda: source.documents_stamp(accepted.loaded), accepted.documents_stamp)
        self._certificates = Watch(
            lambda: source.credentials_stamp(accepted.loaded), accepted.credentials_stamp, CERTIFICATES_POLL
        )
        self._key_sets = KeySets(accepted.keys)
        self._ledger = Ledger(accepted.documents, accepted.generation)
        self._reread = accepted.generation  # the newest generation that came with certificates
        self._news = trio.Event()
        self._behind = [0] * (len(start.workers) + 1)  # the supervisor's last
        self._keys_behind = [0] * len(start.workers)
        self._pids = [0] * len(start.workers)
        self._reminded = float("-inf")
        self._admin = trio.CancelScope()
        self._fetching = trio.CancelScope()
        self._stop = trio.Event()
        self._served = trio.Event()  # the sidecar was ready once
        self._on_message: dict[object, Callable[[Message], None]] = {
            "reload": self._reload,
            "refused": self._bootstrap_refused,
            "reopen": self._reopen,
            "retire": self._retire,
            "stop": lambda _message: self._stop.set(),
        }
        self._intake.metrics.watch(Kind.GAUGE, self._view.gauges)
        self._intake.metrics.watch(Kind.COUNTER, self._view.counters)
        self._intake.metrics.watch(Kind.COUNTER, self._key_sets.counters)

    async def run(self) -> None:
        """Work until the supervisor says stop."""
        self._open_access_log()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tick_for_ever)
            nursery.start_soon(self._hear_supervisor)
            for slot in range(len(self._start.workers)):
                nursery.start_soon(self._hear_worker, slot)
            nursery.start_soon(self._spread_for_ever)
            nursery.start_soon(self._watch_documents)
            nursery.start_soon(self._watch_certificates)
            nursery.start_soon(self._watch_key_sets)
            nursery.start_soon(self._serve_admin)
            nursery.start_soon(self._start_exporter)
            await self._stop.wait()
            nursery.cancel_scope.cancel()
        await self._say_last_words()

    # -- what others say ---------------------------------------------------------------------------------------------

    async def _hear_supervisor(self) -> None:
        channel = self._start.supervisor
        while True:
            await trio.lowlevel.wait_readable(channel.sock)
            while (message := channel.receive()) is not None:
                self._on_message[message[0]](message)

    async def _hear_worker(self, slot: int) -> None:
        channel = self._start.workers[slot]
        while True:
            await trio.lowlevel.wait_readable(channel.sock)
            self._intake.read(slot, channel)
            if wanted := self._intake.wanted_keys:
                self._key_sets.want(wanted)
                wanted.clear()

    def _reload(self, _message: Message) -> None:
        self._standing.refused.pop("bootstrap", None)
        self._documents.ask()
        self._key_sets.renew()
        if "certificates" in self._standing.refused or self._certificates.is_stale():
            self._certificates.ask()

    def _bootstrap_refused(self, message: Message) -> None:
        self._standing.refused["bootstrap"] = str(message[1])

    def _reopen(self, _message: Message) -> None:
        if self._intake.access_log is not None:
            self._intake.access_log.reopen()

    def _retire(self, _message: Message) -> None:
        """Another controller answers for the sidecar now; ours stays for what our workers still report."""
        self._standing.is_retired = True
        self._admin.cancel()
        self._fetching.cancel()

    # -- documents and certificates ----------------------------------------------------------------------------------

    async def _watch_documents(self) -> None:
        while True:
            asked = await self._documents.changed()
            if self._standing.is_retired:
                return
            try:
                documents = await trio.to_thread.run_sync(self._read_documents)
            except ConfigError as error:
                self._refuse("documents", error)
                continue
            if self._documents.is_stale():
                self._documents.ask()
                continue
            self._standing.refused.pop("documents", None)
            if documents.digest != self._standing.accepted.documents.digest:
                self._accept(documents=documents)
                continue
            # The same may stand in other files now: that is where it would be missed.
            self._standing.accepted = replace(self._standing.accepted, documents=documents)
            if asked:
                log.info("reload: the documents say the same as before")

    async def _watch_certificates(self) -> None:
        if self._standing.accepted.credentials is None:
            return
        while True:
            await self._certificates.changed()
            if self._standing.is_retired:
                return
            try:
                credentials = await trio.to_thread.run_sync(self._read_credentials)
            except ConfigError as error:
                self._refuse("certificates", error)
                continue
            self._standing.refused.pop("certificates", None)
            self._accept(credentials=credentials)

    async def _watch_key_sets(self) -> None:
        with self._fetching:
            await self._key_sets.watch(lambda: self._standing.accepted.documents, self._tell_keys)

    def _tell_keys(self) -> None:
        """Other keys: no generation of its own, for nothing is compiled."""
        keys = self._key_sets.fetched()
        self._standing.accepted = replace(self._standing.accepted, keys=keys)
        for channel in (self._start.supervisor, *self._start.workers):
            channel.send("keys", keys.version, keys.texts)
        self._keys_behind = [0] * len(self._keys_behind)

    def _read_documents(self) -> Documents:
        """Read, and compile once to see that it can be. Raises ConfigError."""
        accepted = self._standing.accepted
        with CollectorRests():
            documents = self._source.read_documents(accepted.loaded, accepted.documents)
            self._source.checked(replace(accepted, documents=documents))
        for problem in documents.problems:
            log.warning("%s", problem)
        return documents

    def _read_credentials(self) -> Credentials | None:
        accepted = self._standing.accepted
        return self._source.read_credentials(accepted.loaded, accepted.generation + 1, accepted.credentials)

    def _accept(self, documents: Documents | None = None, credentials: Credentials | None = None) -> None:
        """A new generation: everybody is told."""
        accepted = self._standing.accepted
        generation = accepted.generation + 1
        self._standing.accepted = replace(
            accepted,
            generation=generation,
            documents=accepted.documents if documents is None else documents,
            credentials=accepted.credentials if credentials is None else credentials,
        )
        if documents is not None:
            self._ledger.record(documents, generation)
        reread = credentials is not None
        if reread:
            self._reread = generation
        log.info("generation %d: new %s", generation, "certificates" if reread else f"documents, {documents!r}")
        self._tell(self._start.supervisor, generation - 1)
        self._behind = [0] * len(self._behind)
        self._news.set()

    def _tell(self, channel: Channel, since: int) -> None:
        """Everything that has changed after that generation."""
        delta = self._ledger.since(since, self._standing.accepted.generation, reread=self._reread > since)
        for message in delta.messages():
            if not channel.send(*message):
                return  # it is told again

    async def _spread_for_ever(self) -> None:
        """Tell the workers of each generation, one after the other: while one takes it up, the others have the machine.
        Who starts just now takes it up when it is ready."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            for slot, row in enumerate(self._start.board.workers):
                generation = self._standing.accepted.generation
                self._tell(self._start.workers[slot], min(generation - 1, row.status().generation))
                with trio.move_on_after(TURN):
                    while self._is_behind(slot, row.status()):  # noqa: ASYNC110  # a row of the board rings nobody here
                        await trio.sleep(LOOK)

    def _is_behind(self, slot: int, status: Status) -> bool:
        """Whether a worker serves, but by an older generation, which it could replace."""
        newest = max(status.generation, self._intake.refused[slot])
        return status.phase is Phase.READY and newest < self._standing.accepted.generation

    def _refuse(self, part: str, error: ConfigError) -> None:
        self._standing.refused[part] = str(error)
        for problem in error.problems:
            log.error("%s", problem)
        generation = self._standing.accepted.generation
        log.error("reload refused: %s cannot be used, generation %d goes on", part, generation)

    # -- time --------------------------------------------------------------------------------------------------------

    async def _tick_for_ever(self) -> None:
        self._start.board.controller.show(Phase.READY, os.getpid())
        while True:
            self.tick()
            await trio.sleep(TICK)

    def tick(self) -> None:
        """Show life, and look after workers and the certificate."""
        generation = self._standing.accepted.generation
        self._start.board.controller.beat(monotonic(), generation)
        look_after(monotonic())
        self._start.board.controller.add_log_counts(counts())
        for slot, row in enumerate(self._start.board.workers):
            status = row.status()
            if status.pid != self._pids[slot]:
                self._intake.forget(slot)
                self._pids[slot] = status.pid
            is_behind = self._is_behind(slot, status) and not status.is_compiling
            self._look_at_place(slot, self._start.workers[slot], status.generation, is_behind=is_behind)
            self._look_at_keys(slot, is_ready=status.phase is Phase.READY)
        kept = self._start.board.kept_generation
        self._look_at_place(-1, self._start.supervisor, kept, is_behind=kept < generation)
        if self._start.board.is_ready:
            self._served.set()
        self._look_at_certificate()

    def _look_at_place(self, place: int, channel: Channel, generation: int, *, is_behind: bool) -> None:
        """Tell somebody again who stays behind."""
        self._behind[place] = self._behind[place] + 1 if is_behind else 0
        if self._behind[place] > BEHIND:
            self._behind[place] = 0
            self._tell(channel, generation)

    def _look_at_keys(self, slot: int, *, is_ready: bool) -> None:
        """Tell a worker of the keys again that has not said it has them."""
        if (
            self._intake.keys[slot] > self._key_sets.version
        ):  # a predecessor of ours told it more than the supervisor heard
            self._key_sets.version = self._intake.keys[slot] + 1
            self._tell_keys()
        keys = self._standing.accepted.keys
        behind = is_ready and self._intake.keys[slot] < keys.version
        self._keys_behind[slot] = self._keys_behind[slot] + 1 if behind else 0
        if self._keys_behind[slot] > BEHIND:
            self._keys_behind[slot] = 0
            self._start.workers[slot].send("keys", keys.version, {**keys.texts})

    def _look_at_certificate(self) -> None:
        credentials = self._standing.accepted.credentials
        now = time.time()
        if credentials is None or not credentials.is_due(now, 0.8) or now - self._reminded < REMIND:
            return
        self._reminded = now
        left = credentials.remaining(now)
        log.warning(
            "the certificate of %s %s", credentials.spiffe_id, f"expires in {left:.0f} s" if left > 0 else "has expired"
        )

    # -- telemetry and admin -----------------------------------------------------------------------------------------

    def _open_access_log(self) -> None:
        loaded = self._start.accepted.loaded
        telemetry = loaded.proxy.spec.telemetry
        if telemetry is None or telemetry.access_log is None:
            return
        path = "-" if loaded.access_log is None else str(loaded.access_log)
        self._intake.open_access_log(path, telemetry.access_log.format)

    async def _start_exporter(self) -> None:
        telemetry = self._start.accepted.proxy.spec.telemetry
        if telemetry is None or telemetry.otlp is None:
            return
        self._intake.expect_exporter()
        await self._served.wait()
        proxy, otlp = self._start.accepted.proxy, telemetry.otlp
        queue = await trio.to_thread.run_sync(make_export_queue, proxy, otlp, self._intake.metrics.collect)
        self._intake.attach(queue)

    async def _serve_admin(self) -> None:
        if self._start.admin is None:
            return
        listeners: list[Json] = [{**each} for each in self._start.listeners]
        state = self._view.state(drain=self._drain, set_level=self._set_level, listeners=listeners)
        server = AdminServer(AdminApi(state))
        with self._admin:
            await server.serve(self._start.admin)

    def _drain(self) -> None:
        self._start.supervisor.send("drain")

    def _set_level(self, level: str) -> None:
        set_level(level)
        for channel in (self._start.supervisor, *self._start.workers):
            channel.send("level", level)

    async def _say_last_words(self) -> None:
        """Read what the workers sent before they left, and write everything out."""
        for slot, channel in enumerate(self._start.workers):
            while self._intake.read(slot, channel):
                pass
        async with trio.open_nursery() as nursery:
            for closing in self._intake.close(LAST_WORDS):
                nursery.start_soon(trio.to_thread.run_sync, closing)


def run_controller(start: ControllerStart, source: Source) -> int:
    """Work until told to stop, and return the exit code."""
    pulse = start.board.controller.pulse
    with CollectorRests():
        accepted = with_signs_of_life(folding(start.accepted), pulse, monotonic)
    start.board.controller.compiled()
    start = replace(start, accepted=accepted)

    async def main() -> None:
        if start.stall is not None:
            start.stall.listen(start.board.controller, lambda _frame: ())
        await Controller(start, source).run()

    trio.run(main)
    return 0
