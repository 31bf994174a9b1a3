"""The numbers of the whole sidecar: what all workers counted, those that are gone included.

Theory of operation: a worker sends totals since its own start (`report.py`). What is new in them is added to ours, so a
worker that starts again at zero takes nothing away, and a message that comes twice adds nothing. Rule 1: totals never
go down. Rule 2: a worker that is gone leaves its counts and takes its gauges. Rule 3: past the cap, new label sets
share one series, so that no traffic can grow this process. May be read from any thread.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from meshd.core.cells import BOUNDARIES, OVERFLOW, Cells, Exemplar, Key, Labels
from meshd.telemetry.names import description
from meshd.telemetry.report import read_report

Gather: TypeAlias = Callable[[], Iterable[tuple[Key, float]]]

CAP: Final = 10_000


class Kind(Enum):
    """How a metric's numbers may be put together."""

    COUNTER = auto()
    GAUGE = auto()
    HISTOGRAM = auto()


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram at a moment: counts by bucket, the last one without an upper bound."""

    buckets: tuple[int, ...]
    count: int
    sum: float
    exemplar: Exemplar | None = None

    def quantile(self, q: float, bounds: tuple[float, ...] = BOUNDARIES) -> float | None:
        """An estimate, linear within its bucket; None when nothing was observed."""
        if not self.count:
            return None
        rank, below, lower = q * self.count, 0, 0.0
        for bound, bucket in zip(bounds, self.buckets, strict=False):
            if below + bucket >= rank and bucket:
                return lower + (bound - lower) * (rank - below) / bucket
            below += bucket
            lower = bound
        return lower


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with all its label sets."""

    name: str
    kind: Kind
    unit: str
    text: str
    points: tuple[tuple[Labels, float], ...] = ()
    distributions: tuple[tuple[Labels, Distribution], ...] = ()
    bounds: tuple[float, ...] = BOUNDARIES


class _Total:
    """A histogram that others are added to."""

    __slots__ = ("buckets", "count", "exemplar", "sum")

    def __init__(self, buckets: int) -> None:
        self.buckets = [0] * buckets
        self.count = 0
        self.sum = 0.0
        self.exemplar: Exemplar | None = None

    def add(self, new: Distribution, old: Distribution | None) -> None:
        if old is None or new.count < old.count:
            old = Distribution((0,) * len(new.buckets), 0, 0.0)
        self.buckets = [total + n - o for total, n, o in zip(self.buckets, new.buckets, old.buckets, strict=True)]
        self.count += new.count - old.count
        self.sum += max(0.0, new.sum - old.sum)
        self.exemplar = new.exemplar or self.exemplar


class _Source:
    """What one incarnation of a worker said last."""

    __slots__ = ("counters", "gauges", "histograms", "incarnation")

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.counters: dict[Key, float] = {}
        self.gauges: dict[Key, float] = {}
        self.histograms: dict[Key, Distribution] = {}


