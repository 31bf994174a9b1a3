"""Records and metrics that wait for an OpenTelemetry collector, and the thread that sends them. Knows no SDK.

Runs in the controller, on a thread of its own, because an export waits for the network and Python encodes slowly.

Theory of operation: `offer` queues sampled records and never waits; the thread builds spans, sends them by the batch,
and the metrics at their interval. Rule 1: the queue is bounded by number and octets; what does not fit is dropped and
counted. Rule 2: a collector that is down, hangs or answers 429 is retried by the OTLP client within the time-out of
one export (it heeds Retry-After); then the batch is dropped and exporting rests, twice as long each time up to half a
minute. Rule 3: an outage is told of once when it begins and once when it ends. Rule 4: spans take at most `SHARE` of
one core, because encoding one costs about as much as forwarding a request; under a flood of them the queue overflows.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol, TypeAlias

from meshd.core.cells import Key
from meshd.telemetry.log_events import LogEvent, build_log_event
from meshd.telemetry.metrics import Family
from meshd.telemetry.record import Record
from meshd.telemetry.spans import Span, build_spans

log = logging.getLogger(__name__)

QUEUE: Final = 4096  # records
QUEUE_OCTETS: Final = 16 * 1024 * 1024
BATCH: Final = 256  # records in one export
DELAY: Final = 1.0  # seconds that a record waits for its batch to fill
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
SHARE: Final = 0.5  # of one core

Collect: TypeAlias = Callable[[], Sequence[Family]]

_clock = time.monotonic  # noqa: TID251  # a thread outside trio has no other clock


class Collector(Protocol):
    """Where spans and metrics go; called from one thread only, but for `close`."""

    def send_spans(self, spans: Sequence[Span]) -> bool:
        """Send; False when they were not taken. Waits, within a bound of its own."""

    def send_metrics(self, families: Sequence[Family]) -> bool:
        """Send; False when they were not taken."""

    def send_logs(self, events: Sequence[LogEvent]) -> bool:
        """Send; False when they were not taken."""

    def close(self) -> None:
        """End what is under way."""


class ExportQueue:
    """What waits for the collector, and the thread that sends it."""

    __slots__ = (
        "_closing",
        "_collect",
        "_collector",
        "_interval",
        "_logs",
        "_metrics_due",
        "_not_before",
        "_octets",
        "_pause",
        "_queue",
        "_thread",
        "_wake",
        "dropped",
        "exported",
        "exported_logs",
        "failures",
    )

    def __init__(self, collector: Collector, collect: Collect, interval: float = 10.0, *, logs: bool = False) -> None:
        self._collector = collector
        self._collect = collect
        self._interval = interval
        self._logs = logs  # a log event for every record
        self._queue: deque[Record] = deque()
        self._octets = 0
        self._wake = threading.Condition()
        self._closing = False
        self._pause = 0.0  # how long exporting rests after the last failure; 0 while the collector answers
        self._not_before = 0.0
        self._metrics_due = _clock() + interval
        self.exported = 0
        self.exported_logs = 0
        self.dropped = 0
        self.failures = 0
        self._thread = threading.Thread(target=self._run, name="otlp exporter", daemon=True)
        self._thread.start()

    def offer(self, records: Iterable[Record]) -> None:
        """Queue the sampled ones, and with logs all; never waits."""
        wanted = [record for record in records if self._logs or (record.trace is not None and record.trace.sampled)]
        if not wanted:
            return
        with self._wake:
            for record in wanted:
                weight = record.weight
                if self._closing or len(self._queue) >= QUEUE or self._octets + weight > QUEUE_OCTETS:
                    self.dropped += 1
                else:
                    self._queue.append(record)
                    self._octets += weight
            if len(self._queue) >= BATCH:
                self._wake.notify()

    def shutdown(self, timeout: float) -> None:
        """Send what is queued and the last metrics, for at most `timeout` seconds; then give up on the rest."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout)
        self._collector.close()

    def counters(self) -> Iterator[tuple[Key, float]]:
        """For `Metrics.watch`."""
        yield ("meshd.telemetry.exported", ()), self.exported
        if self._logs:
            yield ("meshd.telemetry.exported.logs", ()), self.exported_logs
        yield ("meshd.telemetry.failures", ()), self.failures
        yield ("meshd.telemetry.dropped", (("meshd.at", "exporter"),)), self.dropped

    def statistics(self) -> dict[str, int]:
        """What was sent and what was not."""
        return {
            "queued": len(self._queue),
            "exported": self.exported,
            "dropped": self.dropped,
            "failures": self.failures,
        }

    # -- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        closing = False
        while not closing:
            records, closing = self._next()
            while records:
                self._export(records)
                if closing and self._pause:
                    break  # the collector is away: do not spend the drain time on it
                records = self._take() if closing else []
            if closing or _clock() >= self._metrics_due:
                self._export_metrics(closing=closing)

    def _next(self) -> tuple[list[Record], bool]:
        """Wait until a batch is full or old enough, metrics are due or it is time to end."""
        with self._wake:
            rest = self._not_before - _clock() if len(self._queue) >= BATCH else DELAY
            self._wake.wait_for(self._is_due, timeout=min(DELAY, max(0.0, rest)))
            if not self._closing and _clock() < self._not_before:
                return [], False
            return self._take(), self._closing

    def _is_due(self) -> bool:
        return self._closing or (len(self._queue) >= BATCH and _clock() >= self._not_before)

    def _take(self) -> list[Record]:
        with self._wake:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            self._octets -= sum(record.weight for record in batch)
            return batch

    def _export(self, records: list[Record]) -> None:
        before = time.thread_time()
        spans = [span for record in records for span in build_spans(record)]
        taken = not spans or self._attempt(lambda: self._collector.send_spans(spans))
        if taken:
            self.exported += len(spans)
        if taken and self._logs:
            taken = self._attempt(lambda: self._collector.send_logs([build_log_event(record) for record in records]))
            if taken:
                self.exported_logs += len(records)
        if taken:
            self._not_before = _clock() + (time.thread_time() - before) * (1 / SHARE - 1)
        else:
            self.dropped += len(records)

    def _export_metrics(self, *, closing: bool) -> None:
        self._metrics_due = _clock() + self._interval
        if self._pause and (closing or _clock() < self._not_before):
            return
        families = self._collect()
        if families:
            self._attempt(lambda: self._collector.send_metrics(families))

    def _attempt(self, export: Callable[[], bool]) -> bool:
        """One export; a failure is counted and makes the next one wait."""
        try:
            done = export()
        except Exception:  # a bug here or in the client must not end the thread, which would fill the queue for good
            log.exception("an export crashed")
            done = False
        if done:
            if self._pause:
                log.warning("%r answers again; %d records were dropped", self._collector, self.dropped)
            self._pause = 0.0
            return True
        self.failures += 1
        if not self._pause:
            log.warning("%r does not take our spans, metrics or logs; traffic is not affected", self._collector)
        self._pause = min(LONGEST_PAUSE, self._pause * 2 or FIRST_PAUSE)
        self._not_before = _clock() + self._pause
        return False

    def __repr__(self) -> str:
        return f"<ExportQueue {len(self._queue)} waiting, {self.exported} exported, {self.dropped} dropped>"
