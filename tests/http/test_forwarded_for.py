"""The client behind trusted proxies, as Istio counts them, and never an address that only the client has written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.http.forwarded_for import MOST, UNKNOWN, client_address, possible_addresses

PEER = "10.0.0.9"
octets = st.integers(0, 255)
ips = st.builds("{}.{}.{}.{}".format, octets, octets, octets, octets)


@pytest.mark.parametrize(
    ("forwarded_for", "trusted", "client"),
    [
        (None, 1, PEER),
        (b"10.0.0.9", 1, PEER),
        (b"203.0.113.9, 10.0.0.9", 0, PEER),
        (b"203.0.113.9, 10.0.0.9", 1, "203.0.113.9"),
        (b"6.6.6.6,203.0.113.9, 10.0.0.9", 1, "203.0.113.9"),
        (b"6.6.6.6,203.0.113.9,10.1.1.1, 10.0.0.9", 2, "203.0.113.9"),
        (b"203.0.113.9, 10.0.0.9", 2, PEER),
        (b"[2001:DB8::1]:443, 10.0.0.9", 1, "2001:db8::1"),
        (b"203.0.113.9:8080, 10.0.0.9", 1, "203.0.113.9"),
        (b"[::ffff:203.0.113.9]:80, 10.0.0.9", 1, "203.0.113.9"),
        (b"::ffff:cb00:7109, 10.0.0.9", 1, "203.0.113.9"),
        (b"unknown, 10.0.0.9", 1, UNKNOWN),
        (b"203.0.113.9, , 10.0.0.9", 1, UNKNOWN),
        (b"203.0.113.009, 10.0.0.9", 1, UNKNOWN),
        (b"\xff, 10.0.0.9", 1, UNKNOWN),
        (b"6.6.6.6, 203.0.113.9:http, 10.0.0.9", 1, UNKNOWN),
    ],
)
def test_the_client_stands_so_many_from_the_right(forwarded_for, trusted, client):
    assert client_address(forwarded_for, PEER, trusted) == client


@given(st.lists(ips, max_size=4), st.lists(ips, min_size=1, max_size=3))
def test_what_a_client_writes_itself_changes_nothing(forged, seen):
    """`seen` is what trusted proxies have added, the first of it the client's address."""
    written = ",".join([*forged, *seen, PEER]).encode()
    assert client_address(written, PEER, len(seen)) == seen[0]


@given(st.binary(max_size=40))
def test_no_field_is_too_odd(text):
    assert isinstance(client_address(text, PEER, 1), str)
    assert all(isinstance(each, str) for each in possible_addresses(text, PEER))


def test_while_no_proxy_is_trusted_every_address_that_is_named_is_possible():
    assert possible_addresses(b"6.6.6.6, 203.0.113.9:80, 6.6.6.6, 10.0.0.9", PEER) == (PEER, "6.6.6.6", "203.0.113.9")


def test_a_list_longer_than_anybody_means_hides_no_address():
    """Sixty kilobytes of addresses were all taken apart, for every rule."""
    forwarded_for = b"203.0.113.9," + b"192.0.2.1," * 6000 + PEER.encode()
    assert possible_addresses(forwarded_for, PEER) == (PEER, "192.0.2.1", UNKNOWN)
    assert possible_addresses(b"1.1.1.1," * (MOST - 1) + PEER.encode(), PEER) == (PEER, "1.1.1.1")
