"""The edges of every exchange: what it begins with, how a refusal reads, and that it is accounted for."""

import pytest

from meshd.core import flags
from meshd.core.head import RequestHead
from meshd.core.peer import Peer
from meshd.core.reply import Reply
from meshd.http.forwarding import Forwarding, Hop
from meshd.net.tls import Mode
from meshd.proxy.listener import ConnectionLimits, Listener
from meshd.proxy.rescue import LOOPED, NO_CONNECT, NO_ROUTE
from meshd.routing.table import RouteTable
from meshd.snapshot import Plan
from meshd.telemetry.tracing import Sampler

STRANGER = Peer("203.0.113.9")
MESH = Peer("10.0.0.7", principal=b"td/ns/a/sa/web")
TABLE = RouteTable(())
DENIED = Reply(403, flags.DENIED, "why", "http_request_denied", body=b"no")


class FakeRecorder:
    """Keeps what is accounted for."""

    def __init__(self):
        self.finished = []

    def finish(self, exchange, now):
        self.finished.append((exchange, now))


def listener_of(*, inbound=True, fixed=None, services=()):
    forwarding = Forwarding(inbound=inbound, pseudonym=b"orders")
    plan = Plan("in", inbound, "auto", Mode.PERMISSIVE, b"orders", forwarding, {}, dict(services), fixed)
    recorder = FakeRecorder()
    return Listener(plan, recorder, Sampler(1.0), ConnectionLimits()), recorder


def begun(listener, *fields, peer=STRANGER, method=b"GET", authority=b"a.test:80"):
    head = RequestHead(method, b"/", authority, list(fields))
    return listener.begin(head, peer, Hop(peer, listener.plan.forwarding), 5.0)


def test_an_exchange_begins_with_an_identity_that_goes_on():
    listener, _ = listener_of()
    exchange = begun(listener)
    assert exchange.request_id == exchange.head.get(b"x-request-id")
    assert b"%032x" % exchange.trace.trace_id in exchange.head.get(b"traceparent")
    assert (exchange.listener, exchange.started) == ("in", 5.0)


@pytest.mark.parametrize(
    ("fixed", "authority", "fields", "wanted"),
    [
        (None, b"a.test:80", (), None),
        (None, b"b.test:80", (), NO_ROUTE),
        (TABLE, b"a.test:80", (), NO_CONNECT),
        (None, b"a.test:80", ((b"via", b", ".join([b"1.1 orders"] * 3)),), LOOPED),
    ],
)
def test_a_tunnel_leads_to_a_service_of_the_mesh_only(fixed, authority, fields, wanted):
    listener, _ = listener_of(inbound=False, fixed=fixed, services={b"a.test:80": TABLE})
    exchange = begun(listener, *fields, method=b"CONNECT", authority=authority)
    assert listener.connect(exchange) is wanted


@pytest.mark.parametrize(
    ("inbound", "peer", "full"),
    [
        (True, STRANGER, False),
        (True, MESH, True),
        (False, STRANGER, True),
    ],
)
def test_a_stranger_is_told_less(inbound, peer, full):
    listener, _ = listener_of(inbound=inbound)
    exchange = begun(listener, peer=peer)
    head, body = listener.render(exchange, DENIED)
    assert (b"details=" in head.get(b"proxy-status")) is full
    assert (head.status, body) == (403, b"no\n")
    assert (exchange.reply, exchange.flags, exchange.details) == (DENIED, flags.DENIED, "why")


async def test_an_exchange_without_an_answer_lost_its_client(autojump_clock):
    listener, recorder = listener_of()
    exchange = listener.begin_unparsed(STRANGER, 0.0, RequestHead(b"-", b"-", b""))
    listener.finish(exchange)
    assert [each for each, _ in recorder.finished] == [exchange]
    assert exchange.flags == flags.DOWNSTREAM_GONE
    assert exchange.head.method == b"-"


async def test_an_answered_exchange_keeps_its_end(autojump_clock):
    listener, recorder = listener_of()
    exchange = begun(listener)
    exchange.status, exchange.ended = 200, 7.0
    listener.finish(exchange)
    assert (exchange.ended, exchange.flags) == (7.0, "")
    assert len(recorder.finished) == 1


def test_a_listener_tells_its_state():
    listener, _ = listener_of()
    listener.draining = True
    assert repr(listener) == "<Listener in draining>"
