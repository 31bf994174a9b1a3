"""The metrics that meshd emits: their units and what they mean.

OpenTelemetry names where its semantic conventions have one, `meshd.*` for the rest. A metric that is not in this table
is told of all the same, without a unit; a test sees that there is none.
"""

from dataclasses import dataclass
from typing import Final

from meshd.core.cells import BOUNDARIES, LONG_BOUNDARIES, SIZE_BOUNDARIES


@dataclass(frozen=True, slots=True)
class Description:
    """What a metric is. Gauges of several workers are added up unless `highest`."""

    text: str
    unit: str  # UCUM: "s", "By", "{request}"; "1" for what is yes or no
    highest: bool = False
    level: bool = False  # a gauge of something that is there now, and adds up: OpenTelemetry's UpDownCounter
    bounds: tuple[float, ...] = BOUNDARIES


DESCRIPTIONS: Final = {
    "http.server.request.duration": Description("Duration of HTTP server requests.", "s"),
    "http.server.active_requests": Description("Number of active HTTP server requests.", "{request}", level=True),
    "http.server.request.body.size": Description("Size of HTTP server request bodies.", "By", bounds=SIZE_BOUNDARIES),
    "http.server.response.body.size": Description("Size of HTTP server response bodies.", "By", bounds=SIZE_BOUNDARIES),
    "http.client.request.duration": Description("Duration of HTTP client requests, one per attempt.", "s"),
    "http.client.open_connections": Description(
        "Number of outbound HTTP connections that are currently active or idle on the client.",
        "{connection}",
        level=True,
    ),
    "http.client.connection.duration": Description(
        "The duration of the successfully established outbound HTTP connections.", "s", bounds=LONG_BOUNDARIES
    ),
    "rpc.server.call.duration": Description("Measures the duration of inbound remote procedure calls (RPC).", "s"),
    "rpc.client.call.duration": Description("Measures the duration of outbound remote procedure calls (RPC).", "s"),
    "meshd.exchanges": Description("Requests that have ended, as the client saw them.", "{request}"),
    "meshd.exchange.received": Description("Request body octets received from clients.", "By"),
    "meshd.exchange.sent": Description("Response body octets sent to clients.", "By"),
    "meshd.messages.received": Description("gRPC messages received from clients.", "{message}"),
    "meshd.messages.sent": Description("gRPC messages sent to clients.", "{message}"),
    "meshd.connections.refused": Description("Connections that were not let in, by the reason.", "{connection}"),
    "meshd.connections.shed": Description(
        "Connections that were ended to make room for others, by their state.", "{connection}"
    ),
    "meshd.connections.broken_off": Description(
        "HTTP/2 connections ended for what their client did, by the reason.", "{connection}"
    ),
    "meshd.telemetry.dropped": Description("Records, spans and log lines that were given up, by the place.", "{item}"),
    "meshd.telemetry.exported": Description("Spans that the collector took.", "{span}"),
    "meshd.telemetry.exported.logs": Description("Log records that the collector took.", "{record}"),
    "meshd.telemetry.failures": Description("Exports that the collector did not take.", "{export}"),
    "meshd.telemetry.queued": Description("Records waiting to be exported or written.", "{item}", level=True),
    "meshd.log.lines": Description("Access log lines written.", "{line}"),
    "meshd.log.dropped": Description("Log lines of the processes that nobody could take in time.", "{line}"),
    "meshd.log.coalesced": Description("Log lines of the processes that were counted as more of the same.", "{line}"),
    "meshd.jwks.fetches": Description("Key sets of issuers that were fetched.", "{fetch}"),
    "meshd.jwks.failures": Description("Fetches of key sets that failed; the last good set stays.", "{fetch}"),
    "meshd.generation": Description("The generation of documents that is served.", "1", highest=True),
    "meshd.config.ok": Description(
        "1 while the documents on disk are the ones that are served, 0 after a bad reload.", "1"
    ),
    "meshd.ready": Description("1 while traffic may come, 0 otherwise.", "1"),
    "meshd.process.restarts": Description(
        "Times that a process ended and was started again, by its role.", "{restart}"
    ),
    "meshd.certificate.expiry": Description("When the certificate expires, seconds since 1970.", "s", highest=True),
}


def description(name: str) -> Description:
    """The entry of the table, or one that says only the name."""
    return DESCRIPTIONS.get(name) or Description(f"{name}, as meshd counts it.", "1")
