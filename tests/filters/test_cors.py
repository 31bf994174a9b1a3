"""CORS: preflights and actual requests by the rules of HTTPCORSFilter."""

import pytest
from support.requests import exchange_of

from meshd.config.route_filters import Cors
from meshd.core.asked import Asked
from meshd.core.head import ResponseHead
from meshd.filters.cors import request_step, response_step

ORIGIN = "https://a.test"


def preflight(document, origin=ORIGIN, method="PUT", wanted=None):
    """The fields of the answer, in one dictionary; None when it is not answered here."""
    headers = [("origin", origin), ("access-control-request-method", method)]
    if wanted:
        headers.append(("access-control-request-headers", wanted))
    exchange = exchange_of(method="OPTIONS", headers=headers)
    reply = request_step(Cors.model_validate(document))(exchange)
    assert reply.status == 200
    assert reply.error is None
    return dict(marked(exchange, [*reply.headers]))


def marked(exchange, headers):
    """The fields of an answer of our own, as the client gets it."""
    head = ResponseHead(200, headers)
    for mark in exchange.asked.marks:
        mark(exchange, head)
    return [(name.decode(), value.decode()) for name, value in head.headers]


def actual(document, origin=ORIGIN, fields=()):
    """The response's fields for a GET from an origin."""
    cors = Cors.model_validate(document)
    exchange = exchange_of(headers=[("origin", origin)] if origin else [])
    assert request_step(cors)(exchange) is None
    exchange.head.headers = []  # as a later filter may
    exchange.head.changed()
    head = ResponseHead(200, [(name.encode(), value.encode()) for name, value in fields])
    response_step(cors)(exchange, head)
    return [(name.decode(), value.decode()) for name, value in head.headers]


@pytest.mark.parametrize(
    ("pattern", "origin", "allowed"),
    [
        ("https://a.test", "https://a.test", True),
        ("https://a.test", "https://a.test:443", True),
        ("https://a.test:443", "https://a.test", True),
        ("http://a.test:80", "http://a.test", True),
        ("https://a.test", "http://a.test", False),
        ("https://a.test", "https://a.test:8443", False),
        ("https://A.test", "https://a.test", True),
        ("https://a.test", "https://a.test.evil", False),
        ("https://*.a.test", "https://x.y.a.test", True),
        ("https://*.a.test", "https://a.test", False),
        ("https://*.a.test", "https://xa.test", False),
        ("https://*.a.test", "https://evil/.a.test", False),
        ("https://*", "https://any.where", True),
        ("https://*", "http://any.where", False),
        ("https://*:8443", "https://any.where:8443", True),
        ("https://*:8443", "https://any.where", False),
        ("https://*", "null", False),
        ("*", "null", True),
    ],
)
def test_origins(pattern, origin, allowed):
    answer = preflight({"allowOrigins": [pattern], "allowCredentials": True}, origin)
    assert answer.get("access-control-allow-origin") == (origin if allowed else None)
    assert answer["vary"] == "origin"
    assert ("access-control-max-age" in answer) is allowed


def test_without_origins_nobody_is_allowed():
    assert preflight({}) == {"vary": "origin"}


def test_a_preflight_says_what_is_allowed():
    document = {
        "allowOrigins": [ORIGIN],
        "allowMethods": ["PUT", "DELETE"],
        "allowHeaders": ["X-A", "X-B"],
        "exposeHeaders": ["X-C"],
        "maxAge": 60,
    }
    assert preflight(document) == {
        "access-control-allow-origin": ORIGIN,
        "vary": "origin",
        "access-control-allow-methods": "PUT, DELETE",
        "access-control-allow-headers": "X-A, X-B",
        "access-control-expose-headers": "X-C",
        "access-control-max-age": "60",
    }


ALL = {"allowOrigins": ["*"], "allowMethods": ["*"], "allowHeaders": ["*"]}


