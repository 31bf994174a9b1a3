"""One worker: a trio loop around the data path, and what it tells and is told.

Theory of operation: the data path serves by itself; beside it run three small tasks. One waits for SIGTERM, one reads
what the controller sends, one ticks: it shows life on the board, sends records that have waited long enough, and
pushes the numbers. None of them ever waits for the controller, so a worker serves on without one.

Rule 1: a set of documents or certificates that cannot be used changes nothing; the controller is told why.
Rule 2: a generation that is not newer than the one served is ignored: it waited in the channel for a predecessor.
"""

import gc
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, is_dataclass, replace
from types import FrameType
from typing import Final, Protocol

import trio

from meshd.config.errors import ConfigError
from meshd.core import flags
from meshd.core.cells import Cells
from meshd.core.exchange import Exchange
from meshd.net import wait
from meshd.process.board import Phase
from meshd.process.channel import Message
from meshd.process.clock import monotonic
from meshd.process.log import counts, look_after, set_level
from meshd.process.source import Source, renewed
from meshd.process.stall import described, serving_in
from meshd.process.start import Accepted, WorkerStart, fetched_keys
from meshd.telemetry.records import Recorder
from meshd.telemetry.report import Report

TICK: Final = 0.25  # seconds
PUSH_EVERY: Final = 4  # ticks between two pushes of the numbers
STATE_EVERY: Final = 8  # ticks between two accounts of clusters and pools

# Objects made beyond those that ended, before cycles are looked for among them. What is under way when that happens is
# looked at in vain: with the interpreter's 700, a hundred requests at a time, that was an eighth of the time.
GARBAGE: Final = 20_000

log = logging.getLogger(__name__)


class DataPath(Protocol):
    """What serves the traffic."""

    async def run(self, *, ready: Callable[[], None]) -> None:
        """Serve until drained; `ready` is called once."""

    def part_from_app(self) -> None:
        """The app was told to end, and still serves: hold no connection to it that is idle. Called again and again."""

    async def drain(self, deadline: float) -> None:
        """Stop accepting, let exchanges end until `deadline` (of this loop's clock), then end what is left."""

    def adopt(self, accepted: Accepted) -> None:
        """Serve under another set from now on. Raises ConfigError, and goes on under the one it has."""

    def take_keys(self, texts: Mapping[str, str]) -> None:
        """Verify tokens by these key sets from now on, whatever set of documents is served."""

    def wanted_keys(self) -> list[str]:
        """The key sets, by URI, that a token's key was missing from since this was asked last."""

    def under_way(self) -> list[Exchange]:
        """The exchanges that have begun and not ended."""

    def statistics(self) -> dict[str, object]:
        """What the admin page shows of this worker."""


Build = Callable[[WorkerStart, Recorder], DataPath]


