"""A record as spans: one SERVER span for the exchange and one CLIENT span for each attempt below it. Pure, no SDK.

Source: OpenTelemetry semantic conventions, docs/http/http-spans.md, docs/rpc/grpc.md and
docs/registry/attributes/tls.md; what they have no name for is `meshd.*`. Span names are built from the method and the
route's template, never from the path. A 4xx leaves the SERVER span unset and makes the CLIENT span an error; a client
that left is nobody's error.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from meshd.core import flags
from meshd.core.head import split_authority
from meshd.core.trace import TraceContext
from meshd.telemetry.record import AttemptRecord, Record
from meshd.telemetry.records import METHODS
from meshd.telemetry.redact import redact_authority, redact_query

Value: TypeAlias = bool | int | float | str
Attributes: TypeAlias = dict[str, Value]

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


def _server(record: Record, trace: TraceContext) -> Span:
    attributes = _method(record)
    attributes |= {
        "url.path": record.path,
        "url.scheme": record.scheme,
        "network.protocol.name": "http",
        "network.protocol.version": record.protocol,
        "client.address": record.peer.address,
        "network.peer.address": record.peer.address,
        "meshd.direction": "inbound" if record.inbound else "outbound",
    }
    host, port = _split(record.authority)
    optional: dict[str, Value | None] = {
        "url.query": None if record.query is None else redact_query(record.query),
        "http.route": record.template,
        "http.response.status_code": record.status,
        "network.peer.port": record.peer.port,
        "server.address": host,
        "server.port": port,
        "user_agent.original": record.user_agent,
        "http.request.body.size": record.received,
        "http.response.body.size": record.sent,
        "meshd.listener": record.listener,
        "meshd.route": record.route,
        "meshd.cluster": record.cluster,
        "meshd.response_flags": record.flags,
        "meshd.details": record.details,
        "meshd.request_id": record.request_id,
        "meshd.proxy_error": record.error,
    }
    attributes |= {name: value for name, value in optional.items() if value}
    attributes["meshd.replied_by"] = "app" if record.error is None else "proxy"
    attributes |= _tls(record)
    attributes |= _rpc(record)
    attributes |= _decision(record)
    for name, value in record.facts.items():
        if not value or name == "claims":  # what a token says is for the log alone
            continue
        attributes.setdefault(name if name.startswith("tls.") else f"meshd.{name}", value)
    error = None
    if record.status >= 500:
        error = "" if record.error is None else record.details  # an app's own 5xx has no description
        attributes["error.type"] = record.error or str(record.status)
    elif record.rpc is not None and record.rpc.status in SERVER_ERRORS:
        error = "" if record.error is None else record.details
        attributes["error.type"] = record.error or str(record.rpc.status)
    return Span(
        name=f"{_name(attributes)} {record.template}" if record.template else _name(attributes),
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
    attributes = _method(record)
    scheme = "https" if attempt.tls else "http"
    authority = redact_authority(record.authority) or attempt.host
    host, port = _split(authority)
    query = "" if record.query is None else f"?{redact_query(record.query)}"
    attributes |= {
        "server.address": host,
        "server.port": port or (443 if attempt.tls else 80),
        "url.full": f"{scheme}://{authority}{record.path}{query}",
        "network.peer.address": attempt.address,
        "network.protocol.name": "http",
        "meshd.cluster": record.cluster,
        "meshd.connection.reused": attempt.connection_uses > 0,
        "meshd.connection.uses": attempt.connection_uses,
        "meshd.connection.age": attempt.connection_age,
    }
    optional: dict[str, Value] = {
        "network.peer.port": attempt.port,
        "http.response.status_code": attempt.status,
        "http.request.resend_count": resend,
        "meshd.response_flags": attempt.flag,
        "meshd.details": attempt.details,
        "meshd.retry": attempt.verdict,
        "meshd.bytes_sent": attempt.sent,
    }
    attributes |= {name: value for name, value in optional.items() if value}
    last = resend == len(record.attempts) - 1 and record.error is None
    rpc = record.rpc if last else None  # of attempts before it the status went to nobody
    if rpc is not None:
        attributes |= _rpc(record)
    error = None
    if attempt.flag and attempt.flag not in NO_ERROR:
        error = attempt.details or attempt.flag
        attributes["error.type"] = ERROR_TYPES.get(attempt.flag, attempt.flag)
    elif attempt.status >= 400:
        error = ""
        attributes["error.type"] = str(attempt.status)
    elif rpc is not None and rpc.status:
        error = ""
        attributes["error.type"] = str(rpc.status)
    return Span(
        name=_name(attributes),
        kind=Kind.CLIENT,
        trace_id=trace.trace_id,
        span_id=attempt.span_id,
        parent_id=trace.span_id,
        remote=False,
        state=trace.state.decode("latin-1"),
        started=attempt.started,
        ended=attempt.started + attempt.duration,
        attributes=attributes,
        error=error,
    )


def _method(record: Record) -> Attributes:
    """A known method as it is; any other by the name `_OTHER`, so that names and metrics stay few."""
    if record.method.encode("utf-8", "surrogatepass") in METHODS:
        return {"http.request.method": record.method}
    return {"http.request.method": "_OTHER", "http.request.method_original": record.method}


def _name(attributes: Attributes) -> str:
    method = attributes["http.request.method"]
    return "HTTP" if method == "_OTHER" else str(method)


def _tls(record: Record) -> Attributes:
    peer = record.peer
    if not peer.tls:
        return {}
    attributes: Attributes = {
        "tls.protocol.name": "tls",
        "tls.protocol.version": peer.tls.removeprefix("TLSv"),
        "tls.established": True,
        "tls.resumed": peer.resumed,
    }
    if peer.fingerprint:
        attributes["tls.client.hash.sha256"] = peer.fingerprint.upper()
    if peer.principal:
        attributes["meshd.peer"] = peer.spiffe_id
    return attributes


def _rpc(record: Record) -> Attributes:
    """What a call of gRPC is besides; the path names its service and method."""
    rpc = record.rpc
    if rpc is None:
        return {}
    attributes: Attributes = {
        "rpc.system": "grpc",
        "meshd.messages.received": rpc.received,
        "meshd.messages.sent": rpc.sent,
    }
    service, slash, method = record.path.removeprefix("/").rpartition("/")
    if slash:
        attributes |= {"rpc.service": service, "rpc.method": method}
    if rpc.status is not None:
        attributes["rpc.grpc.status_code"] = rpc.status
    return attributes


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
        attributes: Attributes = {
            "http.request.resend_count": number,
            "meshd.endpoint": attempt.host,
            "meshd.retry": attempt.verdict,
            "error.type": ERROR_TYPES.get(attempt.flag, attempt.flag) or str(attempt.status),
        }
        events.append(Event("meshd.retry", attempt.started + attempt.duration, attributes))
    return events


def _split(authority: str) -> tuple[str, int | None]:
    try:
        host, port = split_authority(redact_authority(authority).encode("utf-8", "surrogatepass"))
    except ValueError:  # more digits than any port has
        return authority, None
    return host.decode("utf-8", "surrogatepass").strip("[]"), port
