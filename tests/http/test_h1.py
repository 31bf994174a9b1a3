"""The two codecs: what they read is what h11 reads, however the octets come; what they write, h11 reads back."""

import base64
from dataclasses import replace

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.http1 import (
    FIELDS,
    REFUSED,
    asked,
    collect,
    h11_request,
    h11_response,
    mutated,
    one_request,
    one_response,
    pieces,
    requests,
    responses,
)
from support.shared import cases

from meshd.core.errors import ProtocolError
from meshd.core.head import RequestHead, ResponseHead
from meshd.http.events import End
from meshd.http.framing import CONNECTION_FIELDS, NOT_IN_TRAILERS
from meshd.http.h1 import MAX_INTERIM, ClientCodec, ServerCodec
from meshd.http.limits import REQUEST_LIMITS, RESPONSE_LIMITS

cuts = st.lists(st.integers(0, 4000), max_size=6)
garbage = st.binary(max_size=80) | st.lists(
    st.sampled_from(
        [b"GET / HTTP/1.1\r\n", b"Host: a\r\n", b"\r\n", b"0\r\n", b"5\r\n", b"HTTP/1.1 200 OK\r\n", b"x: y"]
    )
).map(b"".join)
any_requests = requests() | mutated(requests()) | garbage
any_responses = responses() | mutated(responses()) | garbage
methods = st.sampled_from([b"GET", b"HEAD", b"CONNECT", b"POST"])
ROWS = cases("shared_h1_requests.jsonl") + cases("either_h1_requests.jsonl")
RESPONSE_ROWS = cases("shared_h1_responses.jsonl") + cases("either_h1_responses.jsonl")


def raw(row):
    if "raw_gen" not in row:
        return base64.b64decode(row["raw_b64"])
    parts = row["raw_gen"]
    prefix, repeat, suffix = (base64.b64decode(parts[f"{key}_b64"]) for key in ("prefix", "repeat", "suffix"))
    return prefix + repeat * parts["count"] + suffix


def lowered(fields, without=frozenset()):
    return [(name.lower(), value) for name, value in fields if name.lower() not in without]


def nominated(head):
    """What the Connection fields of an h11 head name, which we take out."""
    values = [value for name, value in head.headers if name == b"connection"]
    return {each.strip().lower() for value in values for each in value.split(b",")}


def agrees_with_h11_on_a_request(data):
    ours = one_request(data)
    if ours is None:
        return False
    head, body, trailers, goes_on, left = ours
    plain = data.removeprefix(b"\r\n")  # the empty line that we forgive and h11 does not
    heads, their_body, their_trailers, their_goes_on, their_left = h11_request(plain)
    (theirs,) = heads
    assert theirs.method == head.method
    assert theirs.http_version == head.protocol.removeprefix(b"http/")
    gone = CONNECTION_FIELDS | nominated(theirs)
    assert lowered(theirs.headers, gone) == [field for field in head.headers if field[0] not in gone]
    assert their_body == body
    assert lowered(their_trailers, NOT_IN_TRAILERS) == trailers
    assert their_left == left
    wants = head.protocol == b"http/1.0" and b"keep-alive" in nominated(theirs) and b"close" not in nominated(theirs)
    if their_goes_on is not None:
        assert (their_goes_on or wants) == goes_on  # h11 lets no HTTP/1.0 connection go on
    return True


@given(requests() | st.tuples(requests(), requests()).map(b"".join))
def test_a_valid_request_is_read_as_h11_reads_it(data):
    assert agrees_with_h11_on_a_request(data)


@given(mutated(requests()))
def test_what_we_accept_of_damaged_requests_h11_accepts_and_reads_alike(data):
    agrees_with_h11_on_a_request(data)


@pytest.mark.parametrize("row", [row for row in ROWS if "raw_gen" not in row], ids=lambda row: row["id"])
def test_what_we_accept_of_the_cases_h11_does_not_read_otherwise(row):
    try:
        agrees_with_h11_on_a_request(raw(row))
    except h11.RemoteProtocolError as error:
        assert row["expect"] != "reject", error  # noqa: PT017  # stricter than the standard, it may be


