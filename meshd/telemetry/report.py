"""A worker's numbers on their way to the controller: cumulative, and only those that changed.

Theory of operation: a value that is sent is the total since the worker started, so a message that is lost or comes
twice changes nothing. Cells are never taken away, and a dictionary keeps its order; therefore what was sent last is
remembered by position, and looking for changes hashes nothing. Rule 1: only what the channel took counts as sent.
Rule 2: every so often everything is sent, so that a controller that was started again knows all within half a minute.
"""

import marshal
from typing import Final, TypeAlias

from meshd.core.cells import Exemplar, Key
from meshd.telemetry.records import Recorder, Send

Counts: TypeAlias = list[tuple[Key, float]]
Distributions: TypeAlias = list[tuple[Key, list[int], int, float, Exemplar | None]]
Message: TypeAlias = tuple[int, Counts, Counts, Distributions]  # incarnation, counters, gauges, histograms

CHUNK: Final = 256  # values in one message, so that it fits the channel
PER_SERIES: Final = 5  # values that a series may tell
COMPLETE_EVERY: Final = 30  # pushes


class Report:
    """What a controller knows of one worker's cells."""

    __slots__ = ("_cells", "_counters", "_gauges", "_histograms", "_incarnation", "_pushes", "_recorder", "_send")

    def __init__(self, recorder: Recorder, send: Send, incarnation: int) -> None:
        self._cells = recorder.cells
        self._recorder = recorder
        self._send = send
        self._incarnation = incarnation  # a number the worker before it in this place did not have, such as the pid
        self._pushes = 0
        self._counters: list[float] = []
        self._gauges: list[float] = []
        self._histograms: list[int] = []

    def push(self) -> bool:
        """Send what changed since the last push; False when the channel would not take it all: next time, then."""
        if self._pushes % COMPLETE_EVERY == 0:
            self.reset()
        self._pushes += 1
        return (
            self._push_series()
            and self._push_values(self._cells.counters, self._counters, gauges=False)
            and self._push_values(self._cells.gauges, self._gauges, gauges=True)
            and self._push_histograms()
        )

    def reset(self) -> None:
        """Forget what the controller knows: the next push tells it everything."""
        self._counters.clear()
        self._gauges.clear()
        self._histograms.clear()
        for series in self._recorder.series():
            series.reported = 0

    def _push_series(self) -> bool:
        changed = [series for series in self._recorder.series() if series.count != series.reported]
        for start in range(0, len(changed), CHUNK // PER_SERIES):
            part = changed[start : start + CHUNK // PER_SERIES]
            if not self._offer([total for series in part for total in series.totals()], [], []):
                return False
            for series in part:
                series.reported = series.count
        return True

    def _push_values(self, values: dict[Key, float], sent: list[float], *, gauges: bool) -> bool:
        sent.extend([NEVER] * (len(values) - len(sent)))
        changed = [(place, item) for place, item in enumerate(values.items()) if item[1] != sent[place]]
        for start in range(0, len(changed), CHUNK):
            part = changed[start : start + CHUNK]
            items = [item for _place, item in part]
            if not self._offer([] if gauges else items, items if gauges else [], []):
                return False
            for place, (_key, value) in part:
                sent[place] = value
        return True

    def _push_histograms(self) -> bool:
        histograms, sent = self._cells.histograms, self._histograms
        sent.extend([0] * (len(histograms) - len(sent)))
        changed = [(place, item) for place, item in enumerate(histograms.items()) if item[1].count != sent[place]]
        for start in range(0, len(changed), CHUNK):
            part = changed[start : start + CHUNK]
            if not self._offer([], [], [(key, h.buckets, h.count, h.sum, h.exemplar) for _place, (key, h) in part]):
                return False
            for place, (_key, histogram) in part:
                sent[place] = histogram.count
        return True

    def _offer(self, counters: Counts, gauges: Counts, histograms: Distributions) -> bool:
        message: Message = (self._incarnation, counters, gauges, histograms)
        return self._send(marshal.dumps(message))

    def __repr__(self) -> str:
        return f"<Report {self._pushes} pushes, {len(self._counters) + len(self._histograms)} values>"


NEVER: Final = float("nan")  # unlike every value, itself included


def read_report(payload: bytes) -> Message:
    """What one message says."""
    message: Message = marshal.loads(payload)  # noqa: S302  # a worker of our own wrote it
    return message
