"""Heads from header blocks and back: what is malformed, and what survives the way through both protocols."""

import pytest
from h11 import SERVER, Connection, Request
from hypothesis import given
from hypothesis import strategies as st
from support.http2 import GET, POST, names, values

from meshd.core.errors import ProtocolError
from meshd.core.head import RequestHead, ResponseHead
from meshd.core.spelling import fold, fold_all
from meshd.http.framing import CONNECTION_FIELDS, NOT_IN_TRAILERS
from meshd.http.h1 import ClientCodec, ServerCodec
from meshd.http.h2_fields import (
    Malformed,
    read_request,
    read_response,
    read_trailers,
    request_fields,
    response_fields,
    trailer_fields,
)
from meshd.http.h2_library import Secret
from meshd.http.limits import REQUEST_LIMITS, RESPONSE_LIMITS, Limits


def secret(name, value):
    return Secret((name, value))


def request(fields, *, end=True, limits=REQUEST_LIMITS, **options):
    return read_request(fields, limits, end=end, **options)


headers = st.lists(st.tuples(names, values), max_size=8).map(
    lambda fields: [
        field for field in fields if field[0] not in CONNECTION_FIELDS | {b"cookie", b"trailer", b"http2-settings"}
    ]
)
paths = st.from_regex(rb"(/[a-z0-9._~-]{1,8}){1,3}(\?[a-z=&]{0,8})?", fullmatch=True).filter(
    lambda path: b"/." not in path
)
authorities = st.from_regex(rb"[a-z0-9-]{1,10}(\.[a-z]{1,4})?(:[1-9][0-9]{0,3})?", fullmatch=True)
heads = st.builds(
    lambda method, path, authority, fields, length: (method, path, authority, fields, length),
    st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"PURGE", b"OPTIONS"]),
    paths,
    authorities,
    headers,
    st.none() | st.integers(0, 10**9),
)


def head_of(method, path, authority, fields, length):
    target, mark, query = path.partition(b"?")
    head = RequestHead(method, target, authority, list(fields))
    head.query = query if mark else None
    head.length = length
    return head


def facts(head):
    return head.method, head.path, head.query, head.authority, sorted(head.headers), head.length


@given(heads)
def test_a_request_is_the_same_after_http1_http2_and_http1_again(parts):
    """What goes end to end survives, in whatever versions it goes."""
    first = head_of(*parts)
    wire = ClientCodec().send_request(first, end=first.length == 0)
    server = ServerCodec()
    server.receive(wire)
    read = server.next_event()
    again = request(request_fields(read, secret, end=read.length == 0), end=read.length == 0)
    assert facts(again) == facts(read)
    assert sorted(again.headers) == sorted(first.headers)
    last = ServerCodec()
    last.receive(ClientCodec().send_request(again, end=again.length == 0))
    assert facts(last.next_event()) == facts(read)


@given(status=st.integers(200, 599), fields=headers, length=st.none() | st.integers(0, 10**9))
def test_a_response_is_the_same_after_http1_http2_and_http1_again(status, fields, length):
    first = ResponseHead(status, list(fields), length)
    read = read_response(response_fields(first, secret), RESPONSE_LIMITS, b"GET", end=False)
    assert (read.status, sorted(read.headers)) == (status, sorted(fields))
    assert read.length == (None if status == 204 else length)
    assert read.bodiless == (status in (204, 304))
    client, server = ClientCodec(), ServerCodec()
    server.receive(client.send_request(RequestHead(b"GET", b"/", b"a"), end=True))
    server.next_event()
    client.receive(server.send_head(read, end=False))
    last = client.next_event()
    assert (last.status, sorted(last.headers)) == (status, sorted(fields))


@given(st.lists(st.tuples(names, values), max_size=8))
def test_trailers_lose_what_nobody_may_believe(trailers):
    read = read_trailers(trailer_fields(trailers, secret), REQUEST_LIMITS)
    assert read == [field for field in trailers if fold(field[0]) not in fold_all(NOT_IN_TRAILERS)]


wild_octets = st.binary(max_size=6) | st.sampled_from([b"a b", b"a\r\nb: c", b" a", b"a\t", b"chunked", b"close", b"1"])
wild_names = st.binary(max_size=6) | st.sampled_from(
    [*(name for name, _ in GET), b":protocol", b":status", b"host", b"te", b"content-length", b"connection", b"cookie"]
)
wild = st.lists(st.tuples(wild_names, wild_octets), max_size=5)