class Worker:
    """One worker's tasks."""

    __slots__ = (
        "_accepted",
        "_is_ready",
        "_on_message",
        "_path",
        "_recorder",
        "_report",
        "_source",
        "_start",
        "_ticks",
    )

    def __init__(self, start: WorkerStart, source: Source, build: Build) -> None:
        cells = Cells()
        self._start = start
        self._source = source
        self._accepted = start.accepted
        telemetry = start.accepted.proxy.spec.telemetry
        keep_all = telemetry is not None and telemetry.keeps_all
        self._recorder = Recorder(cells, self._send_records, _clock_offset(), keep_all=keep_all)
        self._report = Report(self._recorder, self._send_cells, os.getpid())
        self._path = build(start, self._recorder)
        self._is_ready = False
        self._ticks = 0
        self._on_message: dict[object, Callable[[Message], None]] = {
            "set": self._take_set,
            "keys": self._take_keys,
            "level": self._take_level,
        }

    async def run(self) -> None:
        """Serve until drained."""
        if self._start.stall is not None:
            self._start.stall.listen(self._start.row, self._explain_stall)
        async with trio.open_nursery() as nursery:
            await nursery.start(self._wait_for_the_end, nursery.cancel_scope)
            nursery.start_soon(self._listen)
            nursery.start_soon(self._tick_for_ever)
            await self._path.run(ready=self._ready)
            self._say_last_words()
            nursery.cancel_scope.cancel()

    def _ready(self) -> None:
        self._is_ready = True
        self._start.row.show(Phase.READY, os.getpid())

    async def _wait_for_the_end(self, whole: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
        """Drain when asked to. What was asked before we could hear it stands on the board."""
        with trio.open_signal_receiver(signal.SIGTERM) as asked:
            task_status.started()
            if not self._start.board.drain_deadline:
                async for _ in asked:
                    break
            if not self._is_ready:
                whole.cancel()  # nothing was accepted yet, so nothing has to end
                return
            self._start.row.show(Phase.DRAINING, os.getpid())
            deadline = self._start.board.drain_deadline or monotonic() + self._accepted.drain
            await self._path.drain(trio.current_time() + deadline - monotonic())
            async for _ in asked:
                pass  # the answer stays the same

    async def _listen(self) -> None:
        channel = self._start.controller
        while True:
            await trio.lowlevel.wait_readable(channel.sock)
            while (message := channel.receive()) is not None:
                self._on_message[message[0]](message)

    async def _tick_for_ever(self) -> None:
        while True:
            self.tick(trio.current_time())
            await trio.sleep(TICK)

    def tick(self, now: float) -> None:
        """Everything that is due about four times a second."""
        self._start.row.beat(monotonic(), self._accepted.generation)
        look_after(monotonic())
        self._start.row.add_log_counts(counts())
        if self._start.board.drain_deadline:
            self._path.part_from_app()
        if wanted := self._path.wanted_keys():
            self._start.controller.send("wanted", wanted)
        self._recorder.clock_offset = _clock_offset()
        self._recorder.flush(now)
        if self._ticks % PUSH_EVERY == 0:
            self._report.push()
        if self._ticks % STATE_EVERY == 0:
            self._start.controller.send("state", json.dumps(self._path.statistics(), default=_plain))
        self._ticks += 1

    def _say_last_words(self) -> None:
        self._recorder.flush(trio.current_time(), force=True)
        self._report.push()

    def _explain_stall(self, frame: FrameType | None) -> Iterator[str]:
        """The last words of a worker that is about to be killed, from wherever it stands: what it serves, each with a
        record of its own, and whatever it has not sent yet."""
        now, under_way = wait.now(), self._path.under_way()
        yield from described(under_way, serving_in(frame), now)
        for exchange in under_way:
            exchange.ended = now
            exchange.flag(flags.INTERNAL)
            exchange.details = "worker_stalled"
            self._recorder.finish(exchange, now)
        self._say_last_words()

    def _take_set(self, message: Message) -> None:
        _, generation, body, reread = message
        assert isinstance(generation, int)
        assert isinstance(body, bytes)
        if generation <= self._accepted.generation:
            return
        try:
            self._adopt(renewed(self._accepted, generation, body, self._source if reread else None))
        except ConfigError as error:
            log.error("generation %d refused, %d goes on: %s", generation, self._accepted.generation, error)  # noqa: TRY400
            self._start.controller.send("refused", generation, str(error))

    def _take_keys(self, message: Message) -> None:
        keys = fetched_keys(message)
        if keys.version > self._accepted.keys.version:
            self._path.take_keys(keys.texts)
            self._accepted = replace(self._accepted, keys=keys)
        self._start.controller.send("keys", self._accepted.keys.version)

    def _take_level(self, message: Message) -> None:
        _, level = message
        assert isinstance(level, str)
        set_level(level)

    def _adopt(self, accepted: Accepted) -> None:
        self._path.adopt(accepted)
        self._accepted = accepted
        self._start.row.beat(monotonic(), accepted.generation)
        log.info("serves generation %d", accepted.generation)

    def _send_records(self, payload: bytes) -> bool:
        return self._start.controller.send("records", payload)

    def _send_cells(self, payload: bytes) -> bool:
        return self._start.controller.send("cells", payload)

    def __repr__(self) -> str:
        return f"<Worker {self._start.slot} generation {self._accepted.generation}>"


def run_worker(start: WorkerStart, source: Source, build: Build) -> int:
    """Serve one slot until drained, and return the exit code."""

    async def main() -> None:
        await Worker(start, source, build).run()

    gc.set_threshold(GARBAGE, *gc.get_threshold()[1:])
    trio.run(main, clock=wait.Clock())
    return 0


def _plain(value: object) -> object:
    """What JSON does not know by itself."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def _clock_offset() -> float:
    """How far the wall clock is ahead of this loop's."""
    return time.time() - trio.current_time()
