import pytest
from support.conventions import wrong
from support.exchanges import CLOCK, make_attempt, make_call, make_denied, make_exchange, make_record

from meshd.core.endpoint import Tls
from meshd.core.exchange import Exchange
from meshd.core.head import RequestHead
from meshd.core.peer import NOBODY
from meshd.core.reply import Reply
from meshd.core.route import Route
from meshd.core.trace import TraceContext
from meshd.telemetry.spans import Kind, build_spans


def spans(exchange=None, **given):
    return build_spans(make_record(exchange, **given))


def test_one_server_span_and_a_client_span_an_attempt_below_it():
    exchange = make_exchange()
    exchange.trace.parent_id = 99
    exchange.trace.state = b"a=1"
    server, client = spans(exchange)
    assert (server.kind, client.kind) == (Kind.SERVER, Kind.CLIENT)
    assert server.trace_id == client.trace_id == exchange.trace.trace_id
    assert (server.span_id, server.parent_id, server.remote) == (exchange.trace.span_id, 99, True)
    assert (client.parent_id, client.remote) == (server.span_id, False)
    assert client.span_id not in {0, server.span_id}
    assert server.state == client.state == "a=1"


def test_names_come_from_the_template_and_never_from_the_path():
    server, client = spans()
    assert (server.name, client.name) == ("GET /orders/{id}", "GET")
    exchange = make_exchange(method=b"BREW")
    exchange.route = Route("r")
    server, client = spans(exchange)
    assert (server.name, client.name) == ("HTTP", "HTTP")
    assert server.attributes["http.request.method"] == "_OTHER"
    assert server.attributes["http.request.method_original"] == "BREW"
    assert "http.route" not in server.attributes


def test_the_server_span_says_what_the_conventions_ask():
    server, _ = spans(query=b"a=1&sig=s3cret")
    wanted = {
        "http.request.method": "GET",
        "url.path": "/orders/17",
        "url.query": "a=1&sig=REDACTED",
        "url.scheme": "https",  # of the leg, which is TLS
        "http.response.status_code": 200,
        "http.route": "/orders/{id}",
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
        "server.address": "orders.default",
        "server.port": 80,
        "client.address": "10.0.0.1",
        "network.peer.address": "10.0.0.1",
        "network.peer.port": 41234,
        "user_agent.original": "curl/8.5",
        "tls.protocol.version": "1.3",
        "tls.resumed": True,
        "tls.cipher": "TLS_AES_128_GCM_SHA256",
        "tls.curve": "X25519MLKEM768",
        "tls.next_protocol": "http/1.1",
        "tls.client.hash.sha256": "AB" * 32,
        "tls.client.issuer": "CN=ca",
        "tls.client.not_before": "2023-11-14T22:13:20.000Z",
        "tls.client.not_after": "2023-11-15T22:13:20.000Z",
        "meshd.tls.server_name": "orders.default",
        "meshd.peer": "spiffe://cluster.local/ns/shop/sa/web",
        "meshd.direction": "inbound",
        "meshd.authorization": "allowed",
        "meshd.policy": "default/orders",
        "meshd.policy.rule": 0,
        "meshd.replied_by": "app",
    }
    assert wanted.items() <= server.attributes.items()
    assert "error.type" not in server.attributes


def test_the_client_span_says_what_the_conventions_ask():
    exchange = make_exchange(query=b"access_token=x")
    exchange.head.authority = b"me:pw@orders.default:8080"
    _, client = spans(exchange)
    wanted = {
        "http.request.method": "GET",
        "server.address": "orders.default",
        "server.port": 8080,
        "url.full": "http://orders.default:8080/orders/17?access_token=REDACTED",
        "network.peer.address": "10.1.0.1",
        "network.peer.port": 8080,
        "http.response.status_code": 200,
        "meshd.connection.reused": True,
        "meshd.connection.uses": 7,
        "meshd.connection.age": 1.5,
        "network.protocol.version": "1.1",
        "tls.established": True,
        "tls.resumed": False,
        "tls.server.hash.sha256": "AB" * 32,
        "meshd.peer": "spiffe://cluster.local/ns/default/sa/orders",
    }
    assert client.attributes["meshd.time_to_first_byte"] == pytest.approx(0.003, abs=1e-6)
    assert wanted.items() <= client.attributes.items()
    assert "http.request.resend_count" not in client.attributes


