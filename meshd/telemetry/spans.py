"""A record as spans: one SERVER span for the exchange and one CLIENT span for each attempt below it. Pure, no SDK.

Source: OpenTelemetry semantic conventions, docs/http/http-spans.md; `span_facts.py` has the rest. The SERVER span lasts
from the first octet of the request to the last of the response; a CLIENT span from when a connection was asked for to
the last octet of the upstream's response. What is between them is the proxy's own time. Span names are built from the
method and the route's template, never from the path. A 4xx leaves the SERVER span unset and makes the CLIENT span an
error; a client that left is nobody's error.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from meshd.core import flags
from meshd.core.trace import TraceContext
from meshd.http.grpc import status_name
from meshd.telemetry.record import AttemptRecord, Record
from meshd.telemetry.redact import redact_authority, redact_query
from meshd.telemetry.span_facts import Attributes, method_of, rpc_of, split_host, tls_of, told

# Envoy's long names of the flags that an attempt can end with.
ERROR_TYPES: Final = {
    flags.NO_HEALTHY_UPSTREAM: "NoHealthyUpstream",
    flags.CONNECTION_FAILURE: "UpstreamConnectionFailure",
    flags.CONNECTION_TERMINATION: "UpstreamConnectionTermination",
    flags.REMOTE_RESET: "UpstreamRemoteReset",
    flags.REQUEST_TIMEOUT: "UpstreamRequestTimeout",
    flags.OVERFLOW: "UpstreamOverflow",
    flags.UPSTREAM_PROTOCOL: "UpstreamProtocolError",
    flags.DNS_FAILED: "DnsResolutionFailed",
    flags.STREAM_IDLE: "StreamIdleTimeout",
    flags.EARLY_DATA_REJECTED: "EarlyDataRejected",
}
# Of gRPC: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS are the server's fault.
SERVER_ERRORS: Final = frozenset({2, 4, 12, 13, 14, 15})
DISCARDED: Final = "meshd.response.discarded"  # another attempt was made: nobody read the rest of this one's response
# Ends that are the client's doing.
NO_ERROR: Final = frozenset({flags.DOWNSTREAM_GONE, flags.DOWNSTREAM_PROTOCOL})


class Kind(Enum):
    """Which side of a call a span tells of."""

    SERVER = auto()
    CLIENT = auto()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened within a span."""

    name: str
    at: float  # wall clock
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Span:
    """One span, ready to be exported. `remote` says that the parent is another process's."""

    name: str
    kind: Kind
    trace_id: int
    span_id: int
    parent_id: int
    remote: bool
    state: str
    started: float  # wall clock
    ended: float
    attributes: Attributes
    error: str | None  # what went wrong, None when nothing did
    events: tuple[Event, ...] = ()


def build_spans(record: Record) -> list[Span]:
    """The spans of a sampled record, the SERVER span first; none when it was not sampled."""
    trace = record.trace
    if trace is None or not trace.sampled:
        return []
    clients = [_client(record, trace, attempt, number) for number, attempt in enumerate(record.attempts)]
    return [_server(record, trace), *clients]


def server_attributes(record: Record) -> Attributes:
    """What is told of an exchange as its client saw it; also of one whose trace is not kept."""
    host, port = split_host(record.authority, record.scheme)
    attributes = method_of(record) | told(
        {
            "url.path": record.path,
            "url.scheme": "https" if record.peer.tls else record.scheme,  # of this leg, whatever the app meant
            "url.query": None if record.query is None else redact_query(record.query),
            "network.protocol.name": "http",
            "network.protocol.version": record.protocol,
            "network.peer.address": record.peer.address,
            "network.peer.port": record.peer.port,
            "client.address": record.facts.get("client_address") or record.peer.address,
            "server.address": host,
            "server.port": port if host else None,
            "http.route": record.template,
            "http.response.status_code": record.status,
            "http.request.body.size": record.received,
            "http.response.body.size": record.sent,
            "user_agent.original": record.user_agent,
            "meshd.direction": "inbound" if record.inbound else "outbound",
            "meshd.listener": record.listener,
            "meshd.route": record.route,
            "meshd.cluster": record.cluster,
            "meshd.response_flags": record.flags,
            "meshd.details": record.details,
            "meshd.request_id": record.request_id,
            "meshd.proxy_error": record.error,
            "meshd.replied_by": record.replied_by,
            "meshd.tls.server_name": record.peer.server_name,
        }
    )
    attributes |= tls_of(record.peer.session, "client")
    attributes |= rpc_of(record)
    attributes |= _decision(record)
    for name, value in record.facts.items():
        if not value or name == "claims":  # what a token says is for the log alone
            continue
        attributes.setdefault(f"meshd.{name}", value)
    if (kind := _error_type(record)) is not None:
        attributes["error.type"] = kind
    return attributes


def _error_type(record: Record) -> str | None:
    """None when nothing was the server's fault."""
    if record.status >= 500:
        return record.error or str(record.status)
    if record.rpc is not None and record.rpc.status in SERVER_ERRORS:
        return record.error or status_name(record.rpc.status or 0)
    return None


