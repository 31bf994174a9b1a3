"""Metrics as Prometheus reads them: text exposition format 0.0.4, or OpenMetrics 1.0 for who asks for it.

Names follow OpenTelemetry's "Prometheus and OpenMetrics compatibility": dots become underscores, the unit is spelt out
at the end, counters end in `_total`. Every series of one name stands together under one HELP and one TYPE.
"""

import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from meshd.core.cells import Exemplar, Labels
from meshd.telemetry.metrics import Distribution, Family, Kind

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
UNITS: Final = {"s": "seconds", "ms": "milliseconds", "By": "bytes"}

_NEVER: Final = re.compile(r"q=0(?:\.0*)?\s*(?:;|$)")
_NOT_NAME: Final = re.compile(r"[^a-zA-Z0-9_:]")
_NOT_LABEL: Final = re.compile(r"[^a-zA-Z0-9_]")
_HELP_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n"})
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def wants_open_metrics(accept: str) -> bool:
    """Whether a client names OpenMetrics, as Prometheus does; others get the older format, which everybody reads."""
    kinds = (each.partition(";") for each in accept.lower().split(","))
    return any(kind.strip() == "application/openmetrics-text" and not _NEVER.search(more) for kind, _, more in kinds)


def render(families: Iterable[Family], *, open_metrics: bool = False) -> str:
    """The whole page, in the text format 0.0.4 or in OpenMetrics 1.0, which has examples of traces besides."""
    lines: list[str] = []
    for family in families:
        name = exposed_name(family)
        # OpenMetrics names a counter without the suffix that its samples have.
        title = name.removesuffix("_total") if open_metrics and family.kind is Kind.COUNTER else name
        lines.append(f"# HELP {title} {family.text.translate(_ESCAPES if open_metrics else _HELP_ESCAPES)}")
        lines.append(f"# TYPE {title} {family.kind.name.lower()}")
        for labels, value in family.points:
            lines.append(f"{name}{_braces(label_text(labels))} {number(value)}")
        for labels, distribution in family.distributions:
            exemplar = distribution.exemplar if open_metrics else None
            _histogram(lines, name, label_text(labels), distribution, family.bounds, exemplar)
    if open_metrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n" if lines else ""


def exposed_name(family: Family) -> str:
    """The name on the page."""
    name = _NOT_NAME.sub("_", family.name)
    unit = UNITS.get(family.unit, "")
    if unit and not name.endswith(f"_{unit}"):
        name = f"{name}_{unit}"
    if family.kind is Kind.COUNTER and not name.endswith("_total"):
        name = f"{name}_total"
    return f"_{name}" if name[:1].isdigit() else name


@lru_cache(maxsize=32_768)
def label_text(labels: Labels) -> str:
    """Labels as they stand between the braces. A label without a value is no label to Prometheus, and left out."""
    return ",".join(f'{label_name(name)}="{value.translate(_ESCAPES)}"' for name, value in labels if value)


@lru_cache(maxsize=1024)
def label_name(name: str) -> str:
    """A label's name on the page."""
    found = _NOT_LABEL.sub("_", name)
    return f"_{found}" if found[:1].isdigit() else found


def number(value: float) -> str:
    """A sample's value."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _histogram(
    lines: list[str],
    name: str,
    labels: str,
    distribution: Distribution,
    bounds: tuple[float, ...],
    exemplar: Exemplar | None,
) -> None:
    prefix = f"{name}_bucket{{{labels}," if labels else f"{name}_bucket{{"
    below = 0
    for bound, bucket in zip((*bounds, math.inf), (*distribution.buckets, 0), strict=False):
        below = distribution.count if math.isinf(bound) else below + bucket
        line = f'{prefix}le="{number(bound)}"}} {below}'
        if exemplar is not None and exemplar[0] <= bound:
            value, trace_id, span_id, at = exemplar
            line += f' # {{trace_id="{trace_id:032x}",span_id="{span_id:016x}"}} {value!r} {at:.3f}'
            exemplar = None
        lines.append(line)
    lines.append(f"{name}_sum{_braces(labels)} {number(distribution.sum)}")
    lines.append(f"{name}_count{_braces(labels)} {distribution.count}")


def _braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""
