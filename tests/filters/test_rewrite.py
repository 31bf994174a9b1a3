"""URLRewrite changes the host, the path, or both, and never the query."""

import pytest
from support.requests import exchange_of

from meshd.config.route_filters import UrlRewrite
from meshd.filters.rewrite import request_step
from meshd.http.target import read_path

PREFIX = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}
FULL = {"type": "ReplaceFullPath", "replaceFullPath": "/new"}


@pytest.mark.parametrize(
    ("document", "authority", "target"),
    [
        ({}, b"a.test:80", b"/old/x?q=1"),
        ({"hostname": "b.test"}, b"b.test", b"/old/x?q=1"),
        ({"path": PREFIX}, b"a.test:80", b"/new/x?q=1"),
        ({"path": FULL}, b"a.test:80", b"/new?q=1"),
        ({"hostname": "b.test", "path": FULL}, b"b.test", b"/new?q=1"),
    ],
)
def test_it_edits_what_it_names(document, authority, target):
    exchange = exchange_of(target="/old/x?q=1", authority="a.test:80")
    assert request_step(UrlRewrite.model_validate(document), b"/old")(exchange) is None
    assert (exchange.head.authority, exchange.head.target) == (authority, target)


def test_what_was_asked_for_is_noted():
    exchange = exchange_of(target="/old/x?q=1", authority="a.test:80")
    request_step(UrlRewrite.model_validate({"hostname": "b.test", "path": FULL}), b"/old")(exchange)
    assert exchange.facts == {"original_authority": "a.test:80", "original_path": "/old/x"}
    untouched = exchange_of(target="/old/x")
    request_step(UrlRewrite.model_validate({}), b"/old")(untouched)
    assert untouched.facts is None


@pytest.mark.parametrize(
    ("came", "target", "path"),
    [
        (b"/old//x%2Fy[0]", b"/new//x%2Fy[0]", b"/new/x%2Fy%5B0%5D"),
        (b"/old", b"/new", b"/new"),
        (b"//old/x%2Fy", b"/new/x%2Fy", b"/new/x%2Fy"),
        (b"/a/../old/x", b"/new/x", b"/new/x"),
        (b"/old/../old/x%61", b"/new/xa", b"/new/xa"),
    ],
)
def test_what_follows_the_prefix_goes_on_as_it_came(came, target, path):
    exchange = exchange_of()
    read_path(exchange.head, came)
    assert request_step(UrlRewrite.model_validate({"path": PREFIX}), b"/old")(exchange) is None
    assert (exchange.head.target, exchange.head.path) == (target, path)
    assert exchange.facts["original_path"].encode() == came
