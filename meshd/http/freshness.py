"""How long an answer that was fetched may be used before it is asked for again (RFC 9111 section 4.2). Pure."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

LONGEST = 2**31  # seconds (RFC 9111 section 1.2.2)


def freshness(fields: Mapping[str, str]) -> float | None:
    """Seconds from now, by Cache-Control, else by Expires; 0 for what is not to be kept, None when nothing is said.

    The names of `fields` are in lower case. Whoever reads this is a private cache: `s-maxage` is not for it.
    """
    directives = _directives(fields.get("cache-control", ""))
    if "no-store" in directives or "no-cache" in directives:
        return 0.0
    if "max-age" in directives:
        lifetime = _seconds(directives["max-age"])
        return max(0.0, (lifetime or 0.0) - (_seconds(fields.get("age", "")) or 0.0))
    if "expires" in fields:
        return _until(fields["expires"], fields.get("date", ""))
    return None


def _directives(value: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in value.split(","):
        name, _, argument = part.strip().partition("=")
        found.setdefault(name.strip().lower(), argument.strip().strip('"'))
    return found


def _seconds(text: str) -> float | None:
    if not (text.isascii() and text.isdigit()):
        return None
    return float(min(int(text[:12]), LONGEST))


def _until(expires: str, date: str) -> float:
    """What cannot be read, and `0` among it, has expired already (RFC 9111 section 5.3)."""
    try:
        return max(0.0, (parsedate_to_datetime(expires) - parsedate_to_datetime(date)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
