"""One worker: a trio loop around the data path, and what it tells and is told.

Theory of operation: the data path serves by itself; beside it run three small tasks. One waits for SIGTERM, one reads
what the controller sends, one ticks: it shows life on the board, sends records that have waited long enough, and
pushes the numbers. None of them ever waits for the controller, so a worker serves on without one.

Rule 1: a set of documents or certificates that cannot be used changes nothing; the controller is told why.
Rule 2: a generation that is not newer than the one served is ignored: it waited in the channel for a predecessor. So is
one that is complete only since a generation that we do not have: the controller tells it again.
Rule 3: documents are taken up and compiled between requests (`pace.py`). A newer generation overtakes one that is still
compiling; what was compiled of that by then is used again.
"""

import gc
import json
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, is_dataclass, replace
from types import FrameType
from typing import Final, Protocol

import trio

from meshd.config.errors import ConfigError
from meshd.core import flags
from meshd.core.cells import Cells
from meshd.core.exchange import Exchange
from meshd.core.steps import Steps, let_go
from meshd.net import wait
from meshd.net.pace import Overtaken, between_requests
from meshd.process.board import Phase
from meshd.process.channel import Message
from meshd.process.clock import monotonic
from meshd.process.delta import Delta, Gathering, applying
from meshd.process.log import counts, look_after, set_level
from meshd.process.pace import CollectorRests, with_signs_of_life
from meshd.process.source import Source, folding, renewed
from meshd.process.stall import described, serving_in
from meshd.process.start import Accepted, WorkerStart, fetched_keys
from meshd.telemetry.records import Recorder
from meshd.telemetry.report import Report

TICK: Final = 0.25  # seconds
PUSH_EVERY: Final = 4  # ticks between two pushes of the numbers
STATE_EVERY: Final = 2.0  # seconds between two accounts of clusters and pools
STATE_SHARE: Final = 0.03  # of the time, at most: of many clusters it takes long

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

    async def drain(self, deadline: float, is_replaced: Callable[[], bool]) -> None:
        """Stop accepting, let exchanges end until `deadline` (of this loop's clock), then end what is left."""

    async def adopt(self, accepted: Accepted, is_overtaken: Callable[[], bool]) -> None:
        """Serve under another set from now on; it is compiled between requests. Raises ConfigError, and `Overtaken`
        once there is a newer one to compile; it goes on under the one it has then."""

    def take_keys(self, texts: Mapping[str, str]) -> None:
        """Verify tokens by these key sets from now on, whatever set of documents is served."""

    def wanted_keys(self) -> list[str]:
        """The key sets, by URI, that a token's key was missing from since this was asked last."""

    def under_way(self) -> list[Exchange]:
        """The exchanges that have begun and not ended."""

    def describing(self) -> Steps[dict[str, object]]:
        """What the admin page shows of this worker."""


Build = Callable[[WorkerStart, Recorder], DataPath]


class Worker:
    """One worker's tasks."""

    __slots__ = (
        "_accepted",
        "_deltas",
        "_gathering",
        "_is_ready",
        "_newest",
        "_news",
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
        with CollectorRests():
            self._path = build(start, self._recorder)
        start.row.compiled()
        self._gathering = Gathering()
        self._newest = start.accepted  # of what was told; its documents when there are no deltas
        self._deltas: deque[Delta] = deque()
        self._news = trio.Event()
        self._is_ready = False
        self._ticks = 0
        self._on_message: dict[object, Callable[[Message], None]] = {
            "part": self._take_set,
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
            nursery.start_soon(self._adopt_for_ever)
            nursery.start_soon(self._tell_state_for_ever)
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
            board = self._start.board
            await self._path.drain(trio.current_time() + deadline - monotonic(), lambda: board.is_replaced)
            async for _ in asked:
                pass  # the answer stays the same

    async def _listen(self) -> None:
        channel = self._start.controller
        while True:
            await trio.lowlevel.wait_readable(channel.sock)
            while (message := channel.receive()) is not None:
                self._on_message[message[0]](message)
                await trio.lowlevel.checkpoint()

    async def _tick_for_ever(self) -> None:
        while True:
            self.tick(trio.current_time())
            await trio.sleep(TICK)

    def tick(self, now: float) -> None:
        """Everything that is due about four times a second."""
        self._start.row.beat(monotonic(), self._accepted.generation)
        look_after(monotonic())
        self._start.row.add_log_counts(counts())
        if self._start.board.drain_deadline and not self._start.board.is_replaced:
            self._path.part_from_app()
        if wanted := self._path.wanted_keys():
            self._start.controller.send("wanted", wanted)
        self._recorder.clock_offset = _clock_offset()
        self._recorder.flush(now)
        if self._ticks % PUSH_EVERY == 0:
            self._report.push()
        self._ticks += 1

    async def _tell_state_for_ever(self) -> None:
        while True:
            began = trio.current_time()
            text = await between_requests(telling(self._path))
            self._start.controller.send("state", text)
            await trio.sleep(max(STATE_EVERY, (trio.current_time() - began) / STATE_SHARE))

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
        delta, newest = self._gathering.take(message), self._newest
        if delta is None or not delta.since <= newest.generation < delta.generation:
            return
        try:
            newest = renewed(newest, delta, self._source if delta.reread else None)
        except ConfigError as error:
            self._refuse(delta.generation, error)
            return
        self._newest = replace(newest, delta=None)
        self._deltas.append(delta)
        self._news.set()

    def _refuse(self, generation: int, error: ConfigError) -> None:
        log.error("generation %d refused, %d goes on: %s", generation, self._accepted.generation, error)
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

    async def _adopt_for_ever(self) -> None:
        while True:
            await self._news.wait()
            self._news = trio.Event()
            self._start.row.pulse(monotonic())
            try:
                with CollectorRests():
                    await self._adopt()
            except Overtaken:
                self._news.set()
            except ConfigError as error:
                self._refuse(self._newest.generation, error)
            self._start.row.compiled()

    async def _adopt(self) -> None:
        """Serve by the newest set. Raises ConfigError, and `Overtaken` when a newer one comes meanwhile."""
        while self._deltas:
            delta = self._deltas.popleft()
            documents = await between_requests(applying(self._newest.documents, delta))
            self._newest = replace(self._newest, documents=documents)
        wanted = self._newest
        await self._path.adopt(wanted, lambda: bool(self._deltas))
        replaced: list[object] = [*self._accepted.documents.each()]
        self._accepted = replace(wanted, keys=self._accepted.keys)
        self._start.row.beat(monotonic(), wanted.generation)
        log.info("serves generation %d", wanted.generation)
        await between_requests(let_go(replaced))

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

    with CollectorRests():
        accepted = with_signs_of_life(folding(start.accepted), start.row.pulse, monotonic)
    start = replace(start, accepted=accepted)
    gc.set_threshold(GARBAGE, *gc.get_threshold()[1:])
    trio.run(main, clock=wait.Clock())
    return 0


def telling(path: DataPath) -> Steps[str]:
    """The account of clusters and pools, as JSON."""
    whole = yield from path.describing()
    clusters = whole.pop("clusters", {})
    assert isinstance(clusters, dict)
    told = []
    for name, each in clusters.items():
        told.append(f"{json.dumps(name)}: {json.dumps(each, default=_plain)}")
        yield
    whole["clusters"] = {}
    return json.dumps(whole, default=_plain).removesuffix("{}}") + "{" + ", ".join(told) + "}}"


def _plain(value: object) -> object:
    """What JSON does not know by itself."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def _clock_offset() -> float:
    """How far the wall clock is ahead of this loop's."""
    return time.time() - trio.current_time()