class Metrics:
    """The sum of all workers and of the controller's own cells."""

    __slots__ = ("_cap", "_counters", "_gathers", "_histograms", "_lock", "_sources", "cells")

    def __init__(self, cap: int = CAP) -> None:
        self._cap = cap
        self._lock = threading.Lock()
        self._counters: dict[Key, float] = {}
        self._histograms: dict[Key, _Total] = {}
        self._sources: dict[str, _Source] = {}
        self._gathers: list[tuple[Kind, Gather]] = []
        self.cells = Cells()  # the controller's own

    def merge(self, source: str, payload: bytes) -> None:
        """Take in one message of a worker. `source` is its place; who fills it shows in the message."""
        incarnation, counters, gauges, histograms = read_report(payload)
        with self._lock:
            last = self._sources.get(source)
            if last is None or last.incarnation != incarnation:
                last = self._sources[source] = _Source(incarnation)
            for key, value in counters:
                old = last.counters.get(key, 0.0)
                last.counters[key] = value
                place = self._place(key, self._counters)
                self._counters[place] = self._counters.get(place, 0.0) + (value - old if value >= old else value)
            last.gauges.update(gauges)
            for key, buckets, count, total, exemplar in histograms:
                new = Distribution(tuple(buckets), count, total, exemplar)
                place = self._place(key, self._histograms)
                self._histograms.setdefault(place, _Total(len(buckets))).add(new, last.histograms.get(key))
                last.histograms[key] = new

    def retire(self, source: str) -> None:
        """A worker is gone: its counts stay, its gauges go."""
        with self._lock:
            if source in self._sources:
                self._sources[source].gauges.clear()  # the rest stays: a message of its may still be on the way

    def watch(self, kind: Kind, gather: Gather) -> None:
        """Ask `gather` whenever the metrics are read; for numbers that somebody else keeps anyway."""
        assert kind is not Kind.HISTOGRAM
        self._gathers.append((kind, gather))

    def collect(self) -> list[Family]:
        """Every metric with every label set, sorted by name."""
        counters, gauges, histograms = self._totals()
        own = self.cells
        for key, histogram in list(own.histograms.items()):
            new = Distribution(tuple(histogram.buckets), histogram.count, histogram.sum, histogram.exemplar)
            histograms.setdefault(key, _Total(len(new.buckets))).add(new, None)
        counted = {Kind.COUNTER: counters, Kind.GAUGE: gauges}
        values = [(Kind.COUNTER, list(own.counters.items())), (Kind.GAUGE, list(own.gauges.items()))]
        values += [(kind, list(gather())) for kind, gather in self._gathers]
        for kind, items in values:
            for key, value in items:
                _combine(counted[kind], key, value, highest=kind is Kind.GAUGE and description(key[0]).highest)
        families = [*_families(Kind.COUNTER, counters), *_families(Kind.GAUGE, gauges), *_distributions(histograms)]
        return sorted(families, key=lambda family: family.name)

    def statistics(self) -> dict[str, int]:
        """How many series there are, and of how many workers."""
        return {
            "counters": len(self._counters),
            "histograms": len(self._histograms),
            "sources": len(self._sources),
            "cap": self._cap,
        }

    def _totals(self) -> tuple[dict[Key, float], dict[Key, float], dict[Key, _Total]]:
        """Copies of what the workers said, taken at one moment."""
        gauges: dict[Key, float] = {}
        histograms: dict[Key, _Total] = {}
        with self._lock:
            for key, total in self._histograms.items():
                copy = histograms[key] = _Total(0)
                copy.buckets, copy.count, copy.sum = total.buckets, total.count, total.sum
                copy.exemplar = total.exemplar
            for source in self._sources.values():
                for key, value in source.gauges.items():
                    place = self._place(key, gauges)
                    _combine(gauges, place, value, highest=description(key[0]).highest)
            return dict(self._counters), gauges, histograms

    def _place(self, key: Key, among: "dict[Key, float] | dict[Key, _Total]") -> Key:
        return key if key in among or len(among) < self._cap else (key[0], OVERFLOW)

    def __repr__(self) -> str:
        counts = f"{len(self._counters)} counters, {len(self._histograms)} histograms, {len(self._sources)} workers"
        return f"<Metrics {counts}>"


def _combine(into: dict[Key, float], key: Key, value: float, *, highest: bool) -> None:
    old = into.get(key)
    if old is None:
        into[key] = value
    else:
        into[key] = max(old, value) if highest else old + value


def _families(kind: Kind, values: dict[Key, float]) -> list[Family]:
    grouped: dict[str, list[tuple[Labels, float]]] = {}
    for (name, labels), value in values.items():
        grouped.setdefault(name, []).append((labels, value))
    return [
        Family(name, kind, description(name).unit, description(name).text, points=tuple(points))
        for name, points in grouped.items()
    ]


def _distributions(values: dict[Key, _Total]) -> list[Family]:
    grouped: dict[str, list[tuple[Labels, Distribution]]] = {}
    for (name, labels), total in values.items():
        each = Distribution(tuple(total.buckets), total.count, total.sum, total.exemplar)
        grouped.setdefault(name, []).append((labels, each))
    families = []
    for name, found in grouped.items():
        about = description(name)
        made = Family(name, Kind.HISTOGRAM, about.unit, about.text, distributions=tuple(found), bounds=about.bounds)
        families.append(made)
    return families
