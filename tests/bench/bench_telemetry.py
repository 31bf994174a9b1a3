"""What telemetry costs a worker, in microseconds an exchange: `python tests/bench/bench_telemetry.py`."""

import random
import sys
import timeit

from meshd.core.cells import Cells
from meshd.core.decision import Verdict
from meshd.core.endpoint import Endpoint, Tls
from meshd.core.exchange import Attempt, Exchange
from meshd.core.head import RequestHead
from meshd.core.peer import Peer
from meshd.core.route import Route
from meshd.telemetry.record import decode, record
from meshd.telemetry.records import Recorder
from meshd.telemetry.report import Report
from meshd.telemetry.tracing import Sampler, format_traceparent, start_trace

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FIELDS = [(b"user-agent", b"curl/8.5"), (b"accept", b"*/*"), (b"x-tenant", b"7"), (b"accept-encoding", b"gzip")]


def make_exchange(*, sampled):
    head = RequestHead(b"GET", b"/orders/17", b"orders.default:80", [*FIELDS, (b"x-forwarded-for", b"10.0.0.1")])
    peer = Peer("10.0.0.1", 41234, b"cluster.local/ns/default/sa/web", tls="TLSv1.3", fingerprint="ab" * 32)
    exchange = Exchange(head, peer, 100.0, inbound=True)
    exchange.route = Route("HTTPRoute/default/orders/0", "/orders/{id}")
    exchange.cluster = "orders.default:80"
    exchange.status, exchange.details = 200, "via_upstream"
    exchange.responded, exchange.ended = 100.002, 100.0023
    exchange.bytes_sent = 512
    exchange.request_id = b"f5a4c6e0-0000-4000-8000-000000000000"
    exchange.verdict = Verdict(allowed=True, action="ALLOW", policy="default/orders", rule=0)
    exchange.trace = start_trace(head, Sampler(1.0 if sampled else 0.0), random.Random(1))
    attempt = Attempt(Endpoint("127.0.0.1", 8080, tls=Tls.PLAIN), 100.0001)
    attempt.status, attempt.ended, attempt.connection_uses = 200, 100.0022, 7
    exchange.attempts.append(attempt)
    return exchange


def cost(function, number=20_000):
    """The best of several rounds: what it costs when nothing else runs."""
    return min(timeit.repeat(function, number=number, repeat=7)) / number * 1e6


def measure():
    none = RequestHead(b"GET", b"/", b"orders:80", FIELDS)
    parent = RequestHead(b"GET", b"/", b"orders:80", [*FIELDS, (b"traceparent", PARENT), (b"tracestate", b"a=b")])
    sampler, source = Sampler(0.0), random.Random(1)
    recorder = Recorder(Cells(), lambda _: True, 1.7e9, keep_all=False)
    quiet, sampled = make_exchange(sampled=False), make_exchange(sampled=True)
    row = record(sampled, 0.0)
    yield "start_trace, no parent, not sampled", cost(lambda: start_trace(none, sampler, source))
    yield "start_trace, parent and state", cost(lambda: start_trace(parent, sampler, source))
    yield "format_traceparent", cost(lambda: format_traceparent(7, 9, sampled=True))
    yield "finish, no record needed", cost(lambda: recorder.finish(quiet, 101.0))
    yield "finish, with record, marshalled by 64", cost(lambda: recorder.finish(sampled, 101.0))
    yield "decode (controller)", cost(lambda: decode(row))
    report = Report(recorder, lambda _: True, 1)
    yield "push of an unchanged report", cost(report.push, 2000)


if __name__ == "__main__":
    for name, micros in measure():
        sys.stdout.write(f"{name:45} {micros:8.2f} us\n")
