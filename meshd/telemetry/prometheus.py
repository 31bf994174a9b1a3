"""Metrics as Prometheus reads them: text exposition format 0.0.4.

Names follow OpenTelemetry's "Prometheus and OpenMetrics compatibility": dots become underscores, the unit is spelt out
at the end, counters end in `_total`. Every series of one name stands together under one HELP and one TYPE.
"""

import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from meshd.core.cells import Labels
from meshd.telemetry.metrics import Distribution, Family, Kind

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
UNITS: Final = {"s": "seconds", "ms": "milliseconds", "By": "bytes"}

_NOT_NAME: Final = re.compile(r"[^a-zA-Z0-9_:]")
_NOT_LABEL: Final = re.compile(r"[^a-zA-Z0-9_]")
_HELP_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n"})
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def render(families: Iterable[Family]) -> str:
    """The whole page."""
    lines: list[str] = []
    for family in families:
        name = exposed_name(family)
        lines.append(f"# HELP {name} {family.text.translate(_HELP_ESCAPES)}")
        lines.append(f"# TYPE {name} {family.kind.name.lower()}")
        for labels, value in family.points:
            lines.append(f"{name}{_braces(label_text(labels))} {number(value)}")
        for labels, distribution in family.distributions:
            _histogram(lines, name, label_text(labels), distribution, family.bounds)
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


def _histogram(lines: list[str], name: str, labels: str, distribution: Distribution, bounds: tuple[float, ...]) -> None:
    prefix = f"{name}_bucket{{{labels}," if labels else f"{name}_bucket{{"
    below = 0
    for bound, bucket in zip(bounds, distribution.buckets, strict=False):
        below += bucket
        lines.append(f'{prefix}le="{number(bound)}"}} {below}')
    lines.append(f'{prefix}le="+Inf"}} {distribution.count}')
    lines.append(f"{name}_sum{_braces(labels)} {number(distribution.sum)}")
    lines.append(f"{name}_count{_braces(labels)} {distribution.count}")


def _braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""
