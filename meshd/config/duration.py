"""Durations as documents write them, as seconds. Two dialects: Gateway API (GEP-2257) and Go's, which Istio uses.

Sources: Gateway API GEP-2257; Go `time.ParseDuration`; protobuf's JSON form ("1.5s") is a subset of Go's.
"""

import re
from typing import Final

GATEWAY: Final = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"
GO: Final = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*$|^0$"

_NANOSECONDS: Final = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "µs": 1_000,
    "ns": 1,
}
_LIMIT: Final = 2**63 - 1  # nanoseconds: 292 years, as far as Go counts
_PART = re.compile(r"([0-9]{0,20})(\.[0-9]{0,20})?(ns|us|µs|ms|s|m|h)")
_GATEWAY = re.compile(GATEWAY)
_GO = re.compile(GO)


def _seconds(text: str) -> float | None:
    total = 0
    for whole, fraction, unit in _PART.findall(text):
        scale = _NANOSECONDS[unit]
        total += int(whole or "0") * scale + int(float(fraction or "0.0") * scale if len(fraction) > 1 else 0)
    return total / 1e9 if total <= _LIMIT else None


def parse_gateway_duration(text: str) -> float | None:
    """Seconds of `1h30m`, `500ms`; None when it is not one: no fractions, at most four parts of five digits."""
    return _seconds(text) if _GATEWAY.match(text) and not text.endswith("\n") else None


def parse_duration(text: str) -> float | None:
    """Seconds of `1.5s`, `100ms`, `1h`, `0`; None when it is not one or would last longer than 292 years."""
    return _seconds(text) if len(text) <= 100 and _GO.match(text) and not text.endswith("\n") else None


def format_duration(seconds: float) -> str:
    """The shortest spelling that both dialects read, or Go's when there is a fraction of a millisecond."""
    left = round(seconds * 1e9)
    text = ""
    for unit in ("h", "m", "s", "ms"):
        count, left = divmod(left, _NANOSECONDS[unit])
        text += f"{count}{unit}" if count else ""
    return text + (f"{left}ns" if left else "") or "0s"
