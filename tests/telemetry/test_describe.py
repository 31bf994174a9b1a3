import json

from hypothesis import given
from hypothesis import strategies as st
from support.exchanges import make_attempt, make_call, make_denied, make_exchange, make_record

from meshd.core.exchange import Exchange
from meshd.core.head import RequestHead
from meshd.core.peer import NOBODY
from meshd.telemetry.describe import describe, milliseconds, summarise, timestamp


def test_a_summary_has_the_fields_of_istios_log():
    line = summarise(make_record(query=b"a=1&token=t&sig=s"))
    assert line["start_time"] == "2023-11-14T22:15:00.000Z"
    assert (line["method"], line["path"], line["protocol"]) == (
        "GET",
        "/orders/17?a=1&token=t&sig=REDACTED",
        "HTTP/1.1",
    )
    assert (line["response_code"], line["response_flags"]) == (200, "-")
    assert line["response_code_details"] == "via_upstream"
    assert (line["bytes_received"], line["bytes_sent"]) == (12, 345)
    assert (line["duration"], line["upstream_service_time"]) == (5, 3)
    assert (line["upstream_host"], line["upstream_cluster"]) == ("10.1.0.1:8080", "orders.default:80")
    assert (line["route_name"], line["attempts"]) == ("HTTPRoute/default/orders/0", 1)
    assert line["downstream_remote_address"] == "10.0.0.1:41234"
    assert line["downstream_peer"] == "spiffe://cluster.local/ns/shop/sa/web"
    assert (line["tls_resumed"], line["policy"], line["policy_rule"]) == (True, "default/orders", 0)
    assert len(line["trace_id"]) == 32
    assert "facts" not in line


def test_what_is_not_known_is_null():
    exchange = Exchange(RequestHead(b"-", b"-", b""), NOBODY, 5.0)
    exchange.ended = 5.0
    line = summarise(make_record(exchange))
    for name in (
        "upstream_host",
        "upstream_service_time",
        "route_name",
        "request_id",
        "policy",
        "policy_rule",
        "trace_id",
        "tls_resumed",
    ):
        assert line[name] is None


def test_a_denial_names_what_came_nearest():
    whole = describe(make_record(make_denied()))
    assert whole["verdict"] == {
        "allowed": False,
        "action": None,
        "policy": "default/orders",
        "rule": None,
        "nearest": "default/orders rule 1",
        "failed": 'methods: ["GET"]',
        "observed": "POST",
    }
    assert (whole["replied_by"], whole["proxy_error"]) == ("proxy", "http_request_denied")


def test_every_attempt_is_described():
    exchange = make_exchange()
    exchange.attempts.insert(
        0, make_attempt(2, status=0, flag="UF", details="refused", verdict="connect-failure", started=100.0)
    )
    exchange.note("limit", "x")
    whole = describe(make_record(exchange))
    assert [attempt["endpoint"] for attempt in whole["attempts"]] == ["10.1.0.2:8080", "10.1.0.1:8080"]
    assert whole["attempts"][0]["retry"] == "connect-failure"
    assert (whole["attempts"][1]["duration_ms"], whole["attempts"][1]["connection_uses"]) == (2.0, 7)
    assert whole["facts"] == {"limit": "x"}
    json.dumps(whole, allow_nan=False)


@given(st.integers(0, 4_000_000_000_000))
def test_timestamps_count_milliseconds_down(millis):
    shown = timestamp(millis / 1000)
    assert len(shown) == 24
    assert abs(int(shown[20:23]) - millis % 1000) in {0, 1, 999}


def test_milliseconds_are_whole():
    assert (milliseconds(0.0129), milliseconds(None)) == (12, None)


def test_a_call_of_grpc_tells_its_status_and_messages():
    line = summarise(make_record(make_call(status=5)))
    assert (line["grpc_status"], line["messages_received"], line["messages_sent"]) == (5, 1, 2)
    assert "grpc_status" not in summarise(make_record())
