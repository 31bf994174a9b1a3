"""One ended exchange on its way from the worker to the controller: flattened there, made readable here.

`record` runs in the worker and makes a plain tuple that `marshal` can write, octets left as they are; `decode` runs in
the controller and gives the parts their names and their text. The two must agree on the order of `Row`, and do: they
run the same program. Named tuples and not dataclasses, because the controller makes one of each for every exchange and
unpacks rows into them at half the cost.
"""

from typing import Final, NamedTuple, TypeAlias

from meshd.core.decision import Verdict
from meshd.core.endpoint import Tls
from meshd.core.exchange import Attempt, Exchange
from meshd.core.tls_session import TlsSession
from meshd.core.trace import TraceContext
from meshd.http.proxy_status import is_by_proxy
from meshd.telemetry.tracing import attempt_span_id

Trace: TypeAlias = tuple[int, int, int, bool, bytes]  # trace, span and parent id, sampled, state
PeerRow: TypeAlias = tuple[str, int, bytes, str, bool, str, str, str, int, TlsSession | None]
VerdictRow: TypeAlias = tuple[bool, str, str, int, str, str, str]
AttemptRow: TypeAlias = tuple[
    str, int, bool, float, float, int, str, str, str, int, int, float, int, bytes, TlsSession | None
]
RpcRow: TypeAlias = tuple[int | None, int, int]
Row: TypeAlias = tuple[
    float,  # started: wall clock
    float,  # duration
    float,  # responded: seconds after the start, negative when no response head went downstream
    bool,  # inbound
    str,  # listener
    bytes,  # method
    bytes,  # scheme
    bytes,  # authority
    bytes,  # path
    bytes | None,  # query
    bytes,  # protocol
    int,  # status
    str,  # flags
    str,  # details
    int,  # bytes received
    int,  # bytes sent
    bytes,  # request id
    bytes | None,  # user agent
    bytes | None,  # x-forwarded-for
    PeerRow,
    str,  # route
    str,  # template
    str,  # cluster
    VerdictRow | None,
    tuple[AttemptRow, ...],
    Trace | None,
    str | None,  # error type of a reply of our own; "" for an ordinary answer, None when the app answered
    dict[str, str] | None,  # facts
    RpcRow | None,
]

PROTOCOLS: Final = {b"http/1.0": "1.0", b"http/1.1": "1.1", b"h2": "2"}
FIXED_WEIGHT: Final = 1500  # octets that a record costs besides what a peer put into it


class AttemptRecord(NamedTuple):
    """One try at one endpoint."""

    address: str
    port: int  # 0 for a unix socket
    tls: bool
    started: float  # wall clock
    duration: float
    status: int
    flag: str
    details: str
    verdict: str
    sent: int
    span_id: int
    connection_age: float
    connection_uses: int
    protocol: str  # "1.1" or "2" of HTTP; empty when there was no connection
    session: TlsSession | None  # of its connection; None without TLS

    @property
    def host(self) -> str:
        """`address:port`, as access logs write it."""
        if not self.port:
            return self.address
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class PeerRecord(NamedTuple):
    """The client as the network and the handshake showed it."""

    address: str
    port: int
    principal: str
    server_name: str
    resumed: bool
    tls: str
    fingerprint: str
    local_address: str
    local_port: int
    session: TlsSession | None  # None without TLS

    @property
    def spiffe_id(self) -> str:
        """The URI of its certificate, empty when it proved nothing."""
        return f"spiffe://{self.principal}" if self.principal else ""


class RpcRecord(NamedTuple):
    """What a call of gRPC is besides."""

    status: int | None  # grpc-status as the client got it; None when it got none
    received: int  # whole messages from the client
    sent: int  # whole messages to the client


class Record(NamedTuple):
    """Everything that logs, spans and `explain` tell of one exchange."""

    started: float  # wall clock, seconds
    duration: float
    responded: float  # seconds after the start; negative when no response head went downstream
    inbound: bool
    listener: str
    method: str
    scheme: str
    authority: str
    path: str
    query: str | None
    protocol: str  # "1.0", "1.1" or "2"
    status: int  # 0 when the client left first
    flags: str
    details: str
    received: int
    sent: int
    request_id: str
    user_agent: str
    forwarded_for: str
    peer: PeerRecord
    route: str
    template: str
    cluster: str
    verdict: Verdict | None
    attempts: tuple[AttemptRecord, ...]
    trace: TraceContext | None
    error: str | None  # RFC 9209 error type of a reply of our own, "" for an ordinary one, None when the app answered
    facts: dict[str, str]
    rpc: RpcRecord | None  # None for what is not gRPC

    @property
    def denied(self) -> bool:
        """Whether an authorization policy refused it."""
        return self.verdict is not None and not self.verdict.allowed

    @property
    def upstream_time(self) -> float | None:
        """Seconds from the last attempt's start to the response head; None when no app answered."""
        if not self.attempts or self.responded < 0 or not self.attempts[-1].status:
            return None
        return max(0.0, self.started + self.responded - self.attempts[-1].started)

    @property
    def replied_by(self) -> str:
        """Who made the response: "app", "proxy" for this sidecar, or "upstream_proxy" for another on the way, such as
        the sidecar of the app."""
        if self.error is not None:
            return "proxy"
        return "upstream_proxy" if is_by_proxy(self.facts.get("proxy_status", "")) else "app"

    @property
    def weight(self) -> int:
        """About how many octets it takes in memory; queues are bounded by it."""
        texts = (self.authority, self.path, self.query or "", self.user_agent, self.forwarded_for, self.details)
        state = len(self.trace.state) if self.trace is not None else 0
        facts = sum(len(name) + len(value) for name, value in self.facts.items())
        return FIXED_WEIGHT * (1 + len(self.attempts)) + sum(map(len, texts)) + state + facts


