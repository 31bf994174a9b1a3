"""The metrics that meshd emits: their units and what they mean.

OpenTelemetry names where its semantic conventions have one, `meshd.*` for the rest. A metric that is not in this table
is told of all the same, without a unit.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Description:
    """What a metric is. Gauges of several workers are added up unless `highest`."""

    text: str
    unit: str = ""  # UCUM: "s", "By"; empty for plain counts
    highest: bool = False


DESCRIPTIONS: Final = {
    "http.server.request.duration": Description("Duration of HTTP server requests.", "s"),
    "http.client.request.duration": Description("Duration of HTTP client requests, one per attempt.", "s"),
    "meshd.exchanges": Description("Requests that have ended, as the client saw them."),
    "meshd.exchange.received": Description("Request body octets received from clients.", "By"),
    "meshd.exchange.sent": Description("Response body octets sent to clients.", "By"),
    "meshd.messages.received": Description("gRPC messages received from clients."),
    "meshd.messages.sent": Description("gRPC messages sent to clients."),
    "meshd.connections.refused": Description("Connections that were not let in, by the reason."),
    "meshd.connections.broken_off": Description("HTTP/2 connections ended for what their client did, by the reason."),
    "meshd.telemetry.dropped": Description("Records, spans and log lines that were given up, by the place."),
    "meshd.telemetry.exported": Description("Spans that the collector took."),
    "meshd.telemetry.failures": Description("Exports that the collector did not take."),
    "meshd.telemetry.queued": Description("Records waiting to be exported or written."),
    "meshd.log.lines": Description("Access log lines written."),
    "meshd.log.dropped": Description("Log lines given up because standard error was not read, by the process."),
    "meshd.log.coalesced": Description("Log lines that were counted instead of written, by the process."),
    "meshd.generation": Description("The generation of documents that is served.", highest=True),
    "meshd.config.ok": Description("1 while the documents on disk are the ones that are served, 0 after a bad reload."),
    "meshd.certificate.expiry": Description("When the certificate expires, seconds since 1970.", "s", highest=True),
}


def description(name: str) -> Description:
    """The entry of the table, or one that says only the name."""
    return DESCRIPTIONS.get(name) or Description(f"{name}, as meshd counts it.")
