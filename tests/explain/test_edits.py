"""Ideas about a request."""

import pytest
from support.worlds import STOREFRONT, inbound, outbound

from meshd.config.authorization import Rule
from meshd.config.http_route import HTTPMatch
from meshd.explain.edits import Edit, edits_for_match, edits_for_rule, edits_of_anything, example
from meshd.filters.strings import compile_paths, compile_strings


@pytest.mark.parametrize("pattern", ["abc", "abc*", "*abc", "*", "/a/*", "*/b"])
def test_an_example_is_one(pattern):
    assert compile_strings((pattern,))(example(pattern).encode())


@pytest.mark.parametrize("pattern", ["/a/{*}", "/a/{*}/b", "/{**}"])
def test_an_example_of_a_template_is_one(pattern):
    assert compile_paths((pattern,))(example(pattern).encode())


@pytest.mark.parametrize(
    ("edit", "octets"),
    [
        (Edit("method", "PUT"), b"PUT /a?q=1 HTTP/1.1\r\nhost: web\r\nx: 1\r\n\r\n"),
        (Edit("path", "/b"), b"GET /b?q=1 HTTP/1.1\r\nhost: web\r\nx: 1\r\n\r\n"),
        (Edit("query", "z=2"), b"GET /a?z=2 HTTP/1.1\r\nhost: web\r\nx: 1\r\n\r\n"),
        (Edit("authority", "v1"), b"GET /a?q=1 HTTP/1.1\r\nhost: v1\r\nx: 1\r\n\r\n"),
        (Edit("header", "2", "y"), b"GET /a?q=1 HTTP/1.1\r\nhost: web\r\nx: 1\r\ny: 2\r\n\r\n"),
        (Edit("header", None, "x"), b"GET /a?q=1 HTTP/1.1\r\nhost: web\r\n\r\n"),
    ],
)
def test_an_edit_changes_one_thing(edit, octets):
    assert edit.apply(outbound("/a?q=1", headers=(("x", "1"),))).octets() == octets


def test_edits_in_words():
    told = [Edit("method", "PUT"), Edit("caller", ""), Edit("caller", STOREFRONT), Edit("header", None, "x")]
    told += [Edit("header", "1", "x")]
    assert list(map(str, told)) == [
        "method PUT",
        "without a certificate",
        f"from {STOREFRONT}",
        "without header x",
        "header x: 1",
    ]


def ideas(rule, question=None):
    return list(edits_for_rule(Rule.model_validate(rule), question or inbound("GET", "/", caller=""), "shop", "td"))


@pytest.mark.parametrize(
    ("source", "caller"),
    [
        ({"principals": ["td/ns/a/sa/b"]}, "spiffe://td/ns/a/sa/b"),
        ({"principals": ["td/ns/a/*"]}, "spiffe://td/ns/a"),
        ({"serviceAccounts": ["a/b"]}, "spiffe://td/ns/a/sa/b"),
        ({"serviceAccounts": ["b"]}, "spiffe://td/ns/shop/sa/b"),
        ({"namespaces": ["a*"]}, "spiffe://td/ns/a/sa/somebody"),
        ({"trustDomains": ["x.test"]}, "spiffe://x.test/ns/shop/sa/somebody"),
    ],
)
def test_a_caller_for_every_source(source, caller):
    assert ideas({"from": [{"source": source}]}) == [(Edit("caller", caller),)]


def test_what_is_no_identity_is_no_idea():
    assert ideas({"from": [{"source": {"principals": ["*/sa/b?"]}}]}) == [()]
    assert ideas({"from": [{"source": {"ipBlocks": ["10.0.0.0/8"]}}]}) == [()]


def test_alternatives_are_paired():
    rule = {
        "from": [{"source": {"namespaces": ["a"]}}, {"source": {"namespaces": ["b"]}}],
        "to": [{"operation": {"methods": ["PUT"]}}, {"operation": {"paths": ["/x"], "hosts": ["h"]}}],
        "when": [{"key": "request.headers[x-k]", "values": ["1"]}],
    }
    found = ideas(rule)
    assert len(found) == 4
    assert [edit.aspect for edit in found[3]] == ["caller", "path", "authority", "header"]


def test_what_must_not_be_is_avoided():
    rule = {"to": [{"operation": {"notMethods": ["GET"], "notPaths": ["/x*"]}}]}
    assert ideas(rule) == [(Edit("method", "POST"), Edit("path", "/"))]


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ({"key": "source.principal", "values": ["td/ns/a/sa/b"]}, (Edit("caller", "spiffe://td/ns/a/sa/b"),)),
        ({"key": "source.namespace", "values": ["a"]}, (Edit("caller", "spiffe://td/ns/a/sa/somebody"),)),
        ({"key": "source.namespace", "notValues": ["a"]}, ()),
        ({"key": "source.serviceAccount", "values": ["a/web"]}, (Edit("caller", "spiffe://td/ns/a/sa/web"),)),
        ({"key": "source.trustDomain", "values": ["b"]}, (Edit("caller", "spiffe://b/ns/shop/sa/somebody"),)),
        ({"key": "source.ip", "values": ["10.0.0.1"]}, ()),
        ({"key": "request.headers[:method]", "values": ["GET"]}, ()),
        ({"key": "request.headers[a]", "notValues": ["1"]}, ()),
    ],
)
def test_conditions(condition, found):
    assert ideas({"when": [condition]}) == [found]


def test_a_header_that_must_not_be_is_taken_away():
    rule = {"when": [{"key": "request.headers[a]", "notValues": ["1"]}]}
    assert ideas(rule, inbound(headers=(("A", "1"),))) == [(Edit("header", None, "a"),)]


def test_what_a_match_asks_for():
    match = {
        "path": {"value": "/a"},
        "method": "PUT",
        "headers": [{"name": "x", "value": "1"}, {"type": "RegularExpression", "name": "y", "value": "."}],
        "queryParams": [{"name": "q", "value": "2"}],
    }
    wanted = HTTPMatch.model_validate(match)
    assert edits_for_match(wanted, outbound("/")) == (
        Edit("path", "/a"),
        Edit("method", "PUT"),
        Edit("header", "1", "x"),
        Edit("query", "q=2"),
    )
    assert edits_for_match(HTTPMatch(), outbound("/a")) == ()


def test_what_can_be_otherwise_about_any_request():
    found = set(map(str, edits_of_anything(inbound("GET", "/a", headers=(("x", "1"),)))))
    assert found == {
        "method POST",
        "method PUT",
        "method DELETE",
        "path /",
        "without a certificate",
        "without header x",
    }
