"""Exchanges that have ended, as the data path leaves them behind."""

import random

from meshd.core.decision import Verdict
from meshd.core.endpoint import Endpoint, Tls
from meshd.core.exchange import Attempt, Exchange
from meshd.core.head import RequestHead
from meshd.core.peer import Peer
from meshd.core.reply import Reply
from meshd.core.route import Route
from meshd.core.rpc import Rpc
from meshd.telemetry.record import decode, record
from meshd.telemetry.tracing import Sampler, start_trace

SESSION = (
    "1.3",
    True,
    "TLS_AES_128_GCM_SHA256",
    "X25519MLKEM768",
    "http/1.1",
    "spiffe://cluster.local/ns/shop/sa/web",
    "ab" * 32,
    "",
    "CN=ca",
    1_700_000_000.0,
    1_700_086_400.0,
)
SERVER_SESSION = (*SESSION[:1], False, *SESSION[2:5], "spiffe://cluster.local/ns/default/sa/orders", *SESSION[6:])
WEB = Peer(
    "10.0.0.1",
    41234,
    b"cluster.local/ns/shop/sa/web",
    namespace=b"shop",
    service_account=b"web",
    trust_domain=b"cluster.local",
    fingerprint="ab" * 32,
    server_name="orders.default",
    resumed=True,
    tls="TLSv1.3",
    local_address="10.0.0.2",
    local_port=15006,
    session=SESSION,
)
ROUTE = Route("HTTPRoute/default/orders/0", "/orders/{id}")
CLOCK = 1_700_000_000.0  # what the wall clock is ahead of the monotonic one
FIELDS = ((b"user-agent", b"curl/8.5"), (b"x-forwarded-for", b"203.0.113.9, 10.0.0.1"))
DENIAL = Verdict(
    allowed=False,
    policy="default/orders",
    nearest="default/orders rule 1",
    failed='methods: ["GET"]',
    observed="POST",
)


def make_attempt(number=1, *, status=200, flag="", details="", verdict="", started=0.0):
    """Attempt `number` at 10.1.0.<number>, 2 ms long."""
    attempt = Attempt(Endpoint(f"10.1.0.{number}", 8080, tls=Tls.MUTUAL), started)
    attempt.ended = started + 0.002
    attempt.status = status
    attempt.flag, attempt.details, attempt.verdict = flag, details, verdict
    attempt.connection_uses = 7
    attempt.connection_age = 1.5
    attempt.protocol, attempt.tls = b"http/1.1", SERVER_SESSION
    return attempt


def make_exchange(
    *, method=b"GET", path=b"/orders/17", query=None, status=200, inbound=True, fields=FIELDS, sampling=1.0
):
    """One that went well: 5 ms, one attempt, sampled."""
    head = RequestHead(method, path, b"orders.default:80", list(fields))
    head.query = query
    exchange = Exchange(head, WEB, 100.0, inbound=inbound)
    exchange.listener = "inbound-15006"
    exchange.route = ROUTE
    exchange.cluster = "orders.default:80"
    exchange.status, exchange.details = status, "via_upstream"
    exchange.responded, exchange.ended = 100.004, 100.005
    exchange.bytes_received, exchange.bytes_sent = 12, 345
    exchange.request_id = b"f5a4c6e0-0000-4000-8000-000000000000"
    exchange.verdict = Verdict(allowed=True, action="ALLOW", policy="default/orders", rule=0)
    exchange.trace = start_trace(head, Sampler(sampling), random.Random(1))
    exchange.attempts.append(make_attempt(status=status, started=100.001))
    return exchange


def make_call(*, status=0, received=1, sent=2, path=b"/shop.Orders/Get", **given):
    """A call of gRPC."""
    exchange = make_exchange(method=b"POST", path=path, **given)
    exchange.head.protocol = b"h2"
    exchange.rpc = Rpc()
    exchange.rpc.status = status
    exchange.rpc.received.feed(bytes(5 * received))
    exchange.rpc.sent.feed(bytes(5 * sent))
    return exchange


def make_denied(**given):
    """One that a policy refused."""
    exchange = make_exchange(method=b"POST", status=403, **given)
    exchange.attempts.clear()
    exchange.verdict = DENIAL
    exchange.reply = Reply(403, "AD", "rbac_access_denied_matched_policy[none]", "http_request_denied")
    exchange.flag("AD")
    exchange.details = exchange.reply.details
    exchange.cluster = ""
    return exchange


def make_record(exchange=None, **given):
    """The record of an exchange, as the controller sees it."""
    return decode(record(exchange or make_exchange(**given), CLOCK))
