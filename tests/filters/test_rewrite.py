"""URLRewrite changes the host, the path, or both, and never the query."""

import pytest
from support.requests import exchange_of

from meshd.config.route_filters import UrlRewrite
from meshd.filters.rewrite import request_step

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