def agrees_with_h11_on_a_response(data, method, *, eof, upgrade=None):
    ours = one_response(data, method, eof=eof, upgrade=upgrade)
    if ours is None:
        return False
    heads, body, trailers, goes_on, left = ours
    theirs, their_body, their_trailers, their_goes_on, their_left = h11_response(data, method, eof=eof, upgrade=upgrade)
    assert [each.status_code for each in theirs] == [each.status for each in heads]
    for their, our in zip(theirs, heads, strict=True):
        gone = CONNECTION_FIELDS | nominated(their)
        assert lowered(their.headers, gone) == [field for field in our.headers if field[0] not in gone]
    assert their_body == body
    if trailers is not None:
        assert lowered(their_trailers, NOT_IN_TRAILERS) == trailers
    if their_goes_on is not None:
        last = theirs[-1]
        wants = last.http_version == b"1.0" and b"keep-alive" in nominated(last) and b"close" not in nominated(last)
        assert goes_on <= bool(their_goes_on or wants)
    assert their_left == left
    return True


@given(responses(), methods)
def test_a_valid_response_is_read_as_h11_reads_it(data, method):
    assert agrees_with_h11_on_a_response(data, method, eof=True)


@given(mutated(responses()), methods, st.booleans())
def test_what_we_accept_of_damaged_responses_h11_accepts_and_reads_alike(data, method, eof):
    agrees_with_h11_on_a_response(data, method, eof=eof)


@pytest.mark.parametrize("row", RESPONSE_ROWS, ids=lambda row: row["id"])
def test_what_we_accept_of_the_response_cases_h11_does_not_read_otherwise(row):
    method = {"POST1M": b"POST", "UPGRADE": b"GET"}.get(row["request_method"], row["request_method"].encode())
    upgrade = b"websocket" if row["request_method"] == "UPGRADE" else None
    try:
        agrees_with_h11_on_a_response(raw(row), method, eof=bool(row.get("upstream_closes")), upgrade=upgrade)
    except h11.RemoteProtocolError as error:
        assert row["expect"] != "reject", error  # noqa: PT017


# -- Split invariance ------------------------------------------------------------------------------------------


@given(st.lists(any_requests, min_size=1, max_size=3).map(b"".join), cuts, st.booleans())
@example(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", list(range(40)), False)
@example(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", list(range(40)), False)
def test_requests_are_the_same_however_they_are_cut(data, places, eof):
    whole = collect(ServerCodec(), [data], eof=eof, cycle=True)
    assert collect(ServerCodec(), pieces(data, places), eof=eof, cycle=True) == whole
    assert collect(ServerCodec(), pieces(data, range(len(data))), eof=eof, cycle=True) == whole


@given(any_responses, methods, cuts, st.booleans())
def test_responses_are_the_same_however_they_are_cut(data, method, places, eof):
    whole = collect(asked(method), [data], eof=eof)
    assert collect(asked(method), pieces(data, places), eof=eof) == whole
    assert collect(asked(method), pieces(data, range(len(data))), eof=eof) == whole


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_every_case_octet_by_octet(row):
    data = raw(row)
    step = 1 if len(data) <= 4000 else 1009
    parts = [data[at : at + step] for at in range(0, len(data), step)]
    assert collect(ServerCodec(), parts, cycle=True) == collect(ServerCodec(), [data], cycle=True)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row["expect"] in ("reject", "accept")], ids=lambda row: row["id"]
)
def test_every_case_has_its_verdict(row):
    found = collect(ServerCodec(), [raw(row)], cycle=True)
    complete = sum(1 for each in found if each[0] == "end")
    if row["expect"] == "accept":
        assert found[-1] != REFUSED
        assert complete == len(row.get("forward") or [1])
    elif not row.get("incomplete"):
        assert complete <= len(row.get("allowed_before") or []) or row["level"] != "MUST"


# -- Limits ----------------------------------------------------------------------------------------------------


def request_of(line=0, head=0, fields=1):
    """A request with a start line or head of this many octets, or this many fields."""
    path = b"/" + b"a" * max(0, line - len(b"GET / HTTP/1.1"))
    extra = b"".join(b"x: %d\r\n" % number for number in range(fields - 1))
    start = b"GET %b HTTP/1.1\r\nHost: a\r\n%b" % (path, extra)
    if head:
        start += b"y: " + b"z" * (head - len(start) - 3) + b"\r\n"
    return start + b"\r\n"


