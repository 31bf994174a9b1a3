"""RequestPolicy: what is refused at once, what the forwarder is told, what is answered."""

import pytest
from support.documents import document, text_of
from support.requests import exchange_of

from meshd.core.chain import EMPTY_CHAIN
from meshd.filters.request import TOO_LARGE, request_chain
from meshd.http.render import render_reply
from meshd.http.target import read_path
from meshd.routing.policy_match import compile_policy_match


def policy(rules):
    return document(text_of("RequestPolicy", "meshd.dev/v1alpha1", f"rules: {rules}")).model


def ask(*policies, length=0, **given):
    """The reply and the exchange."""
    exchange = exchange_of(**given)
    exchange.head.length = length
    for step in request_chain([policy(each) for each in policies], compile_policy_match).on_request:
        if (reply := step(exchange)) is not None:
            return reply, exchange
    return None, exchange


def test_no_policy_is_no_step():
    assert request_chain([], compile_policy_match) is EMPTY_CHAIN


@pytest.mark.parametrize(("length", "refused"), [(0, False), (10, False), (11, True), (None, False)])
def test_what_says_that_it_is_too_long_is_refused_at_once(length, refused):
    reply, exchange = ask("[{maxRequestBody: 10}]", length=length)
    assert (reply is TOO_LARGE) is refused
    if not refused:
        assert exchange.asked.max_request == 10


def test_the_lowest_limit_holds():
    _, exchange = ask("[{maxRequestBody: 10, maxResponseBody: 5}]", "[{maxRequestBody: 7, maxResponseBody: 6}]")
    assert (exchange.asked.max_request, exchange.asked.max_response) == (7, 5)


def test_what_no_rule_takes_is_left_alone():
    reply, exchange = ask("[{match: {path: {value: /a}}, maxRequestBody: 1}]", target="/b", length=5)
    assert (reply, exchange.asked) == (None, None)


def test_the_first_rule_that_takes_it_acts():
    rules = "[{match: {path: {value: /a}}, maxRequestBody: 100}, {maxRequestBody: 1}]"
    assert ask(rules, target="/a", length=50)[0] is None
    assert ask(rules, target="/b", length=50)[0] is TOO_LARGE


def test_an_answer_of_our_own_is_an_ordinary_one():
    headers = "[{name: X-A, value: b}]"
    reply, exchange = ask(
        f"[{{respond: {{status: 200, body: '{{}}', contentType: application/json, headers: {headers}}}}}]"
    )
    head, body = render_reply(reply, exchange.head, b"p", stranger=False)
    assert (head.status, body) == (200, b"{}")
    assert head.headers == [(b"x-a", b"b"), (b"content-type", b"application/json")]
    assert (reply.flag, reply.details) == ("", "direct_response")


def test_a_second_value_got_past_a_policy():
    """The first rule that took the request by one of two values ended the matter, or none did."""
    blocked = "[{match: {headers: [{name: x-bot, value: '1'}]}, respond: {status: 403}}]"
    for values in (("0", "1"), ("1", "0"), ("1", "1")):
        reply, _ = ask(blocked, headers=[("x-bot", value) for value in values])
        assert reply is not None
    tiers = "[{match: {headers: [{name: plan, value: premium}]}, maxRequestBody: 100}, {maxRequestBody: 1}]"
    assert ask(tiers, headers=[("plan", "premium")], length=50)[0] is None
    assert ask(tiers, headers=[("plan", "premium"), ("plan", "free")], length=50)[0] is TOO_LARGE
    assert ask(tiers, headers=[("plan", "premium"), ("pl_an", "free")], length=50)[0] is None


def test_another_way_to_write_a_path_got_past_a_policy():
    rules = "[{match: {path: {value: /upload}}, respond: {status: 403}}]"
    for path in (b"/upload", b"/x/..%2Fupload", b"/%2Fupload", b"/upload;x=1/a", b"/x\\..\\upload"):
        exchange = exchange_of()
        read_path(exchange.head, path)
        (step,) = request_chain([policy(rules)], compile_policy_match).on_request
        assert step(exchange) is not None, path
