import marshal

from support.exchanges import (
    CLOCK,
    DENIAL,
    ROUTE,
    WEB,
    make_attempt,
    make_call,
    make_denied,
    make_exchange,
    make_record,
)

from meshd.core.endpoint import Endpoint
from meshd.core.exchange import Attempt, Exchange
from meshd.core.head import RequestHead
from meshd.core.peer import NOBODY
from meshd.core.reply import Reply
from meshd.telemetry.record import decode, record
from meshd.telemetry.tracing import attempt_span_id


def test_what_the_worker_saw_the_controller_reads():
    exchange = make_exchange(query=b"a=1", fields=[(b"user-agent", b"curl"), (b"x-forwarded-for", b"::1")])
    exchange.note("limit", "default/orders")
    found = decode(marshal.loads(marshal.dumps(record(exchange, CLOCK))))
    assert found.started == CLOCK + 100.0
    assert abs(found.duration - 0.005) < 1e-9
    assert abs(found.responded - 0.004) < 1e-9
    assert (found.inbound, found.listener) == (True, "inbound-15006")
    assert (found.method, found.scheme, found.authority) == ("GET", "http", "orders.default:80")
    assert (found.path, found.query, found.protocol) == ("/orders/17", "a=1", "1.1")
    assert (found.status, found.flags, found.details) == (200, "", "via_upstream")
    assert (found.received, found.sent) == (12, 345)
    assert (found.request_id, found.user_agent, found.forwarded_for) == (exchange.request_id.decode(), "curl", "::1")
    assert (found.route, found.template, found.cluster) == (ROUTE.name, ROUTE.template, "orders.default:80")
    assert found.verdict == exchange.verdict
    assert found.facts == {"limit": "default/orders"}
    assert found.error is None
    assert not found.denied


def test_the_peer_keeps_its_identity():
    peer = make_record().peer
    assert (peer.address, peer.port, peer.spiffe_id) == (WEB.address, WEB.port, WEB.spiffe_id)
    assert (peer.tls, peer.resumed, peer.server_name, peer.fingerprint) == (
        "TLSv1.3",
        True,
        "orders.default",
        "ab" * 32,
    )
    assert (peer.local_address, peer.local_port) == ("10.0.0.2", 15006)


def test_each_attempt_is_kept_with_what_became_of_it():
    exchange = make_exchange()
    failed = make_attempt(
        2, status=0, flag="UF", details="connection refused", verdict="connect-failure", started=100.0
    )
    failed.sent = 9
    exchange.attempts.insert(0, failed)
    first, second = make_record(exchange).attempts
    assert (first.host, first.status, first.flag, first.details) == ("10.1.0.2:8080", 0, "UF", "connection refused")
    assert (first.verdict, first.sent, first.tls) == ("connect-failure", 9, True)
    assert (first.started, round(first.duration, 6)) == (CLOCK + 100.0, 0.002)
    assert (second.status, second.connection_uses, second.connection_age) == (200, 7, 1.5)


def test_an_attempts_span_is_the_one_it_was_given_or_derived():
    exchange = make_exchange()
    assert make_record(exchange).attempts[0].span_id == attempt_span_id(exchange.trace.span_id, 1)
    exchange.attempts[0].span_id = 77
    assert make_record(exchange).attempts[0].span_id == 77


def test_an_attempt_under_way_ends_with_the_exchange():
    exchange = make_exchange()
    exchange.attempts[0].ended = 0.0
    assert round(make_record(exchange).attempts[0].duration, 6) == 0.004


def test_hosts_are_written_as_logs_write_them():
    exchange = make_exchange()
    exchange.attempts[:] = [Attempt(Endpoint("::1", 80), 100.0), Attempt(Endpoint("/run/app.sock", 0), 100.0)]
    assert [attempt.host for attempt in make_record(exchange).attempts] == ["[::1]:80", "/run/app.sock"]


def test_a_denial_says_why():
    found = make_record(make_denied())
    assert found.denied
    assert found.verdict == DENIAL
    assert found.error == "http_request_denied"
    assert found.upstream_time is None


def test_an_exchange_about_which_nothing_is_known():
    exchange = Exchange(RequestHead(b"-", b"-", b""), NOBODY, 5.0)
    exchange.request_id = None  # a loop: it was given none
    exchange.reply = Reply(200)
    exchange.ended = 5.0
    found = make_record(exchange)
    assert (found.trace, found.verdict, found.attempts, found.responded) == (None, None, (), -1.0)
    assert (found.request_id, found.error, found.peer.spiffe_id) == ("", "", "")


def test_octets_that_are_no_text_become_escapes():
    found = make_record(path=b"/\xff\xc3\xa9", fields=[(b"user-agent", b"\x80")])
    assert (found.path, found.user_agent) == ("/\\xff\xe9", "\\x80")


def test_upstream_time_is_from_the_last_attempt_to_the_response():
    assert round(make_record().upstream_time, 6) == 0.003


def test_weight_grows_with_what_the_peer_sent():
    exchange = make_exchange(path=b"/" + b"x" * 50_000)
    exchange.note("claim", "y" * 1000)
    assert make_record(exchange).weight > make_record().weight + 50_900


def test_a_call_of_grpc_keeps_its_status_and_messages():
    assert make_record().rpc is None
    assert make_record(make_call(status=5)).rpc == (5, 1, 2)
    assert make_record(make_call(status=None)).rpc == (None, 1, 2)
