"""One request and its response, from the first byte to the access log. Read this first.

An exchange is the decision record: the access log, the spans, the counters, the Proxy-Status field, `meshd explain` and
policy replay all read this one object. Steps and the forwarder write what they decided here; `finish` reads it once.
"""

from meshd.core.asked import Asked
from meshd.core.decision import Verdict
from meshd.core.endpoint import Endpoint
from meshd.core.errors import Resend
from meshd.core.head import RequestHead, ResponseHead
from meshd.core.peer import Peer
from meshd.core.reply import Reply
from meshd.core.route import Route
from meshd.core.rpc import Rpc
from meshd.core.tls_session import TlsSession
from meshd.core.token import Token
from meshd.core.trace import TraceContext


class Attempt:
    """One try at one endpoint."""

    __slots__ = (
        "connection_age",  # float: seconds the connection had lived when it was leased
        "connection_uses",  # int: exchanges it had carried before; 0 = fresh
        "details",  # str: how it failed
        "ended",  # float: monotonic; 0 while under way
        "endpoint",  # Endpoint
        "flag",  # str: response flag of its failure, empty when it answered
        "grpc_status",  # int | None: grpc-status of its response head; most calls have theirs in the trailers
        "protocol",  # bytes: of the connection it had, b"http/1.1" or b"h2"; empty when it got none
        "resend",  # Resend | None: how far it came, when it failed
        "sent",  # int: octets of the request handed to the connection
        "span_id",  # int
        "started",  # float: monotonic
        "status",  # int: 0 when no response head came
        "tls",  # TlsSession | None: of the connection it had; None without TLS
        "verdict",  # str: why it was, or was not, tried again; empty when there was no reason to ask
    )

    def __init__(self, endpoint: Endpoint, started: float) -> None:
        self.endpoint = endpoint
        self.started = started
        self.ended = 0.0
        self.status = 0
        self.flag = ""
        self.grpc_status: int | None = None
        self.details = ""
        self.verdict = ""
        self.sent = 0
        self.resend: Resend | None = None
        self.span_id = 0
        self.connection_age = 0.0
        self.connection_uses = 0
        self.protocol = b""
        self.tls: TlsSession | None = None

    def __repr__(self) -> str:
        return f"<Attempt {self.endpoint.name} {self.status or self.flag or 'under way'}>"


class Exchange:
    """Mutable on purpose, and one of the few things that are: everything compiled is frozen."""

    __slots__ = (
        "arrived",  # float: monotonic, when the first octet of the request came; `started` where that is the same
        "asked",  # Asked | None: what filters want of the forwarder
        "attempts",  # list[Attempt]
        "bytes_received",  # int: body octets from the client
        "bytes_sent",  # int: body octets to the client
        "client",  # str: the client's address by trusted proxies; empty for the peer's
        "cluster",  # str: name of the cluster the split took, empty before
        "deadline",  # float: monotonic, overall, retries included; inf for none
        "delay",  # float: seconds an injected fault asks for
        "details",  # str: response code details, `via_upstream` for a forwarded response
        "ended",  # float: monotonic; 0 while under way
        "facts",  # dict[str, str] | None: what filters noted beyond these fields (limit hit, claims, audit)
        "flags",  # str: comma list of response flags, empty for none
        "head",  # RequestHead: as forwarded
        "inbound",  # bool: toward our own app, or outbound
        "listener",  # str: name of the listener it came by
        "peer",  # Peer
        "refusal",  # Reply | None: why it cannot go on, known when it had been read
        "reply",  # Reply | None: set when meshd itself answered
        "request_id",  # bytes
        "responded",  # float: monotonic, when the response head went downstream; 0 before
        "response",  # ResponseHead | None: as sent downstream
        "route",  # Route | None
        "rpc",  # Rpc | None: when it is a call of gRPC
        "started",  # float: monotonic, when the request head was here
        "status",  # int: as the client saw it; 0 when it left first
        "token",  # Token | None: the validated token of the request
        "trace",  # TraceContext | None
        "verdict",  # Verdict | None: None when no authorization policy was asked
    )

    def __init__(self, head: RequestHead, peer: Peer, started: float, *, inbound: bool = False) -> None:
        self.head = head
        self.peer = peer
        self.started = self.arrived = started
        self.inbound = inbound
        self.listener = ""
        self.deadline = float("inf")
        self.ended = 0.0
        self.responded = 0.0
        self.route: Route | None = None
        self.rpc: Rpc | None = None
        self.client = ""
        self.cluster = ""
        self.verdict: Verdict | None = None
        self.attempts: list[Attempt] = []
        self.response: ResponseHead | None = None
        self.refusal: Reply | None = None
        self.reply: Reply | None = None
        self.status = 0
        self.flags = ""
        self.details = ""
        self.token: Token | None = None
        self.trace: TraceContext | None = None
        self.request_id = b""
        self.bytes_received = 0
        self.bytes_sent = 0
        self.delay = 0.0
        self.asked: Asked | None = None
        self.facts: dict[str, str] | None = None

    def flag(self, flag: str) -> None:
        """Add a response flag, once."""
        if not self.flags:
            self.flags = flag
        elif flag not in self.flags.split(","):
            self.flags += "," + flag

    def note(self, name: str, value: str) -> None:
        """Record a fact for the access log and `explain`."""
        if self.facts is None:
            self.facts = {}
        self.facts[name] = value

    def __repr__(self) -> str:
        return f"<Exchange {self.head!r} → {self.status or 'under way'} {self.flags}>"
