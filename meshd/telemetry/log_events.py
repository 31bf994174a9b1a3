"""A record as a log event: one line of the access log for a collector. Pure, no SDK.

The body is the line as the file has it in JSON; the attributes are those of the exchange's SERVER span, so that logs
are found by what spans are found by, and the event hangs at that span whether or not the trace is kept.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from meshd.telemetry.access_line import json_line
from meshd.telemetry.record import Record
from meshd.telemetry.span_facts import Attributes
from meshd.telemetry.spans import server_attributes

NAME: Final = "meshd.access"
NO_ANSWER: Final = 0


class Severity(IntEnum):
    """OpenTelemetry's numbers."""

    INFO = 9
    WARN = 13
    ERROR = 17


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One log record, ready to be exported."""

    at: float  # wall clock, the end of the exchange
    severity: Severity
    body: str
    attributes: Attributes
    trace_id: int  # 0 for none
    span_id: int
    sampled: bool


def build_log_event(record: Record) -> LogEvent:
    """Any record, sampled or not."""
    trace = record.trace
    return LogEvent(
        at=record.started + record.duration,
        severity=_severity(record.status),
        body=json_line(record).rstrip("\n"),
        attributes=server_attributes(record),
        trace_id=trace.trace_id if trace is not None else 0,
        span_id=trace.span_id if trace is not None else 0,
        sampled=trace is not None and trace.sampled,
    )


def _severity(status: int) -> Severity:
    """A server's failure is an error, a refusal or a client that left a warning."""
    if status >= 500:
        return Severity.ERROR
    return Severity.WARN if status >= 400 or status == NO_ANSWER else Severity.INFO
