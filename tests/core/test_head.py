"""Heads: fields by name, the target as it is sent, the authority in its parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.head import RequestHead, ResponseHead, index, split_authority

FIELDS = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"cookie"]), st.binary(max_size=4)))


def joined(fields, name):
    """RFC 9110 section 5.3, RFC 9113 section 8.2.3."""
    values = [value for key, value in fields if key == name]
    return (b"; " if name == b"cookie" else b",").join(values) if values else None


@given(FIELDS)
def test_repeated_fields_are_one_value(fields):
    head = RequestHead(b"GET", b"/", b"a.test", fields)
    for name in (b"a", b"b", b"cookie", b"absent"):
        assert head.get(name) == index(fields).get(name) == joined(fields, name)
    assert list(index(fields)) == list(dict.fromkeys(name for name, _ in fields))


@given(FIELDS)
def test_a_response_joins_them_with_commas(fields):
    head = ResponseHead(200, fields)
    for name in (b"a", b"b", b"absent"):
        assert head.get(name) == joined(fields, name)


def test_an_edit_is_seen_once_it_is_told():
    head = RequestHead(b"GET", b"/", b"a.test", [(b"a", b"1")])
    assert head.get(b"a") == b"1"
    head.headers[0] = (b"a", b"2")
    head.changed()
    assert head.get(b"a") == b"2"


@pytest.mark.parametrize(("query", "target"), [(None, b"/a"), (b"", b"/a?"), (b"b=c", b"/a?b=c"), (b"?", b"/a??")])
def test_no_query_is_not_an_empty_one(query, target):
    head = RequestHead(b"GET", b"/a", b"a.test")
    head.query = query
    assert head.target == target


@pytest.mark.parametrize(
    ("authority", "host", "port"),
    [
        (b"a.test", b"a.test", None),
        (b"a.test:80", b"a.test", 80),
        (b"a.test:", b"a.test", None),
        (b"[::1]", b"[::1]", None),
        (b"[::1]:8080", b"[::1]", 8080),
        (b"[::1]:", b"[::1]", None),
        (b"a.test:x", b"a.test:x", None),
        (b"a.test:-1", b"a.test:-1", None),
        (b"", b"", None),
    ],
)
def test_the_parts_of_an_authority(authority, host, port):
    assert split_authority(authority) == (host, port)
    assert RequestHead(b"GET", b"/", authority).host == host


HOSTS = st.from_regex(r"[a-z0-9.-]{1,20}", fullmatch=True) | st.ip_addresses(v=6).map(lambda address: f"[{address}]")


@given(HOSTS, st.none() | st.integers(0, 65535))
def test_what_was_put_together_comes_apart_again(host, port):
    authority = host if port is None else f"{host}:{port}"
    assert split_authority(authority.encode()) == (host.encode(), port)


def test_a_new_head_has_no_body_and_shares_no_list():
    one, other = RequestHead(b"GET", b"/", b"a.test"), RequestHead(b"GET", b"/", b"a.test")
    assert (one.length, one.scheme, one.protocol, one.upgrade) == (0, b"http", b"http/1.1", None)
    assert one.headers is not other.headers
    assert ResponseHead(200).headers is not ResponseHead(200).headers


def test_words_for_people():
    head = RequestHead(b"GET", b"/\xff", b"a.test")
    head.query = b"q"
    assert repr(head) == "<GET a.test/ÿ?q>"
    assert repr(ResponseHead(200)) == "<200 ? octets>"
    assert repr(ResponseHead(204, length=0)) == "<204 0 octets>"
