"""Metrics as JSON, for people and for the dashboard: with quantiles instead of buckets."""

import math
from collections.abc import Iterable

from meshd.telemetry.describe import Json
from meshd.telemetry.metrics import Family, Kind

GROUPS = {Kind.COUNTER: "counters", Kind.GAUGE: "gauges", Kind.HISTOGRAM: "histograms"}


def stats(families: Iterable[Family], prefix: str = "") -> dict[str, Json]:
    """Every metric whose name starts with `prefix`, grouped by kind, then by name."""
    groups: dict[str, dict[str, Json]] = {name: {} for name in GROUPS.values()}
    for family in families:
        if family.name.startswith(prefix):
            series: list[Json] = [{"labels": dict(labels), "value": _finite(value)} for labels, value in family.points]
            for labels, each in family.distributions:
                quantiles: dict[str, Json] = {
                    f"p{q:g}": _finite(each.quantile(q / 100, family.bounds)) for q in (50, 90, 99)
                }
                series.append({"labels": dict(labels), "count": each.count, "sum": each.sum, **quantiles})
            groups[GROUPS[family.kind]][family.name] = series
    return dict(groups)


def _finite(value: float | None) -> float | None:
    """JSON has no infinity and no NaN."""
    return value if value is not None and math.isfinite(value) else None