def whole_and_octets(data):
    return [data], [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize(
    "given",
    [{"line": REQUEST_LIMITS.line}, {"head": REQUEST_LIMITS.head}, {"fields": REQUEST_LIMITS.fields}],
    ids=str,
)
def test_a_request_of_exactly_the_limit_was_refused_in_pieces(given):
    (name, limit), *_ = given.items()
    data = request_of(**given)
    for parts in ([data], [data[:-4], *whole_and_octets(data[-4:])[1]], pieces(data, range(limit - 9, limit + 9))):
        assert len(collect(ServerCodec(), parts)) == 2
        assert collect(ServerCodec(), parts)[0][0] == "head"
    above = request_of(**{name: limit + 1})
    assert collect(ServerCodec(), [above]) == [REFUSED]
    assert collect(ServerCodec(), pieces(above, range(limit - 9, limit + 9))) == [REFUSED]


@pytest.mark.parametrize(("given", "status"), [("line", 414), ("head", 431), ("fields", 431)])
def test_each_limit_has_its_status(given, status):
    codec = ServerCodec()
    codec.receive(request_of(**{given: getattr(REQUEST_LIMITS, given) + 1}))
    with pytest.raises(ProtocolError) as caught:
        codec.next_event()
    assert caught.value.status == status
    assert codec.must_close


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\nx: "])
def test_a_response_head_without_end_is_refused_at_the_limit(first):
    codec = asked(b"GET")
    codec.receive(first)
    fed = 0
    with pytest.raises(ProtocolError):  # noqa: PT012
        while fed <= RESPONSE_LIMITS.head + 1000:
            codec.receive(b"a" * 500)
            fed += 500
            codec.next_event()
    assert fed <= RESPONSE_LIMITS.head + 1000


def test_a_long_status_line_was_accepted_when_it_came_in_one_piece():
    data = b"HTTP/1.1 200 %b\r\n\r\n" % (b"a" * RESPONSE_LIMITS.line)
    assert collect(asked(b"GET"), [data]) == collect(asked(b"GET"), pieces(data, range(8180, 8220))) == [REFUSED]


@given(st.lists(any_requests, max_size=8))
def test_a_codec_keeps_no_more_than_the_limit_and_what_came_last(messages):
    codec = ServerCodec()
    most = max(map(len, messages), default=0)
    try:
        for each in messages:
            codec.receive(each)
            while (event := codec.next_event()) is not None:
                if isinstance(event, End):
                    codec.next_cycle()
            assert len(codec._reader.buffer) <= REQUEST_LIMITS.head + 3 + most
    except ProtocolError:
        assert codec.must_close


def test_interim_responses_have_an_end():
    codec = asked(b"GET")
    codec.receive(b"HTTP/1.1 103 x\r\n\r\n" * (MAX_INTERIM + 1))
    for _ in range(MAX_INTERIM):
        assert codec.next_event().status == 103
    with pytest.raises(ProtocolError, match="interim"):
        codec.next_event()


@pytest.mark.parametrize(("field", "goes_on"), [(b"", False), (b"Connection: keep-alive\r\n", True)])
def test_an_old_client_that_named_only_its_host_was_kept_waiting_for_the_end(field, goes_on):
    codec = server_after(b"GET / HTTP/1.0\r\nHost: a\r\n%b\r\n" % field)
    assert codec.must_close is not goes_on
    assert (b"connection: close" in codec.send_head(ResponseHead(200), b"x", end=True)) is not goes_on


# -- What is written -------------------------------------------------------------------------------------------


def request_head(method, fields, length):
    head = RequestHead(method, b"/a", b"a.test", lowered(fields))
    head.length = length
    return head


@given(st.sampled_from([b"GET", b"POST", b"DELETE"]), FIELDS, st.lists(st.binary(max_size=30), max_size=4), FIELDS)
@pytest.mark.parametrize("way", ["whole", "length", "chunked"])
def test_a_request_written_is_read_back(way, method, fields, body, trailers):
    codec = ClientCodec()
    whole = b"".join(body)
    trailers = lowered(trailers, NOT_IN_TRAILERS)
    if way == "whole":
        data = codec.send_request(request_head(method, fields, len(whole)), whole, end=True)
        trailers = []
    elif way == "length":
        data = codec.send_request(request_head(method, fields, len(whole)), end=False)
        data += b"".join(codec.send_data(piece) for piece in body) + codec.send_end([])
        trailers = []
    else:
        data = codec.send_request(request_head(method, fields, None), b"", end=False)
        data += b"".join(codec.send_data(piece) for piece in body) + codec.send_end(trailers)
    head, got, got_trailers, goes_on, left = one_request(data)
    assert (head.method, head.target, head.authority) == (method, b"/a", b"a.test")
    assert (head.headers, got, got_trailers, goes_on, left) == (lowered(fields), whole, trailers, True, b"")
    assert agrees_with_h11_on_a_request(data)


def server_after(request):
    codec = ServerCodec()
    codec.receive(request)
    while (event := codec.next_event()) is not None and not isinstance(event, End):
        pass
    return codec


@given(
    st.sampled_from([b"GET", b"HEAD", b"POST"]),
    st.sampled_from([b"1.1", b"1.0"]),
    st.sampled_from([200, 204, 304, 500]),
    FIELDS,
    st.lists(st.binary(max_size=30), max_size=3),
    st.sampled_from(["whole", "length", "unknown"]),
)
def test_a_response_written_is_read_back(method, version, status, fields, body, way):
    codec = server_after(b"%b / HTTP/%b\r\nHost: a\r\n\r\n" % (method, version))
    whole = b"".join(body)
    bodiless = method == b"HEAD" or status in (204, 304)
    head = ResponseHead(status, lowered(fields), None if way == "unknown" else len(whole))
    data = codec.send_head(head, whole if way == "whole" else b"", end=way == "whole")
    if way != "whole" and not bodiless:
        data += b"".join(codec.send_data(piece) for piece in body) + codec.send_end([])
    heads, got, trailers, goes_on, left = one_response(data, method, eof=codec.must_close)
    assert [each.status for each in heads] == [status]
    assert heads[0].headers == lowered(fields)
    assert (got, trailers, left) == (b"" if bodiless else whole, [], b"")
    assert goes_on is (not codec.must_close)
    if status == 200 and way == "unknown" and version == b"1.0" and method != b"HEAD":
        assert codec.must_close
    assert agrees_with_h11_on_a_response(data, method, eof=codec.must_close)


def test_a_client_of_http_1_0_gets_no_interim_response():
    old, new = server_after(b"GET / HTTP/1.0\r\n\r\n"), server_after(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert old.send_interim(103, []) == b""
    assert new.send_interim(103, [(b"link", b"x")]) == b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"


@pytest.mark.parametrize("offer", [b"websocket", b"TLS/1.2", b"h2c"])
@pytest.mark.parametrize("early", [b"", b"x"], ids=["waits", "does not wait"])
def test_an_upgrade_that_is_answered_otherwise_leaves_the_connection_as_it_is(offer, early):
    """Unless the client went on without waiting for 101 to something that might have been granted."""
    request = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: %b\r\nConnection: upgrade\r\n\r\n" % offer
    server = server_after(request + early)
    ends = bool(early) and offer == b"websocket"
    assert server.asked_upgrade
    assert (b"connection: close" in server.send_head(ResponseHead(200), b"ok", end=True)) is ends
    assert server.must_close is ends


def test_an_upgrade_switches_and_leaves_what_came_behind():
    server = server_after(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nearly")
    answer = ResponseHead(101)
    answer.upgrade = b"websocket"
    client = asked(b"GET", upgrade=b"websocket")
    client.receive(server.send_head(answer, end=False) + b"first")
    assert client.next_event().upgrade == b"websocket"
    assert client.next_event() is None
    assert (client.leftover(), server.leftover()) == (b"first", b"early")
    assert not client.reusable


def test_a_switch_that_nobody_asked_for_is_refused():
    client = asked(b"GET")
    client.receive(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
    with pytest.raises(ProtocolError, match="asked for no upgrade"):
        client.next_event()


def test_connect_with_a_body_is_refused():
    codec = ServerCodec()
    codec.receive(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 3\r\n\r\nabc")
    with pytest.raises(ProtocolError, match="CONNECT with a body"):
        codec.next_event()


@pytest.mark.parametrize(
    ("data", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na", True),
        (b"HTTP/1.1 200 OK\r\n\r\na", False),
        (b"HTTP/1.1 204 x\r\n\r\n", True),
        (b"HTTP/1.1 100 x\r\n\r\n", False),
    ],
)
def test_a_connection_is_reusable_after_a_whole_message_and_nothing_more(data, reusable):
    codec = asked(b"GET")
    assert not codec.reusable
    assert collect(codec, [data])[-1] != REFUSED
    assert codec.reusable is reusable


def test_a_connection_is_not_reusable_before_the_request_is_out():
    codec = ClientCodec()
    codec.send_request(request_head(b"POST", [], 3), end=False)
    collect(codec, [b"HTTP/1.1 413 x\r\nContent-Length: 0\r\n\r\n"])
    assert not codec.reusable
    codec.send_data(b"abc")
    codec.send_end([])
    assert codec.reusable


def test_codecs_tell_where_they_stand():
    assert repr(ServerCodec()) == "<ServerCodec head>"
    assert repr(server_after(b"GET / HTTP/1.0\r\n\r\n")) == "<ServerCodec done closing>"
    assert repr(asked(b"GET")) == "<ClientCodec head>"


def test_how_a_client_of_http_2_begins_is_told_before_anything_else():
    codec = ServerCodec()
    codec.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert codec.speaks_http2
    late = server_after(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    late.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert not late.speaks_http2


def test_a_tunnel_that_was_granted_has_no_length():
    codec = ServerCodec()
    codec.receive(b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n")
    codec.next_event()
    assert codec.send_head(ResponseHead(200, [(b"x-a", b"b")]), end=False) == b"HTTP/1.1 200 OK\r\nx-a: b\r\n\r\n"


def test_a_request_that_ends_with_its_first_octets_says_how_many_they_are():
    head = RequestHead(b"POST", b"/", b"a")
    head.length = None
    octets = ClientCodec().send_request(head, b"abc", end=True)
    assert b"content-length: 3\r\n" in octets
    assert octets.endswith(b"\r\n\r\nabc")


def test_an_expectation_goes_on_with_a_body_that_is_still_to_come():
    head = RequestHead(b"POST", b"/", b"a")
    head.length, head.expect_continue = 3, True
    assert b"expect: 100-continue\r\n" in ClientCodec().send_request(head, end=False)
    assert b"expect" not in ClientCodec().send_request(head, b"abc", end=True)


def test_a_response_head_above_the_limit_is_refused_though_it_ends():
    codec = ClientCodec(replace(RESPONSE_LIMITS, head=1000))
    codec.send_request(RequestHead(b"GET", b"/", b"a"), end=True)
    codec.receive(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1000 + b"\r\n\r\n")
    with pytest.raises(ProtocolError, match="too large"):
        codec.next_event()


def test_a_connection_that_ends_within_a_request_head_is_told_from_one_that_ends():
    codec = ServerCodec()
    codec.receive(b"GET / HT")
    assert codec.next_event() is None
    codec.receive(b"")
    with pytest.raises(ProtocolError, match="within a request head"):
        codec.next_event()


def test_what_a_client_of_http_1_0_cannot_be_told_the_length_of_ends_with_the_connection():
    codec = server_after(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert not codec.must_close
    assert codec.send_head(ResponseHead(200), end=False).endswith(b"connection: close\r\n\r\n")
    assert codec.must_close


def read_all(codec):
    while codec.next_event() is not None:
        pass


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * RESPONSE_LIMITS.head + b"\r\n\r\n", "http_response_header_section_size"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * RESPONSE_LIMITS.head + b"aaaa", "http_response_header_section_size"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 101 + b"\r\n", "http_response_header_section_size"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", "http_response_transfer_coding"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "http_response_transfer_coding"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: " + b"a" * 70_000 + b"\r\n\r\n",
            "http_response_trailer_section_size",
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "http_response_incomplete"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", "http_response_incomplete"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", ""),
    ],
)
def test_what_is_wrong_with_a_response_is_named_by_its_type(octets, kind):
    codec = ClientCodec()
    codec.send_request(RequestHead(b"GET", b"a", b"/"), b"", end=True)
    codec.receive(octets)
    codec.receive(b"")
    with pytest.raises(ProtocolError) as caught:
        read_all(codec)
    assert (caught.value.status, caught.value.proxy_error) == (502, kind)