def _server(record: Record, trace: TraceContext) -> Span:
    attributes = server_attributes(record)
    error = None
    if "error.type" in attributes:
        error = "" if record.error is None else record.details  # an app's own failure has no description
    return Span(
        name=_server_name(record, attributes),
        kind=Kind.SERVER,
        trace_id=trace.trace_id,
        span_id=trace.span_id,
        parent_id=trace.parent_id,
        remote=True,
        state=trace.state.decode("latin-1"),
        started=record.started,
        ended=record.started + record.duration,
        attributes=attributes,
        error=error,
        events=tuple(_retries(record)),
    )


def _client(record: Record, trace: TraceContext, attempt: AttemptRecord, resend: int) -> Span:
    last = resend == len(record.attempts) - 1
    attributes = _asked(record, attempt) | told(
        {
            "network.peer.address": attempt.address,
            "network.peer.port": attempt.port,
            "network.protocol.name": "http",
            "network.protocol.version": attempt.protocol,
            "http.response.status_code": attempt.status,
            "http.request.resend_count": resend,
            "meshd.cluster": record.cluster,
            "meshd.response_flags": attempt.flag,
            "meshd.details": attempt.details,
            "meshd.retry": attempt.verdict,
            "meshd.bytes_sent": attempt.sent,
            "meshd.time_to_first_byte": record.upstream_time if last else None,  # seconds, to the response head
        }
    )
    attributes |= {
        "meshd.connection.reused": attempt.connection_uses > 0,
        "meshd.connection.uses": attempt.connection_uses,
        "meshd.connection.age": attempt.connection_age,
    }
    attributes |= tls_of(attempt.session, "server")
    rpc = record.rpc if last and record.error is None else None  # of attempts before it the status went to nobody
    if rpc is not None:
        attributes |= rpc_of(record)
    error = None
    if attempt.flag and attempt.flag not in NO_ERROR:
        error = attempt.details or attempt.flag
        attributes["error.type"] = ERROR_TYPES.get(attempt.flag, attempt.flag)
    elif attempt.status >= 400:
        error = ""
        attributes["error.type"] = str(attempt.status)
    elif rpc is not None and rpc.status:
        error = ""
        attributes["error.type"] = status_name(rpc.status)
    ended = attempt.started + attempt.duration
    discarded = () if last or not attempt.status else (Event(DISCARDED, ended, {}),)
    return Span(
        name=_name(attributes),
        kind=Kind.CLIENT,
        trace_id=trace.trace_id,
        span_id=attempt.span_id,
        parent_id=trace.span_id,
        remote=False,
        state=trace.state.decode("latin-1"),
        started=attempt.started,
        ended=ended,
        attributes=attributes,
        error=error,
        events=discarded,
    )


def _asked(record: Record, attempt: AttemptRecord) -> Attributes:
    """Method and URL of an attempt, as they were asked for: that TLS carries http://name is in `tls.*`, and where to in
    `network.peer.*`. A request without an authority is named by its endpoint."""
    authority = redact_authority(record.authority) or attempt.host
    host, port = split_host(authority, record.scheme)
    query = "" if record.query is None else f"?{redact_query(record.query)}"
    return method_of(record) | told(
        {
            "server.address": host,
            "server.port": port,
            "url.full": f"{record.scheme}://{authority}{record.path}{query}",
        }
    )


def _name(attributes: Attributes) -> str:
    method = attributes["http.request.method"]
    return "HTTP" if method == "_OTHER" else str(method)


def _server_name(record: Record, attributes: Attributes) -> str:
    """Built from what a route says, never from what a client does."""
    if record.rpc is not None and not record.template.endswith("*"):
        return record.template.removeprefix("/") or "grpc"
    return f"{_name(attributes)} {record.template}" if record.template else _name(attributes)


def _decision(record: Record) -> Attributes:
    """What the authorization policies said; for a denial also what came nearest to allowing it."""
    verdict = record.verdict
    if verdict is None:
        return {}
    attributes: Attributes = {"meshd.authorization": "allowed" if verdict.allowed else "denied"}
    if verdict.policy:
        attributes["meshd.policy"] = verdict.policy
    if verdict.rule >= 0:
        attributes["meshd.policy.rule"] = verdict.rule
    for name, value in (("nearest", verdict.nearest), ("failed", verdict.failed), ("observed", verdict.observed)):
        if value:
            attributes[f"meshd.policy.{name}"] = value
    return attributes


def _retries(record: Record) -> list[Event]:
    """An event where an attempt ended that another one followed."""
    events = []
    for number, attempt in enumerate(record.attempts[:-1], 1):
        attributes = told(
            {
                "http.request.resend_count": number,
                "meshd.endpoint": attempt.host,
                "meshd.retry": attempt.verdict,
                "error.type": ERROR_TYPES.get(attempt.flag, attempt.flag) or str(attempt.status),
            }
        )
        events.append(Event("meshd.retry", attempt.started + attempt.duration, attributes))
    return events