def record(exchange: Exchange, clock_offset: float) -> Row:
    """The exchange as a tuple of plain values. `clock_offset` is what the wall clock is ahead of the monotonic one."""
    head, peer, route, trace, verdict = exchange.head, exchange.peer, exchange.route, exchange.trace, exchange.verdict
    started, ended, responded, reply = exchange.arrived, exchange.ended, exchange.responded, exchange.reply
    rpc = exchange.rpc
    get = head.get
    return (
        started + clock_offset,
        ended - started,
        responded - started if responded else -1.0,
        exchange.inbound,
        exchange.listener,
        head.method,
        head.scheme,
        head.authority,
        head.received_path,
        head.query,
        head.protocol,
        exchange.status,
        exchange.flags,
        exchange.details,
        exchange.bytes_received,
        exchange.bytes_sent,
        exchange.request_id or b"",
        get(b"user-agent"),
        get(b"x-forwarded-for"),
        (
            peer.address,
            peer.port,
            peer.principal,
            peer.server_name,
            peer.resumed,
            peer.tls,
            peer.fingerprint,
            peer.local_address,
            peer.local_port,
            peer.session,
        ),
        route.name if route is not None else "",
        route.template if route is not None else "",
        exchange.cluster,
        _verdict_row(verdict) if verdict is not None else None,
        tuple([_attempt_row(attempt, ended, clock_offset) for attempt in exchange.attempts]),
        (trace.trace_id, trace.span_id, trace.parent_id, trace.sampled, trace.state) if trace is not None else None,
        None if reply is None else reply.error or "",
        exchange.facts,
        None if rpc is None else (rpc.status, rpc.received.count, rpc.sent.count),
    )


def decode(row: Row) -> Record:
    """The record that a worker flattened."""
    address, port, principal, name, resumed, tls, fingerprint, local_address, local_port, session = row[19]
    query, verdict, trace, text = row[9], row[23], row[25], _text
    return Record(
        *row[:5],
        text(row[5]),
        text(row[6]),
        text(row[7]),
        text(row[8]),
        None if query is None else text(query),
        PROTOCOLS.get(row[10]) or text(row[10]),
        *row[11:16],
        text(row[16]),
        text(row[17] or b""),
        text(row[18] or b""),
        PeerRecord(address, port, text(principal), name, resumed, tls, fingerprint, local_address, local_port, session),
        *row[20:23],
        None if verdict is None else Verdict(*verdict),
        tuple([_attempt(attempt, number, trace) for number, attempt in enumerate(row[24], 1)]),
        None if trace is None else _trace(trace),
        row[26],
        row[27] or {},
        None if row[28] is None else RpcRecord(*row[28]),
    )


def _verdict_row(verdict: Verdict) -> VerdictRow:
    return (
        verdict.allowed,
        verdict.action,
        verdict.policy,
        verdict.rule,
        verdict.nearest,
        verdict.failed,
        verdict.observed,
    )


def _attempt_row(attempt: Attempt, ended: float, clock_offset: float) -> AttemptRow:
    endpoint, started = attempt.endpoint, attempt.started
    return (
        endpoint.address,
        endpoint.port,
        endpoint.tls is not Tls.PLAIN,
        started + clock_offset,
        (attempt.ended or ended) - started,
        attempt.status,
        attempt.flag,
        attempt.details,
        attempt.verdict,
        attempt.sent,
        attempt.span_id,
        attempt.connection_age,
        attempt.connection_uses,
        attempt.protocol,
        attempt.tls,
    )


def _attempt(row: AttemptRow, number: int, trace: Trace | None) -> AttemptRecord:
    found = AttemptRecord(*row[:13], PROTOCOLS.get(row[13], ""), row[14])
    if found.span_id or trace is None:
        return found
    return found._replace(span_id=attempt_span_id(trace[1], number))


def _trace(row: Trace) -> TraceContext:
    trace_id, span_id, parent_id, sampled, state = row
    trace = TraceContext(trace_id, span_id, parent_id=parent_id, sampled=sampled)
    trace.state = state
    return trace


def _text(octets: bytes) -> str:
    """Text that is safe to print and to encode: octets that are not UTF-8 show as escapes."""
    return octets.decode("utf-8", "backslashreplace")