@given(extra=wild, place=st.integers(0, 5), wild_field=st.tuples(st.integers(0, 3), wild_octets), end=st.booleans())
def test_what_is_accepted_is_one_strict_http1_request(extra, place, wild_field, end):
    """Nothing smuggles: whatever passes, h11 and our own codec read as exactly one request with the same facts."""
    fields = [*POST[:place], *extra, *POST[place:]]
    which, octets = wild_field
    fields = [(name, octets) if name == POST[which][0] and len(octets) % 2 else (name, value) for name, value in fields]
    try:
        head = request(fields, end=end)
    except ProtocolError:
        return
    wire = ClientCodec().send_request(head, end=end)
    server = ServerCodec()
    server.receive(wire)
    assert facts(server.next_event()) == facts(head)
    if head.method != b"CONNECT":
        oracle = Connection(SERVER)
        oracle.receive_data(wire)
        event = oracle.next_event()
        assert isinstance(event, Request)
        assert (event.method, event.target) == (head.method, head.target)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ([], "no valid :method"),
        (GET[1:], "no valid :method"),
        ([*GET, (b":method", b"GET")], "repeated"),
        ([*GET[:3]], "no valid :path"),
        ([GET[0], *GET[2:]], "no valid :scheme"),
        ([*GET, (b"x", b"y"), (b":path", b"/")], "misplaced"),
        ([*GET, (b":new", b"y")], "undefined"),
        ([*GET, (b"X-a", b"y")], "invalid field name"),
        ([*GET, (b"", b"y")], "invalid field name"),
        ([*GET, (b"connection", b"close")], "one connection"),
        ([*GET, (b"upgrade", b"websocket")], "one connection"),
        ([*GET, (b"te", b"gzip")], "te other"),
        ([*GET, (b"x", b"a\r\nb: c")], "control octet"),
        ([*GET, (b"x", b"a\x00")], "control octet"),
        ([*GET, (b"x", b" a")], "white space"),
        ([*GET, (b"x", b"a\t")], "white space"),
        ([*GET, (b"content-length", b"1")], "without a body"),
        ([*GET, (b"content-length", b"+1")], "invalid or repeated"),
        ([*GET, (b"content-length", b"0"), (b"content-length", b"0")], "invalid or repeated"),
        ([*GET, (b"content-length", b"9" * 19)], "invalid or repeated"),
        ([*GET, (b"host", b"b.test")], "differ"),
        ([*GET, (b"host", b"a.test"), (b"host", b"a.test")], "more than one Host"),
        ([*GET[:3], (b":path", b"*")], "no valid :path"),
        ([*GET[:3], (b":path", b"http://a.test/")], "no valid :path"),
        ([(b":method", b"CONNECT"), *GET[1:]], "alone"),
        ([(b":method", b"CONNECT")], "alone"),
        ([*GET, (b":protocol", b"websocket")], "not offered"),
    ],
)
def test_malformed_requests(fields, why):
    with pytest.raises(Malformed, match=why):
        request(fields)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([*GET[:3], (b":path", b"/a/%00")], 400),
        ([*GET[:3], (b":path", b"/" + b"a" * 8192)], 414),
        ([GET[0], (b":scheme", b"ftp"), *GET[2:]], 400),
        ([GET[0], GET[1], GET[3]], 400),
        ([*GET[:2], (b":authority", b"u@a"), GET[3]], 400),
        ([*GET, (b"expect", b"wonders")], 417),
        ([*GET, *[(b"x", b"y")] * 101], 431),
        ([*GET, *[(b"cookie", b"a=b")] * 101], 431),
        ([*GET, (b"x", b"y" * 61440)], 431),
    ],
)
def test_requests_that_are_answered(fields, status):
    with pytest.raises(ProtocolError) as caught:
        request(fields)
    assert caught.value.status == status
    assert not isinstance(caught.value, Malformed)


def test_cookie_crumbs_are_one_field_again_and_stay_secret():
    head = request([*GET, (b"cookie", b"a=b"), (b"x", b"y"), (b"cookie", b"c=d")])
    assert head.get(b"cookie") == b"a=b; c=d"
    assert all(type(field) is Secret for field in head.headers if field[0] == b"cookie")


def test_what_must_not_be_compressed_is_marked():
    head = head_of(b"GET", b"/", b"a", [(b"authorization", b"s"), (b"x", b"y"), Secret((b"x-own", b"s"))], 0)
    marked = [name for name, _ in filter(lambda field: type(field) is Secret, request_fields(head, secret, end=True))]
    assert marked == [b"authorization", b"x-own"]


def test_fields_of_one_connection_are_not_sent():
    head = head_of(b"GET", b"/", b"a", [(name, b"v") for name in sorted(CONNECTION_FIELDS)] + [(b"X-Up", b"v")], 0)
    names_sent = [name for name, _ in request_fields(head, secret, end=True)]
    assert names_sent == [b":method", b":scheme", b":path", b":authority", b"x-up"]


def test_te_and_expectations_cross():
    head = request([*POST, (b"te", b"trailers"), (b"expect", b"100-continue")], end=False)
    assert head.expect_continue
    fields = request_fields(head, secret, end=False)
    assert fields[-2:] == [(b"te", b"trailers"), (b"expect", b"100-continue")]