def test_a_star_for_methods_and_fields_is_said_as_it_is_without_credentials():
    assert preflight(ALL) == {
        "access-control-allow-origin": ORIGIN,
        "vary": "origin",
        "access-control-allow-methods": "*",
        "access-control-allow-headers": "*",
        "access-control-max-age": "5",
    }


@pytest.mark.parametrize("wanted", [None, "x-a,x-b"])
def test_with_credentials_a_star_says_back_what_was_asked(wanted):
    answer = preflight({**ALL, "allowCredentials": True}, method="PATCH", wanted=wanted)
    assert "*" not in answer.values()
    assert answer["access-control-allow-origin"] == ORIGIN
    assert answer["access-control-allow-methods"] == "PATCH"
    assert answer.get("access-control-allow-headers") == wanted
    assert answer["access-control-allow-credentials"] == "true"


@pytest.mark.parametrize(
    ("method", "headers"),
    [("OPTIONS", [("origin", ORIGIN)]), ("OPTIONS", [("access-control-request-method", "PUT")]), ("GET", [])],
)
def test_what_is_no_preflight_goes_on(method, headers):
    assert request_step(Cors.model_validate(ALL))(exchange_of(method=method, headers=headers)) is None


def test_an_actual_response_is_marked_and_what_the_app_said_is_replaced():
    document = {"allowOrigins": [ORIGIN], "allowCredentials": True, "exposeHeaders": ["X-A", "X-B"]}
    fields = [("access-control-allow-origin", "https://other"), ("x-a", "1"), ("vary", "accept")]
    assert actual(document, fields=fields) == [
        ("x-a", "1"),
        ("vary", "accept"),
        ("access-control-allow-origin", ORIGIN),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "X-A, X-B"),
        ("vary", "origin"),
    ]


@pytest.mark.parametrize("origin", [ORIGIN, "https://other.test", "null", ""])
def test_an_answer_of_our_own_is_marked_like_any_other(origin):
    document = {"allowOrigins": [ORIGIN], "exposeHeaders": ["X-A"]}
    exchange = exchange_of(headers=[("origin", origin)] if origin else [])
    assert request_step(Cors.model_validate(document))(exchange) is None
    allowed = [("access-control-allow-origin", ORIGIN), ("access-control-expose-headers", "X-A")]
    expected = [("x-a", "1"), *(allowed if origin == ORIGIN else []), ("vary", "origin")]
    assert marked(exchange, [(b"x-a", b"1")]) == expected
    assert marked(exchange, [(b"x-a", b"1")]) == expected


@pytest.mark.parametrize("said", ["origin", "Accept, Origin", "*"])
def test_what_says_already_that_it_depends_on_the_origin_does_not_say_so_twice(said):
    for origin in (ORIGIN, ""):
        found = actual({"allowOrigins": [ORIGIN]}, origin, [("vary", said)])
        assert [value for name, value in found if name == "vary"] == [said]


def test_what_others_asked_of_the_forwarder_stays_asked():
    exchange = exchange_of(headers=[("origin", ORIGIN)])
    exchange.asked = asked = Asked()
    assert request_step(Cors.model_validate({"allowOrigins": [ORIGIN]}))(exchange) is None
    assert exchange.asked is asked
    assert asked.allow_origin


@pytest.mark.parametrize("origin", ["https://other.test", ""])
def test_other_responses_are_left_alone(origin):
    fields = [("access-control-allow-origin", "https://other")]
    assert actual({"allowOrigins": [ORIGIN]}, origin, fields) == [*fields, ("vary", "origin")]


@pytest.mark.parametrize(("credentials", "exposed"), [(False, True), (True, False)])
def test_a_star_is_not_exposed_with_credentials(credentials, exposed):
    document = {"allowOrigins": [ORIGIN], "allowCredentials": credentials, "exposeHeaders": ["*"]}
    assert (("access-control-expose-headers", "*") in actual(document)) is exposed
