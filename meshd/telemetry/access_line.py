"""One exchange as one line of the access log, in either format. Pure.

Text is Envoy's default line, field for field (envoyproxy/envoy docs/root/configuration/observability/access_log/
usage.rst, "Default format string"), so that its parsers go on working. Envoy writes what the client sent as it came; we
escape quotes, backslashes, controls and everything beyond ASCII, so that no request can forge a line or end a field.
"""

import json
import re
from collections.abc import Callable
from typing import Final, TypeAlias

from meshd.telemetry.describe import milliseconds, summarise, target, timestamp
from meshd.telemetry.record import Record

Format: TypeAlias = Callable[[Record], str]

_UNSAFE: Final = re.compile(r'[^\x20-\x7e]|["\\]')
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode  # ASCII only, so neither U+2028 nor U+0085 ends a line


def json_line(record: Record) -> str:
    """The summary as one JSON object."""
    return _encode(summarise(record)) + "\n"


def text_line(record: Record) -> str:
    """Envoy's default line."""
    upstream_time = milliseconds(record.upstream_time)
    host = record.attempts[-1].host if record.attempts else ""
    return (
        f'[{timestamp(record.started)}] "{_escape(record.method)} {_escape(target(record))} HTTP/{record.protocol}" '
        f"{record.status} {record.flags or '-'} {record.received} {record.sent} {milliseconds(record.duration)} "
        f'{"-" if upstream_time is None else upstream_time} "{_field(record.forwarded_for)}" '
        f'"{_field(record.user_agent)}" "{_field(record.request_id)}" "{_field(record.authority)}" "{_field(host)}"\n'
    )


FORMATS: Final[dict[str, Format]] = {"json": json_line, "text": text_line}


def _field(text: str) -> str:
    return _escape(text) or "-"


def _escape(text: str) -> str:
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    """As nginx writes it: the octets of the character in hex."""
    return "".join(f"\\x{octet:02X}" for octet in match[0].encode("utf-8", "surrogatepass"))