@pytest.mark.parametrize(
    ("authority", "asked", "port", "url"),
    [
        (b"orders", b"http", 80, "http://orders/orders/17"),  # whatever protects it on the way
        (b"orders", b"https", 443, "https://orders/orders/17"),
        (b"orders:9080", b"http", 9080, "http://orders:9080/orders/17"),
        (b"[::1]", b"http", 80, "http://[::1]/orders/17"),
        (b"", b"http", 8080, "http://10.1.0.1:8080/orders/17"),
    ],
)
@pytest.mark.parametrize("tls", Tls)
def test_no_scheme_and_no_port_is_made_up(authority, asked, port, url, tls):
    exchange = make_exchange()
    exchange.head.authority, exchange.head.scheme = authority, asked
    exchange.attempts[0].endpoint.tls = tls
    server, client = spans(exchange)
    assert (client.attributes["server.port"], client.attributes["url.full"]) == (port, url)
    assert server.attributes.get("server.port") == (port if authority else None)


def test_a_client_span_lasts_as_long_as_its_attempt():
    server, client = spans()
    assert (server.started, server.ended) == (CLOCK + 100, pytest.approx(CLOCK + 100.005))
    assert (client.started, client.ended) == (CLOCK + 100.001, pytest.approx(CLOCK + 100.003))


def test_a_head_that_came_slowly_is_part_of_the_server_span():
    exchange = make_exchange()
    exchange.arrived = 98.0
    server, _ = spans(exchange)
    assert (server.started, server.ended) == (CLOCK + 98, pytest.approx(CLOCK + 100.005))


def test_the_rest_of_a_response_that_nobody_read_is_told_of():
    exchange = make_exchange()
    exchange.attempts.insert(0, make_attempt(2, status=503, verdict="gateway-error", started=100.0))
    exchange.attempts.insert(0, make_attempt(3, status=0, flag="UF", details="refused", started=100.0))
    _, broken, tried, last = spans(exchange)
    assert [event.name for event in tried.events] == ["meshd.response.discarded"]
    assert tried.events[0].at == tried.ended
    assert not broken.events
    assert not last.events


@pytest.mark.parametrize(
    ("told", "by"),
    [
        ('"orders.default"; error=http_request_denied; details="AD x"', "upstream_proxy"),
        ('"edge"; received-status=403, "orders"; error=dns_error', "upstream_proxy"),
        ('"a; error=fake"; received-status=403', "app"),
        ("", "app"),
    ],
)
def test_a_reply_of_another_proxy_is_not_the_apps(told, by):
    exchange = make_exchange(status=403)
    exchange.facts = {"proxy_status": told}
    assert spans(exchange)[0].attributes["meshd.replied_by"] == by


def drawn_exchanges():
    """Exchanges of every kind that is told of."""
    plain = make_exchange(status=0)
    plain.peer = NOBODY
    plain.attempts[0].endpoint.tls, plain.attempts[0].tls = Tls.PLAIN, None
    unparsed = Exchange(RequestHead(b"-", b"-", b""), NOBODY, 5.0)
    unparsed.trace, unparsed.ended = TraceContext(1, 2, sampled=True), 5.0
    retried = make_exchange(query=b"", method=b"BREW")
    retried.attempts.insert(0, make_attempt(2, status=0, flag="UF", started=100.0))
    empty = make_exchange(fields=())
    empty.facts = {"early_data": "", "fault": "slow", "claims": "{}"}
    return [
        make_exchange(),
        plain,
        unparsed,
        retried,
        empty,
        make_denied(),
        make_call(status=14),
        make_call(status=None),
    ]


@pytest.mark.parametrize("exchange", drawn_exchanges(), ids=repr)
def test_every_attribute_is_one_of_the_conventions_or_ours_of_its_type_and_with_a_value(exchange):
    found = spans(exchange)
    assert found
    for each in found:
        assert not wrong(each.attributes)
        for event in each.events:
            assert not wrong(event.attributes)


@pytest.mark.parametrize(
    ("status", "server_error", "client_error"), [(200, None, None), (404, None, ""), (500, "", ""), (503, "", "")]
)
def test_a_4xx_is_the_clients_error_and_a_5xx_everybodys(status, server_error, client_error):
    server, client = spans(status=status)
    assert (server.error, client.error) == (server_error, client_error)
    assert server.attributes.get("error.type") == (str(status) if server_error is not None else None)
    assert client.attributes.get("error.type") == (str(status) if client_error is not None else None)


def test_each_try_has_a_span_and_the_server_span_an_event():
    exchange = make_exchange()
    failed = make_attempt(
        2, status=0, flag="UF", details="connection refused", verdict="connect-failure", started=100.0
    )
    exchange.attempts.insert(0, failed)
    server, first, second = spans(exchange)
    assert first.error == "connection refused"
    assert first.attributes["error.type"] == "UpstreamConnectionFailure"
    assert "http.request.resend_count" not in first.attributes
    assert second.attributes["http.request.resend_count"] == 1
    assert first.span_id != second.span_id
    (event,) = server.events
    assert event.at == pytest.approx(CLOCK + 100.002)
    assert event.attributes == {
        "http.request.resend_count": 1,
        "meshd.endpoint": "10.1.0.2:8080",
        "meshd.retry": "connect-failure",
        "error.type": "UpstreamConnectionFailure",
    }


