"""The filters of a rule become steps, in their order."""

from support.requests import exchange_of

from meshd.config.route_filters import HTTPFilter
from meshd.core.chain import EMPTY_CHAIN
from meshd.core.head import ResponseHead
from meshd.filters.of_route import chain_of


def made(*documents, prefix=b""):
    return chain_of(filters(*documents), prefix, lambda ref: "" if ref.name == "nothing" else f"{ref.name}:{ref.port}")


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
    assert made() is EMPTY_CHAIN


def test_what_edits_requests_and_what_edits_responses():
    request, response = edit("RequestHeaderModifier", "a", "1"), edit("ResponseHeaderModifier", "b", "2")
    chain = made(response, REWRITE, request, prefix=b"/old")
    exchange = exchange_of(target="/old/x")
    assert [step(exchange) for step in chain.on_request] == [None, None]
    assert (exchange.head.path, exchange.head.headers) == (b"/new/x", [(b"a", b"1")])
    head = ResponseHead(200)
    (step,) = chain.on_response
    step(exchange, head)
    assert head.headers == [(b"b", b"2")]


def test_a_redirect_ends_the_exchange():
    (step,) = made({"type": "RequestRedirect", "requestRedirect": {"statusCode": 301}}).on_request
    assert step(exchange_of()).status == 301


def test_cors_acts_on_both_ways():
    chain = made({"type": "CORS", "cors": {"allowOrigins": ["*"]}})
    exchange = exchange_of(headers=[("origin", "https://a.test")])
    assert [step(exchange) for step in chain.on_request] == [None]
    head = ResponseHead(200)
    for step in chain.on_response:
        step(exchange, head)
    assert head.headers == [(b"access-control-allow-origin", b"https://a.test"), (b"vary", b"origin")]


def mirror(name, **share):
    return {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": name, "port": 80}, **share}}


def test_mirrors_ask_for_copies_and_one_to_nowhere_is_dropped():
    exchange = exchange_of()
    for step in made(mirror("a"), mirror("nothing"), mirror("b"), mirror("c", percent=0)).on_request:
        assert step(exchange) is None
    assert exchange.asked.mirrors == ["a:80", "b:80"]
