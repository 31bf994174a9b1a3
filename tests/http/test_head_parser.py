"""Heads: which fields are for us, which go on, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.http1 import TOKENS

from meshd.core.errors import ProtocolError
from meshd.http.framing import CONNECTION_FIELDS
from meshd.http.head_parser import Names, check_request_line, parse_request, parse_response
from meshd.http.limits import RESPONSE_LIMITS, Limits

LIMITS = Limits()


def request(*lines, first=b"GET /a?b HTTP/1.1", host=b"Host: a.test"):
    fields = [first, *([host] if host else []), *lines, b"", b""]
    return parse_request(b"\r\n".join(fields), LIMITS)[0]


def response(*lines, first=b"HTTP/1.1 200 OK", method=b"GET"):
    return parse_response(b"\r\n".join([first, *lines, b"", b""]), LIMITS, method)[0]


def test_a_plain_request():
    head = request(b"Accept: */*", b"X-One: 1", b"x-one: 2")
    assert (head.method, head.path, head.query, head.authority) == (b"GET", b"/a", b"b", b"a.test")
    assert head.headers == [(b"accept", b"*/*"), (b"x-one", b"1"), (b"x-one", b"2")]
    assert (head.length, head.keep_alive, head.protocol, head.upgrade) == (0, True, b"http/1.1", None)


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (b"GET /", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b" GET / HTTP/1.1", 400),
        (b"GET\t/ HTTP/1.1", 400),
        (b"GET / http/1.1", 400),
        (b"GET / HTTP/1.10", 400),
        (b"G(T / HTTP/1.1", 400),
        (b"", 400),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/1.2", 505),
        (b"GET / HTTP/0.9", 505),
        (b"GET /" + b"a" * LIMITS.line + b" HTTP/1.1", 414),
    ],
)
def test_a_first_line_that_is_none(first, status):
    with pytest.raises(ProtocolError) as caught:
        request(first=first)
    assert caught.value.status == status


def test_a_bad_first_line_is_refused_before_the_rest_is_here():
    check_request_line(b"GET / HT")
    check_request_line(b"GET / HTTP/1.1\r\nHos")
    with pytest.raises(ProtocolError):
        check_request_line(b"GET /\r\nHos")


@pytest.mark.parametrize(
    "hosts", [[], [b"Host: a", b"host: a"], [b"Host: a", b"Host: b"], [b"Host: a b"], [b"Host: u@a"]]
)
def test_exactly_one_valid_host(hosts):
    with pytest.raises(ProtocolError):
        request(*hosts, host=b"")


def test_an_old_request_needs_no_host_and_does_not_go_on_by_itself():
    head = request(first=b"GET / HTTP/1.0", host=b"")
    assert (head.authority, head.keep_alive, head.length) == (b"", False, 0)
    assert not request(first=b"GET / HTTP/1.0").keep_alive
    assert request(b"Connection: Keep-Alive", first=b"GET / HTTP/1.0").keep_alive


def test_a_host_that_the_target_overrules_is_to_be_valid_still():
    assert request(first=b"GET http://b.test/ HTTP/1.1").authority == b"b.test"
    with pytest.raises(ProtocolError):
        request(first=b"GET http://b.test/ HTTP/1.1", host=b"Host: a b")


@given(st.sampled_from(sorted(CONNECTION_FIELDS - {b"host", b"content-length", b"transfer-encoding", b"expect"})))
def test_fields_of_the_connection_do_not_go_on(name):
    head = request(name.title() + b": x", b"ok: 1")
    assert head.headers == [(b"ok", b"1")]


def test_fields_that_connection_names_do_not_go_on():
    head = request(b"Connection: close, X-Hop", b"Connection: x-two", b"X-HOP: 1", b"x-two: 2", b"x-three: 3")
    assert head.headers == [(b"x-three", b"3")]
    assert not head.keep_alive


def test_connection_cannot_take_away_who_calls():
    head = request(b"Connection: x-forwarded-for, authorization", b"X-Forwarded-For: 1", b"Authorization: b")
    assert head.headers == [(b"x-forwarded-for", b"1"), (b"authorization", b"b")]


def test_only_te_trailers_goes_on():
    assert (b"te", b"trailers") in request(b"TE: gzip, trailers", b"Connection: te").headers
    assert request(b"TE: gzip", b"Connection: te").headers == []


@pytest.mark.parametrize(
    ("lines", "expects"),
    [
        ([b"Content-Length: 5"], True),
        ([b"Transfer-Encoding: chunked"], True),
        ([b"Content-Length: 0"], False),
        ([], False),
    ],
)
def test_a_client_waits_for_100_when_it_has_a_body(lines, expects):
    assert request(*lines, b"Expect: 100-Continue").expect_continue is expects
    assert not request(b"Expect: 100-continue", b"Content-Length: 5", first=b"POST / HTTP/1.0").expect_continue


def test_other_expectations_are_refused():
    with pytest.raises(ProtocolError) as caught:
        request(b"Expect: a-miracle")
    assert caught.value.status == 417


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([b"Upgrade: websocket", b"Connection: Upgrade"], b"websocket"),
        ([b"Upgrade: websocket", b"Connection: keep-alive, Upgrade"], b"websocket"),
        ([b"Upgrade: websocket"], None),
        ([b"Upgrade: h2c", b"Connection: upgrade, http2-settings", b"HTTP2-Settings: x"], None),
        ([b"Upgrade: websocket", b"Connection: Upgrade", b"Content-Length: 3"], None),
    ],
)
def test_an_upgrade_is_asked_for_twice_and_without_a_body(lines, wanted):
    assert request(*lines).upgrade == wanted


@pytest.mark.parametrize("offer", [b"websocket", b"h2c", b"TLS/1.2", b"HTTP/2.0"])
def test_an_upgrade_with_a_body_is_ignored_and_costs_nothing(offer):
    head = request(b"Upgrade: " + offer, b"Connection: Upgrade", b"Content-Length: 3")
    assert (head.upgrade, head.keep_alive, head.length) == (None, True, 3)


@pytest.mark.parametrize(
    ("offers", "wanted"),
    [
        ([b"TLS/1.2"], None),  # Apache HttpClient 5 asks for it with every request
        ([b"tls/1.3, TLS/1.2"], None),
        ([b"HTTP/2.0"], None),
        ([b"h2"], None),
        ([b"h2c", b"TLS/1.0"], None),
        ([b"TLS/1.2, websocket"], b"websocket"),
        ([b"websocket", b"h2c"], b"websocket"),
        ([b"spdy/3.1"], b"spdy/3.1"),  # kubectl exec
        ([b"tcp"], b"tcp"),  # docker attach
        ([b"h2x, tlsfoo"], b"h2x, tlsfoo"),
        ([b","], None),
    ],
)
def test_protocols_of_the_connection_are_not_asked_for_behind_us(offers, wanted):
    lines = [b"Upgrade: " + offer for offer in offers]
    head = request(*lines, b"Connection: keep-alive, Upgrade")
    assert (head.upgrade, head.keep_alive) == (wanted, True)


def test_a_plain_response():
    head = response(b"Content-Length: 3", b"Set-Cookie: a", b"SET-COOKIE: b", first=b"HTTP/1.1 200")
    assert (head.status, head.length, head.bodiless, head.keep_alive) == (200, 3, False, True)
    assert head.headers == [(b"set-cookie", b"a"), (b"set-cookie", b"b")]


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 20",
        b"HTTP/1.1 099 x",
        b"HTTP/1.1  200 OK",
        b"HTTP/2.0 200 OK",
        b"http/1.1 200 OK",
        b"HTTP/1.1 200OK",
        b"",
    ],
)
def test_a_status_line_that_is_none(first):
    with pytest.raises(ProtocolError) as caught:
        response(first=first)
    assert caught.value.status == 502


@pytest.mark.parametrize(
    ("first", "method", "bodiless"),
    [
        (b"HTTP/1.1 204 x", b"GET", True),
        (b"HTTP/1.1 304 x", b"GET", True),
        (b"HTTP/1.1 100 x", b"GET", True),
        (b"HTTP/1.1 200 x", b"HEAD", True),
        (b"HTTP/1.1 205 x", b"GET", False),
        (b"HTTP/1.1 200 x", b"GET", False),
    ],
)
def test_which_responses_have_no_body(first, method, bodiless):
    head = response(b"Content-Length: 3", first=first, method=method)
    assert (head.bodiless, head.length) == (bodiless, 3)


@pytest.mark.parametrize("status", [b"204", b"103"])
def test_a_coding_of_no_body_is_refused(status):
    with pytest.raises(ProtocolError, match="without a body"):
        response(b"Transfer-Encoding: chunked", first=b"HTTP/1.1 %b x" % status)


def test_a_switch_says_to_what():
    assert response(b"Upgrade: ws", b"Connection: upgrade", first=b"HTTP/1.1 101 x").upgrade == b"ws"
    for lines in ([b"Upgrade: ws"], [b"Connection: upgrade"]):
        with pytest.raises(ProtocolError):
            response(*lines, first=b"HTTP/1.1 101 x")


@pytest.mark.parametrize(
    "lines", [[b"Content-Length: 3", b"Content-Length: 3"], [b"Transfer-Encoding: gzip"], [b"a b: c"]]
)
def test_every_fault_of_a_response_is_a_bad_gateway(lines):
    with pytest.raises(ProtocolError) as caught:
        response(*lines)
    assert caught.value.status == 502


@given(st.binary(max_size=60))
def test_any_block_is_a_head_or_refused(block):
    for parse in (lambda: parse_request(block, LIMITS), lambda: parse_response(block, LIMITS, b"GET")):
        try:
            parse()
        except ProtocolError:
            continue


@given(st.lists(TOKENS, max_size=20))
def test_names_are_the_same_the_second_time(written):
    names = Names()
    fields = [(name, b"%d" % number) for number, name in enumerate(written)]
    first = names.split(fields)
    assert names.split(fields) == first
    headers, special = first
    assert headers == [(name.lower(), value) for name, value in fields if name.lower() not in CONNECTION_FIELDS]
    assert set(special) == {name.lower() for name in written} & CONNECTION_FIELDS


def test_long_names_were_remembered_without_bound():
    names = Names()
    for number in range(3000):
        names.split([(b"%d" % number, b""), (b"%d" % number + b"a" * 1000, b"")])
    assert len(names._known) == 1024
    assert max(map(len, names._known)) <= 64


def test_a_response_has_so_many_fields_and_no_more():
    fields = b"a: b\r\n" * RESPONSE_LIMITS.fields
    parse_response(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n", RESPONSE_LIMITS, b"GET")
    with pytest.raises(ProtocolError, match="more than") as caught:
        parse_response(b"HTTP/1.1 200 OK\r\n" + fields + b"a: b\r\n\r\n", RESPONSE_LIMITS, b"GET")
    assert caught.value.status == 502
