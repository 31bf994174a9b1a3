"""What workers send to the controller, and where it goes: metrics, access log, recent records, exporter.

Rule 1: nothing here waits, so a slow collector or disk never lets the channels fill up. Rule 2: the exporter comes late
(its imports take a while, and readiness must not wait for them); until then a bounded number of records waits for it.
"""

import json
import logging
from collections import deque
from collections.abc import Iterator
from typing import Final

from meshd.core.cells import Key
from meshd.process.channel import Channel, Message
from meshd.telemetry.access_log import AccessLog
from meshd.telemetry.describe import Json
from meshd.telemetry.export_queue import ExportQueue
from meshd.telemetry.metrics import Kind, Metrics
from meshd.telemetry.recent import Recent
from meshd.telemetry.record import Record
from meshd.telemetry.records import decode_batch

BACKLOG: Final = 1000  # records that wait for the exporter to be loaded
PASS: Final = 64  # messages of one worker before another has its turn

log = logging.getLogger(__name__)


class Intake:
    """Everything the workers have said."""

    __slots__ = ("_backlog", "_exporter", "access_log", "keys", "metrics", "recent", "refused", "states", "wanted_keys")

    def __init__(self, workers: int) -> None:
        self.metrics = Metrics()
        self.recent = Recent()
        self.access_log: AccessLog | None = None
        self.states: list[Json] = [None] * workers
        self.refused = [0] * workers  # the newest generation that each worker could not serve
        self.keys = [0] * workers  # the version of the key sets that each worker said it has
        self.wanted_keys: set[str] = set()  # key sets, by URI, that tokens' keys were missing from
        self._exporter: ExportQueue | None = None
        self._backlog: deque[Record] | None = None

    def open_access_log(self, path: str, line_format: str) -> None:
        """Write a line an exchange from now on."""
        self.access_log = AccessLog(path, line_format)
        self.metrics.watch(Kind.COUNTER, self.access_log.counters)

    def expect_exporter(self) -> None:
        """Keep records for an exporter that is on its way."""
        self._backlog = deque(maxlen=BACKLOG)

    def attach(self, exporter: ExportQueue) -> None:
        """It is there."""
        self._exporter = exporter
        self.metrics.watch(Kind.COUNTER, exporter.counters)
        waiting, self._backlog = self._backlog, None
        exporter.offer(waiting or ())

    def read(self, slot: int, channel: Channel) -> bool:
        """Take in what a worker has sent, up to a fair share; whether there may be more."""
        for _ in range(PASS):
            message = channel.receive()
            if message is None:
                return False
            self.take(slot, message)
        return True

    def take(self, slot: int, message: Message) -> None:
        """One message."""
        kind, payload, *rest = message
        if kind == "records":
            assert isinstance(payload, bytes)
            self._take_records(decode_batch(payload))
        elif kind == "cells":
            assert isinstance(payload, bytes)
            self.metrics.merge(source(slot), payload)
        elif kind == "state":
            assert isinstance(payload, str)
            state: Json = json.loads(payload)
            self.states[slot] = state
        elif kind == "refused":
            assert isinstance(payload, int)
            self.refused[slot] = payload
            log.error("worker-%d cannot serve generation %d: %s", slot, payload, *rest)
        elif kind == "keys":
            assert isinstance(payload, int)
            self.keys[slot] = payload
        elif kind == "wanted":
            assert isinstance(payload, list)
            self.wanted_keys.update(payload)
        else:
            raise AssertionError(kind)

    def forget(self, slot: int) -> None:
        """That worker is gone."""
        self.metrics.retire(source(slot))
        self.states[slot] = None
        self.refused[slot] = 0
        self.keys[slot] = 0

    def close(self, timeout: float) -> Iterator["Closing"]:
        """What must still be written out, each to be called in a thread of its own: they wait."""
        if self.access_log is not None:
            yield Closing(self.access_log, timeout)
        if self._exporter is not None:
            yield Closing(self._exporter, timeout)

    def _take_records(self, records: list[Record]) -> None:
        self.recent.add(records)
        if self.access_log is not None:
            self.access_log.offer(records)
        if self._exporter is not None:
            self._exporter.offer(records)
        elif self._backlog is not None:
            self._backlog.extend(records)

    def __repr__(self) -> str:
        return f"<Intake {self.metrics!r} {self.recent!r}>"


class Closing:
    """The end of one writer."""

    __slots__ = ("_timeout", "_writer")

    def __init__(self, writer: AccessLog | ExportQueue, timeout: float) -> None:
        self._writer = writer
        self._timeout = timeout

    def __call__(self) -> None:
        """Write out what there is, within the time."""
        if isinstance(self._writer, AccessLog):
            self._writer.close(self._timeout)
        else:
            self._writer.shutdown(self._timeout)


def source(slot: int) -> str:
    """How metrics call a worker's place."""
    return f"worker-{slot}"


def gauge(name: str, value: float) -> tuple[Key, float]:
    """A number without labels."""
    return (name, ()), value
