"""The filters of a rule become steps, in their order."""

from support.requests import exchange_of

from meshd.config.route_filters import HTTPFilter
from meshd.core.chain import EMPTY_CHAIN
from meshd.core.head import ResponseHead
from meshd.filters.of_route import chain_of


def filters(*documents):
    return [HTTPFilter.model_validate(each) for each in documents]


def edit(kind, name, value):
    field = kind[0].lower() + kind[1:]
    return {"type": kind, field: {"set": [{"name": name, "value": value}]}}


REWRITE = {
    "type": "URLRewrite",
    "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}},
}


def test_no_filters_are_no_steps():
    assert chain_of([], b"") is EMPTY_CHAIN


def test_what_edits_requests_and_what_edits_responses():
    request, response = edit("RequestHeaderModifier", "a", "1"), edit("ResponseHeaderModifier", "b", "2")
    chain = chain_of(filters(response, REWRITE, request), b"/old")
    exchange = exchange_of(target="/old/x")
    assert [step(exchange) for step in chain.on_request] == [None, None]
    assert (exchange.head.path, exchange.head.headers) == (b"/new/x", [(b"a", b"1")])
    head = ResponseHead(200)
    (step,) = chain.on_response
    step(exchange, head)
    assert head.headers == [(b"b", b"2")]


def test_a_redirect_ends_the_exchange():
    (step,) = chain_of(filters({"type": "RequestRedirect", "requestRedirect": {"statusCode": 301}}), b"").on_request
    assert step(exchange_of()).status == 301


def test_cors_acts_on_both_ways():
    chain = chain_of(filters({"type": "CORS", "cors": {"allowOrigins": ["*"]}}), b"")
    exchange = exchange_of(headers=[("origin", "https://a.test")])
    assert [step(exchange) for step in chain.on_request] == [None]
    head = ResponseHead(200)
    for step in chain.on_response:
        step(exchange, head)
    assert head.headers == [(b"access-control-allow-origin", b"*")]
