"""The edges of every exchange: what it begins with, how a refusal reads, and that it is accounted for."""

from dataclasses import replace

import pytest

from meshd.core import flags
from meshd.core.head import RequestHead
from meshd.core.peer import Peer
from meshd.core.reply import Reply
from meshd.http.forwarding import Forwarding, Hop
from meshd.net.tls import Mode
from meshd.proxy.listener import MISSED, ConnectionLimits, Listener
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


KNOWN = {b"web.shop:80": TABLE, b"web": TABLE, b"reviews": TABLE}


def missed(authority, *, inbound=False, peer=STRANGER):
    listener, _ = listener_of(inbound=inbound, services=KNOWN)
    exchange = begun(listener, authority=authority, peer=peer)
    head, body = listener.render(exchange, NO_ROUTE)
    return exchange, head, body.decode()


def test_a_reply_of_ours_carries_the_id_of_its_request():
    listener, _ = listener_of()
    given = b"0bd4ad35-a80b-4ab9-9b5b-e3f5b3b0b3a1"
    exchange = begun(listener, (b"x-request-id", given), peer=MESH)
    assert listener.render(exchange, DENIED)[0].get(b"x-request-id") == given
    redirect = Reply(301, headers=((b"x-request-id", b"another"),))
    assert listener.render(exchange, redirect)[0].get(b"x-request-id") == b"another"


def test_what_was_no_request_has_an_id_as_well_and_a_loop_has_none():
    listener, _ = listener_of()
    unparsed = listener.begin_unparsed(STRANGER, 0.0, RequestHead(b"-", b"-", b""))
    assert listener.render(unparsed, DENIED)[0].get(b"x-request-id") == unparsed.request_id != b""
    looped = begun(listener, (b"via", b", ".join([b"1.1 orders"] * 3)))
    assert listener.render(looped, LOOPED)[0].get(b"x-request-id") is None


def test_a_name_that_nobody_knows_is_told_with_the_nearest_that_somebody_does():
    exchange, head, body = missed(b"wep")
    said = "no service is known as 'wep'; did you mean 'web'?"
    assert body == f"no route for this request: {said}\n"
    assert exchange.details == f"route_not_found{{{said}}}"
    assert said in head.get(b"proxy-status").decode()
    assert (
        missed(b"entirely-different")[2] == "no route for this request: no service is known as 'entirely-different'\n"
    )


def test_a_known_name_without_a_rule_for_the_request_is_told_so():
    assert missed(b"web")[2] == "no route for this request: no rule for 'web' takes GET /\n"


def test_a_stranger_is_not_told_which_names_there_are():
    _, head, body = missed(b"wep", inbound=True)
    assert body == "no route for this request\n"
    assert b"wep" not in head.get(b"proxy-status")
    assert "did you mean" in missed(b"wep", inbound=True, peer=MESH)[2]


def test_the_nearest_name_is_looked_for_once_and_anew_under_another_plan():
    listener, _ = listener_of(inbound=False, services=KNOWN)
    for name in (b"wep", b"wep", b"wen"):
        listener.render(begun(listener, authority=name), NO_ROUTE)
    assert listener._missed == {"wep": "web", "wen": "web"}
    for number in range(MISSED + 5):
        listener.render(begun(listener, authority=b"n%d" % number), NO_ROUTE)
    assert len(listener._missed) == MISSED
    listener.plan = replace(listener.plan, services={b"wez": TABLE})
    _head, body = listener.render(begun(listener, authority=b"wep"), NO_ROUTE)
    assert b"'wez'" in body


@pytest.mark.parametrize("authority", [b"", b"x" * 5000, b"\xff\xfe", b"[::1]:80", b"'; --"])
def test_no_name_breaks_the_telling_of_it(authority):
    _, head, body = missed(authority)
    assert head.status == 404
    assert len(body) < 1500
