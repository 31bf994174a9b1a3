"""An exchange before anything happened, and the two ways to add to its record."""

from hypothesis import given
from hypothesis import strategies as st
from support.requests import exchange_of

from meshd.core.endpoint import Endpoint
from meshd.core.exchange import Attempt

FLAGS = st.lists(st.sampled_from(["UC", "UF", "UO", "URX", "UR", "U", "DI"]))


@given(FLAGS)
def test_each_flag_stands_once_in_the_order_of_its_first_time(flags):
    exchange = exchange_of()
    for flag in flags:
        exchange.flag(flag)
    assert exchange.flags == ",".join(dict.fromkeys(flags))


def test_facts_cost_nothing_until_there_is_one():
    exchange = exchange_of()
    assert exchange.facts is None
    exchange.note("limit", "a")
    exchange.note("limit", "b")
    exchange.note("audit", "yes")
    assert exchange.facts == {"limit": "b", "audit": "yes"}


def test_a_new_one_is_under_way_without_a_limit():
    exchange = exchange_of()
    assert (exchange.deadline, exchange.ended, exchange.responded) == (float("inf"), 0.0, 0.0)
    assert (exchange.status, exchange.flags, exchange.attempts) == (0, "", [])
    assert (exchange.route, exchange.response, exchange.reply, exchange.verdict) == (None, None, None, None)
    assert not exchange.inbound
    assert exchange.attempts is not exchange_of().attempts


def test_words_for_people():
    exchange = exchange_of(target="/a?b", method="PUT")
    assert repr(exchange) == "<Exchange <PUT a.test/a?b> → under way >"
    exchange.status = 503
    exchange.flag("UO")
    assert repr(exchange) == "<Exchange <PUT a.test/a?b> → 503 UO>"


def test_an_attempt_under_way_answered_or_failed():
    attempt = Attempt(Endpoint("10.0.0.1", 80), 5.0)
    assert (attempt.started, attempt.ended, attempt.status, attempt.verdict) == (5.0, 0.0, 0, "")
    assert repr(attempt) == "<Attempt 10.0.0.1:80 under way>"
    attempt.flag = "UC"
    assert repr(attempt) == "<Attempt 10.0.0.1:80 UC>"
    attempt.status = 200
    assert repr(attempt) == "<Attempt 10.0.0.1:80 200>"