def test_a_client_that_left_is_nobodys_error():
    exchange = make_exchange(status=0)
    exchange.flag("DC")
    exchange.attempts[0].flag = "DC"
    server, client = spans(exchange)
    assert (server.error, client.error) == (None, None)
    assert "http.response.status_code" not in server.attributes
    assert server.attributes["meshd.response_flags"] == "DC"


def test_a_reply_of_ours_names_its_cause():
    exchange = make_exchange(status=503)
    exchange.attempts.clear()
    exchange.reply = Reply(503, "UH", "no_healthy_upstream", "destination_unavailable")
    exchange.details = "no_healthy_upstream"
    (server,) = spans(exchange)
    assert (server.error, server.attributes["error.type"]) == ("no_healthy_upstream", "destination_unavailable")
    assert server.attributes["meshd.replied_by"] == "proxy"


def test_a_denial_shows_the_nearest_rule_and_is_no_server_error():
    (server,) = spans(make_denied())
    assert server.error is None
    assert server.attributes["meshd.authorization"] == "denied"
    assert server.attributes["meshd.policy.nearest"] == "default/orders rule 1"
    assert server.attributes["meshd.policy.failed"] == 'methods: ["GET"]'
    assert server.attributes["meshd.policy.observed"] == "POST"


def test_facts_are_told_without_hiding_anything():
    exchange = make_exchange()
    exchange.facts = {"early_data": "true", "policy": "forged"}
    server, _ = spans(exchange)
    assert server.attributes["meshd.early_data"] == "true"
    assert server.attributes["meshd.policy"] == "default/orders"


def test_what_is_not_sampled_has_no_spans():
    assert spans(sampling=0.0) == []
    exchange = make_exchange()
    exchange.trace = None
    assert spans(exchange) == []


@pytest.mark.parametrize("authority", [b"", b"[::1]:80", b"host:" + b"9" * 5000, b":", b"\xff:80", b"[", b"a@b@c"])
def test_no_authority_breaks_it(authority):
    exchange = make_exchange()
    exchange.head.authority = authority
    assert len(spans(exchange)) == 2


def test_bytes_that_were_no_request():
    exchange = Exchange(RequestHead(b"-", b"-", b""), NOBODY, 5.0)
    exchange.ended = 5.0
    exchange.trace = TraceContext(1, 2, sampled=True)
    (server,) = spans(exchange)
    assert server.name == "HTTP"
    assert "tls.resumed" not in server.attributes


def test_a_call_of_grpc_names_its_method_and_status():
    for span in spans(make_call(status=0)):
        assert span.attributes["rpc.system.name"] == "grpc"
        assert span.attributes["rpc.method"] == "shop.Orders/Get"
        assert span.attributes["rpc.response.status_code"] == "OK"
        assert (span.attributes["meshd.messages.received"], span.attributes["meshd.messages.sent"]) == (1, 2)
        assert span.error is None
    assert "rpc.system.name" not in spans()[0].attributes


@pytest.mark.parametrize(
    ("status", "server_error", "client_error"), [(5, None, ""), (13, "", ""), (99, None, ""), (None, None, None)]
)
def test_a_status_of_grpc_is_the_servers_error_or_the_clients(status, server_error, client_error):
    server, client = spans(make_call(status=status))
    assert (server.error, client.error) == (server_error, client_error)
    names = {5: "NOT_FOUND", 13: "INTERNAL", 99: "99", None: None}
    assert client.attributes.get("error.type") == names[status]


def test_only_the_last_attempt_has_the_status_of_the_call():
    exchange = make_call(status=14, path=b"/nothing")
    exchange.attempts.insert(0, make_attempt(2, started=100.0))
    server, first, last = spans(exchange)
    assert "rpc.response.status_code" not in first.attributes
    assert "rpc.method" not in server.attributes
    assert last.attributes["rpc.response.status_code"] == "UNAVAILABLE"


def test_a_denied_call_tells_both_statuses():
    exchange = make_denied()
    exchange.rpc = make_call(status=7).rpc
    (server,) = spans(exchange)
    found = server.attributes
    assert (found["rpc.response.status_code"], found["http.response.status_code"]) == ("PERMISSION_DENIED", 403)


def test_the_span_of_a_call_is_named_by_its_method_where_a_route_names_it():
    exact = make_call()
    exact.route = Route("r", "/shop.Orders/Get")
    anything = make_call(path=b"/whatever/comes")
    anything.route = Route("r", "/*")
    assert [spans(each)[0].name for each in (exact, anything)] == ["shop.Orders/Get", "POST /*"]
