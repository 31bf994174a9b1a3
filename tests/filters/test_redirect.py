"""RequestRedirect: Location by the rules of HTTPRequestRedirectFilter."""

import pytest
from support.requests import exchange_of

from meshd.config.route_filters import RequestRedirect
from meshd.filters.redirect import request_step
from meshd.http.target import read_path


def location(document, target="/old/x?q=1", authority="a.test", scheme=b"http", matched=b"/old"):
    exchange = exchange_of(target=target, authority=authority)
    exchange.head.scheme = scheme
    reply = request_step(RequestRedirect.model_validate(document), matched)(exchange)
    (field,) = reply.headers
    assert field[0] == b"location"
    assert reply.error is None
    return field[1].decode()


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, "http://a.test/old/x?q=1"),
        ({"hostname": "b.test"}, "http://b.test/old/x?q=1"),
        ({"scheme": "https"}, "https://a.test/old/x?q=1"),
        ({"port": 8080}, "http://a.test:8080/old/x?q=1"),
        ({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/n"}}, "http://a.test/n?q=1"),
        ({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/n"}}, "http://a.test/n/x?q=1"),
    ],
)
def test_what_is_left_out_stays(document, expected):
    assert location(document) == expected


@pytest.mark.parametrize(
    ("document", "authority", "scheme", "origin"),
    [
        ({"scheme": "http", "port": 80}, "a.test", b"http", "http://a.test"),
        ({"scheme": "https", "port": 443}, "a.test", b"http", "https://a.test"),
        ({"scheme": "https", "port": 80}, "a.test", b"http", "https://a.test:80"),
        ({"scheme": "http", "port": 443}, "a.test", b"http", "http://a.test:443"),
        ({"port": 80}, "a.test:8080", b"http", "http://a.test"),
        ({"port": 443}, "a.test:8080", b"https", "https://a.test"),
        ({"scheme": "https"}, "a.test:8080", b"http", "https://a.test"),
        ({"hostname": "b.test"}, "a.test:8080", b"http", "http://b.test:8080"),
        ({}, "a.test:80", b"http", "http://a.test"),
        ({}, "[::1]:8080", b"http", "http://[::1]:8080"),
        ({}, "[::1]", b"http", "http://[::1]"),
    ],
)
def test_the_port_of_a_scheme_is_not_written(document, authority, scheme, origin):
    assert location(document, target="/", authority=authority, scheme=scheme) == origin + "/"


def test_a_bare_question_mark_stays():
    assert location({}, target="/old?") == "http://a.test/old?"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_status_is_the_document_s(status):
    step = request_step(RequestRedirect.model_validate({"statusCode": status}), b"")
    assert step(exchange_of()).status == status


def test_without_one_it_is_302():
    assert request_step(RequestRedirect(), b"")(exchange_of()).status == 302


def test_a_path_that_a_redirect_leaves_alone_is_written_as_it_came():
    exchange = exchange_of(authority="a.test")
    read_path(exchange.head, b"/a//b%2Fc[0]")
    reply = request_step(RequestRedirect.model_validate({"hostname": "b.test"}), b"")(exchange)
    assert dict(reply.headers)[b"location"] == b"http://b.test/a//b%2Fc[0]"
