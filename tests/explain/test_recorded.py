"""A recorded exchange as a question."""

from support.exchanges import make_exchange, make_record

from meshd.explain.question import Question
from meshd.explain.recorded import question_of
from meshd.telemetry.describe import describe


def test_everything_that_was_kept():
    found = question_of(describe(make_record(query=b"a=1")))
    assert found == Question(
        method="GET",
        target="/orders/17?a=1",
        authority="orders.default:80",
        caller="spiffe://cluster.local/ns/shop/sa/web",
        headers=(
            ("user-agent", "curl/8.5"),
            ("x-forwarded-for", "203.0.113.9, 10.0.0.1"),
            ("x-request-id", "f5a4c6e0-0000-4000-8000-000000000000"),
        ),
        inbound=True,
        listener="inbound-15006",
        address="10.0.0.1",
    )


def test_what_a_rewrite_replaced_is_put_back():
    exchange = make_exchange(query=b"a=1")
    exchange.note("original_path", "/old")
    exchange.note("original_authority", "old.test")
    found = question_of(describe(make_record(exchange)))
    assert (found.target, found.authority) == ("/old?a=1", "old.test")


def test_bytes_that_were_no_request():
    assert question_of({"method": "-", "path": "-"}) is None
    assert question_of({}) is None
