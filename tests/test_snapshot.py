"""Which routes an authority finds in a plan."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.http.forwarding import Forwarding
from meshd.net.tls import Mode
from meshd.routing.table import RouteTable
from meshd.snapshot import Plan

NAMES = (b"web.shop", b"web.shop:80", b"*.b.test", b"*.b.test:80", b"*.x.b.test", b"exact.b.test")
TABLES = {name: RouteTable(()) for name in NAMES}


def plan(fixed=None):
    forwarding = Forwarding(inbound=False, pseudonym=b"p")
    return Plan("p", False, "auto", Mode.DISABLE, b"p", forwarding, {}, TABLES, fixed)


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        (b"web.shop", b"web.shop"),
        (b"web.shop:80", b"web.shop:80"),
        (b"web.shop.", b"web.shop"),
        (b"web.shop.:80", b"web.shop:80"),
        (b"web.shop:81", None),
        (b"a.b.test", b"*.b.test"),
        (b"a.b.test:80", b"*.b.test:80"),
        (b"a.b.test.", b"*.b.test"),
        (b"a.x.b.test", b"*.x.b.test"),
        (b"y.a.b.test", b"*.b.test"),
        (b"exact.b.test", b"exact.b.test"),
        (b"b.test", None),
        (b"", None),
        (b".", None),
        (b"...", None),
        (b"[::1]:80", None),
    ],
)
def test_an_authority_finds_the_nearest_name(authority, name):
    assert plan().table(authority) is (None if name is None else TABLES[name])


@given(st.binary(max_size=30))
def test_what_serves_one_service_asks_for_no_name(authority):
    fixed = RouteTable(())
    assert plan(fixed).table(authority) is fixed
    assert plan().table(authority) in (None, *TABLES.values())
