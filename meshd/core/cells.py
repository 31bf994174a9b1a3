"""Counters and histograms of one worker: plain numbers, no locks, no clock. The controller reads and merges them."""

from bisect import bisect_left
from typing import Final

# Seconds; the boundaries of the stable OpenTelemetry HTTP duration metrics.
BOUNDARIES: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

# Seconds; what the conventions advise for http.client.connection.duration.
LONG_BOUNDARIES: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
# Octets. Powers of two, so that the bucket is found by the length of the number.
SIZE_BOUNDARIES: Final = tuple(4.0**power for power in range(4, 15))  # 256 … 256 Mi
_SIZE_BUCKETS: Final = bytes(min(max(0, (bits - 7) // 2), len(SIZE_BOUNDARIES)) for bits in range(256))

Exemplar = tuple[float, int, int, float]  # a value, the ids of its trace and span, when (wall clock)
Labels = tuple[tuple[str, str], ...]
Key = tuple[str, Labels]


class Histogram:
    """Counts by bucket, with sum and total."""

    __slots__ = ("bounds", "buckets", "count", "exemplar", "sum")

    def __init__(self, bounds: tuple[float, ...] = BOUNDARIES) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.count = 0
        self.sum = 0.0
        self.exemplar: Exemplar | None = None  # the last value that belongs to a trace which is kept

    def observe(self, seconds: float) -> None:
        """Add one duration."""
        self.buckets[bisect_left(self.bounds, seconds)] += 1
        self.count += 1
        self.sum += seconds

    def observe_size(self, octets: int) -> None:
        """Add one size; only for SIZE_BOUNDARIES."""
        self.buckets[_SIZE_BUCKETS[(octets - 1).bit_length()]] += 1
        self.count += 1
        self.sum += octets

    def __repr__(self) -> str:
        return f"<Histogram {self.count} observed, sum {self.sum:.3f}>"


class Cells:
    """Every number a worker counts, by metric name and labels. Label sets are bounded: past the cap all new ones share
    `{"overflow": "true"}`, the OpenTelemetry convention, so that a peer cannot grow our memory by what it sends."""

    __slots__ = ("_cap", "counters", "gauges", "histograms")

    def __init__(self, cap: int = 2000) -> None:
        self._cap = cap
        self.counters: dict[Key, float] = {}
        self.gauges: dict[Key, float] = {}
        self.histograms: dict[Key, Histogram] = {}

    def add(self, name: str, labels: Labels = (), amount: float = 1) -> None:
        """Count."""
        key = (name, labels)
        counters = self.counters
        if key not in counters and len(counters) >= self._cap:
            key = (name, OVERFLOW)
        counters[key] = counters.get(key, 0) + amount

    def set(self, name: str, value: float, labels: Labels = ()) -> None:
        """Set a gauge."""
        key = (name, labels)
        if key not in self.gauges and len(self.gauges) >= self._cap:
            key = (name, OVERFLOW)
        self.gauges[key] = value

    def histogram(self, name: str, labels: Labels = (), bounds: tuple[float, ...] = BOUNDARIES) -> Histogram:
        """The histogram of that name and labels, made if need be. Hot code keeps what it gets."""
        key = (name, labels)
        found = self.histograms.get(key)
        if found is None:
            if len(self.histograms) >= self._cap:
                key = (name, OVERFLOW)
                found = self.histograms.get(key)
            if found is None:
                found = self.histograms[key] = Histogram(bounds)
        return found

    def __repr__(self) -> str:
        return f"<Cells {len(self.counters)} counters, {len(self.gauges)} gauges, {len(self.histograms)} histograms>"


OVERFLOW: Final[Labels] = (("overflow", "true"),)
