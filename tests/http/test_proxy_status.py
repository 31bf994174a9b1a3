"""Who made a response, by what proxies say of it."""

import pytest

from meshd.http.proxy_status import is_by_proxy


@pytest.mark.parametrize(
    "value",
    [
        '"reviews.default"; error=http_request_denied',
        "edge;error=dns_timeout",
        '"a"; details="x; y"; error=connection_refused',
        '"near"; received-status=502, far; error=connection_terminated',
        '"a \\" b"; error=dns_error',
    ],
)
def test_an_error_is_a_proxys(value):
    assert is_by_proxy(value)


@pytest.mark.parametrize(
    "value",
    ["", '"a"', '"a"; received-status=404', '"a"; details="; error=x"', '"; error=x"', "error", '"a"; next-hop=error'],
)
def test_anything_else_is_the_apps(value):
    assert not is_by_proxy(value)


def test_a_string_without_end_costs_nothing():
    assert not is_by_proxy('"' + "\\" * 100_000)