def test_a_websocket_is_an_upgrade_here_and_extended_connect_there():
    fields = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]]
    head = request(fields, end=False, connect_protocol=True)
    assert (head.method, head.upgrade, head.path, head.length) == (b"GET", b"websocket", b"/", 0)
    assert sorted(request_fields(head, secret, end=False)) == sorted(fields)
    assert response_fields(ResponseHead(101), secret) == [(b":status", b"200")]


def test_an_upgrade_has_no_body():
    fields = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:], (b"content-length", b"5")]
    with pytest.raises(Malformed, match="content-length without a body"):
        request(fields, end=False, connect_protocol=True)


def test_only_websockets_come_by_extended_connect():
    fields = [(b":method", b"CONNECT"), (b":protocol", b"connect-udp"), *GET[1:]]
    with pytest.raises(ProtocolError, match="something else than a WebSocket") as caught:
        request(fields, end=False, connect_protocol=True)
    assert caught.value.status == 501


def test_an_upgrade_to_http2_is_refused():
    fields = [(b":method", b"CONNECT"), (b":protocol", b"h2c"), *GET[1:]]
    with pytest.raises(Malformed, match="no valid :protocol"):
        request(fields, end=False, connect_protocol=True)


def test_connect_names_a_host_and_a_port():
    head = request([(b":method", b"CONNECT"), (b":authority", b"a.test:443")], end=False)
    assert (head.method, head.authority, head.path) == (b"CONNECT", b"a.test:443", b"")
    assert request_fields(head, secret, end=False) == [(b":method", b"CONNECT"), (b":authority", b"a.test:443")]


@pytest.mark.parametrize(
    ("fields", "method", "end", "why"),
    [
        ([], b"GET", True, "no valid :status"),
        ([(b":status", b"99")], b"GET", True, "no valid :status"),
        ([(b":status", b"200"), (b":path", b"/")], b"GET", True, "undefined"),
        ([(b":status", b"103")], b"GET", True, "interim"),
        ([(b":status", b"101")], b"GET", False, "101"),
        ([(b":status", b"200"), (b"content-length", b"1")], b"GET", True, "without a body"),
        ([(b":status", b"200"), (b"transfer-encoding", b"chunked")], b"GET", False, "one connection"),
        ([(b":status", b"200"), *[(b"a", b"b")] * 101], b"GET", True, "more than 100"),
    ],
)
def test_responses_that_are_nonsense_are_the_upstreams_fault(fields, method, end, why):
    with pytest.raises(ProtocolError, match=why) as caught:
        read_response(fields, RESPONSE_LIMITS, method, end=end)
    assert caught.value.status == 502


@pytest.mark.parametrize(
    ("fields", "method", "length", "bodiless"),
    [
        ([(b":status", b"200"), (b"content-length", b"7")], b"HEAD", 7, True),
        ([(b":status", b"304"), (b"content-length", b"7")], b"GET", 7, True),
        ([(b":status", b"204")], b"GET", None, True),
        ([(b":status", b"200")], b"GET", 0, False),
        ([(b":status", b"200"), (b"content-length", b"7")], b"CONNECT", None, False),
    ],
)
def test_the_length_of_a_response_that_ends_with_its_head(fields, method, length, bodiless):
    head = read_response(fields, RESPONSE_LIMITS, method, end=True)
    assert (head.length, head.bodiless) == (length, bodiless)


def test_limits_are_those_that_were_given():
    with pytest.raises(ProtocolError, match="more than 2"):
        request([*GET, (b"a", b"b"), (b"c", b"d"), (b"e", b"f"), (b"g", b"h")], limits=Limits(fields=2))


def test_crumbs_of_a_response_are_one_field_too():
    fields = [(b":status", b"200"), (b"cookie", b"a=1"), (b"cookie", b"b=2")]
    assert read_response(fields, RESPONSE_LIMITS, b"GET", end=True).headers == [(b"cookie", b"a=1; b=2")]


def test_a_long_name_goes_through_and_is_not_remembered():
    long = b"X" * 64
    head = RequestHead(b"GET", b"/", b"", [(long, b"v")])
    fields = request_fields(head, secret, end=True)
    assert fields == [*[(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")], (long.lower(), b"v")]
    again = request([*GET, (long.lower(), b"v")])
    assert again.headers == [(long.lower(), b"v")]


def test_an_answer_of_grpc_that_is_trailers_only_gains_no_length():
    block = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-status", b"5")]
    read = read_response(list(block), RESPONSE_LIMITS, b"POST", end=True)
    assert response_fields(read, secret) == block
    empty = read_response([(b":status", b"200")], RESPONSE_LIMITS, b"GET", end=True)
    assert (b"content-length", b"0") in response_fields(empty, secret)  # of what is not gRPC it is as true as ever
