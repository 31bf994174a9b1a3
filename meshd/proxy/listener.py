"""What all connections of one listener share: its plan, which a reload replaces, and the edges of every exchange.

`begin` and `finish` bracket an exchange: the first gives it an identity (request id, trace, forwarding fields), the
last accounts for it, once and in one place.
"""

import logging
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from meshd.core import flags
from meshd.core.exchange import Exchange
from meshd.core.head import RequestHead, ResponseHead
from meshd.core.peer import Peer
from meshd.core.reply import Reply
from meshd.http.forwarded_for import client_address
from meshd.http.forwarding import Hop, new_request_id, prepare
from meshd.http.grpc import begin_rpc, is_grpc
from meshd.http.limits import REQUEST_LIMITS, Limits
from meshd.http.render import render_reply
from meshd.net import wait
from meshd.net.tls import HandshakeFailed
from meshd.proxy.rescue import LOOPED, NO_CONNECT, NO_ROUTE, malformed
from meshd.routing.nearest import nearest
from meshd.snapshot import Plan
from meshd.telemetry.records import Recorder
from meshd.telemetry.tracing import Sampler, attempt_span_id, format_traceparent, start_trace

MISSED: Final = 100  # names without a service of which the nearest is remembered
REQUEST_ID: Final = b"x-request-id"
TOLD_NAME: Final = 200  # characters of what a client asked for that a reply repeats

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How long a client may take, in seconds, and how many there may be."""

    idle: float = 3600.0  # between requests
    head_timeout: float = 10.0  # from the first octet of a head to its last
    handshake: float = 10.0
    connections: int = 10_000  # open at once, per worker
    turned_away: int = 64  # connections beyond them that are being told so
    heads: Limits = REQUEST_LIMITS


class Listener:
    """One listener of this worker."""

    __slots__ = (
        "_missed",
        "_missed_under",
        "_random",
        "_recorder",
        "_sampler",
        "draining",
        "idle_until",
        "limits",
        "plan",
    )

    def __init__(self, plan: Plan, recorder: Recorder, sampler: Sampler, limits: ConnectionLimits) -> None:
        self.plan = plan
        self.limits = limits
        self.draining = False
        self.idle_until = 0.0  # while draining: when connections that nothing goes on on are ended (monotonic)
        self._recorder = recorder
        self._missed: dict[str, str] = {}  # the nearest known name to one that nobody knows
        self._missed_under = plan
        self._sampler = sampler
        self._random = Random()  # noqa: S311  # identifiers of traces and requests, no secret

    def begin(self, head: RequestHead, peer: Peer, hop: Hop, now: float) -> Exchange:
        """An exchange for a request that was just read, its head made ready to go on."""
        plan = self.plan
        exchange = Exchange(head, peer, now, inbound=plan.inbound)
        exchange.listener = plan.name
        if head.protocol == b"h2" and is_grpc(head.get(b"content-type")):
            exchange.rpc = begin_rpc(head, now)
        trace = exchange.trace = start_trace(head, self._sampler, self._random)
        first = attempt_span_id(trace.span_id, 1)
        parent = format_traceparent(trace.trace_id, first, sampled=trace.sampled)
        exchange.request_id = prepare(head, hop, parent)
        if plan.forwarding.trusted_proxies:
            self._find_client(exchange)
        if head.forms is not None and (fault := plan.paths.apply(head)):
            exchange.refusal = malformed(fault)
        return exchange

    def _find_client(self, exchange: Exchange) -> None:
        """Who is behind the proxies in front of us."""
        forwarded_for, peer = exchange.head.get(b"x-forwarded-for"), exchange.peer.address
        exchange.client = client_address(forwarded_for, peer, self.plan.forwarding.trusted_proxies)
        if exchange.client != peer:
            exchange.note("client_address", exchange.client)

    def begin_unparsed(self, peer: Peer, now: float, seen: RequestHead) -> Exchange:
        """An exchange for bytes that are not a request, so that they are accounted for like one. `seen` is what can be
        told of it."""
        exchange = Exchange(seen, peer, now, inbound=self.plan.inbound)
        exchange.listener = self.plan.name
        exchange.request_id = new_request_id()
        return exchange

    def begin_refused(self, address: str, error: HandshakeFailed) -> Exchange:
        """An exchange that never was, for a connection that was not let in, so that it is in the records."""
        exchange = self.begin_unparsed(Peer(address), wait.now(), RequestHead(b"-", b"-", b""))
        exchange.flag(flags.DOWNSTREAM_PROTOCOL)
        exchange.details = f"tls_handshake_failed{{{error}}}"
        if error.claimed:
            exchange.note("claimed_identity", error.claimed)
        exchange.ended = exchange.started
        return exchange

    def connect(self, exchange: Exchange) -> Reply | None:
        """Why a CONNECT is refused; None when it names a service of the mesh and this listener goes by names."""
        if not exchange.request_id:
            return LOOPED
        if self.plan.fixed is not None:
            return NO_CONNECT
        authority = exchange.head.authority
        is_known = authority in self.plan.opaque or self.plan.table(authority) is not None
        return None if is_known else NO_ROUTE

    def render(self, exchange: Exchange, reply: Reply) -> tuple[ResponseHead, bytes]:
        """A reply of our own as a response, with Proxy-Status: in full to mesh peers, the bare minimum to strangers."""
        if reply is NO_ROUTE:
            reply = self._unrouted(exchange.head)
        exchange.reply = reply
        if reply.flag:
            exchange.flag(reply.flag)
        exchange.details = exchange.details or reply.details or "direct_response"
        stranger = self.plan.inbound and not exchange.peer.principal
        head, body = render_reply(reply, exchange.head, self.plan.proxy_name, stranger=stranger)
        if exchange.request_id and head.get(REQUEST_ID) is None:
            head.headers.append((REQUEST_ID, exchange.request_id))
        if exchange.asked is not None:
            for mark in exchange.asked.marks:
                mark(exchange, head)
        return head, body

    def _unrouted(self, head: RequestHead) -> Reply:
        """The same in full: the name that nobody knows and the nearest that somebody does, or what no rule takes."""
        asked = head.authority.decode("utf-8", "backslashreplace")[:TOLD_NAME]
        if self.plan.table(head.authority) is None:
            near = self._nearest(asked)
            why = f"no service is known as {asked!r}" + (f"; did you mean {near!r}?" if near else "")
        else:
            path = head.path.decode("utf-8", "backslashreplace")[:TOLD_NAME]
            why = f"no rule for {asked!r} takes {head.method.decode('utf-8', 'backslashreplace')} {path}"
        told = f"no route for this request: {why}"
        return replace(NO_ROUTE, details=f"{NO_ROUTE.details}{{{why}}}", told=told.encode("utf-8", "replace"))

    def _nearest(self, asked: str) -> str:
        """Remembered for as long as the plan stays, because looking costs more than a request."""
        if self._missed_under is not self.plan:
            self._missed_under, self._missed = self.plan, {}
        near = self._missed.get(asked)
        if near is None:
            near = nearest(asked.lower(), (name.decode("latin-1") for name in self.plan.services))
            if len(self._missed) < MISSED:
                self._missed[asked] = near
        return near

    def broke_off(self, cause: str, details: str) -> None:
        """Count a connection of HTTP/2 that was ended because of what its client did."""
        log.warning("%s ended an HTTP/2 connection: %s: %s", self.plan.name, cause, details, extra={"kind": cause})
        self._recorder.broke_off(self.plan.name, cause)

    def finish(self, exchange: Exchange) -> None:
        """The one place where an exchange is accounted for."""
        now = exchange.ended = exchange.ended or wait.now()
        if not exchange.status and not exchange.flags:
            exchange.flag(flags.DOWNSTREAM_GONE)
        self._recorder.finish(exchange, now)

    def __repr__(self) -> str:
        return f"<Listener {self.plan.name}{' draining' if self.draining else ''}>"
