"""gRPC's words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.head import RequestHead, ResponseHead
from meshd.http.grpc import (
    FOREIGN_STATUS,
    HTTP_STATUS,
    OWN_STATUS,
    begin_rpc,
    failure,
    format_timeout,
    frame,
    http_status,
    is_grpc,
    outcome_of,
    parse_timeout,
    percent_decode,
    percent_encode,
    rewrite_timeout,
    status_of,
    trailers_only,
    unframe,
)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"3S", 3.0),
        (b"1500m", 1.5),
        (b"250u", 0.00025),
        (b"7n", 7e-9),
        (b"99999999H", 99999999 * 3600.0),
        (b"0S", 0.0),
        (b"", None),
        (b"S", None),
        (b"123456789S", None),
        (b"-1S", None),
        (b"1s", None),
        (b"1 S", None),
        (b"1S\n", None),
        (b"1.5S", None),
    ],
)
def test_timeouts_as_the_protocol_writes_them(value, seconds):
    assert parse_timeout(value) == seconds


@given(st.floats(0, 1e11))
def test_a_written_timeout_is_never_longer_and_hardly_shorter(seconds):
    value = format_timeout(seconds)
    read = parse_timeout(value)
    assert read is not None
    assert read <= seconds * (1 + 1e-12)
    assert read >= seconds * (1 - 1e-5) - 1e-9


def test_a_timeout_beyond_all_digits_and_one_that_is_over():
    assert format_timeout(1e15) == b"99999999H"
    assert format_timeout(-3.0) == b"0n"


@given(st.binary(max_size=60))
def test_a_message_survives_its_encoding(message):
    encoded = percent_encode(message)
    assert percent_decode(encoded) == message
    assert all(0x20 <= octet < 0x7F for octet in encoded)


def test_what_is_no_escape_is_left_alone():
    assert percent_decode(b"100% %zz %4") == b"100% %zz %4"
    assert percent_encode(b"50% of ") == b"50%25 of "


@pytest.mark.parametrize(
    ("content_type", "speaks"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc;charset=utf-8", True),
        (b"application/grpc-web", False),
        (b"application/json", False),
        (b"", False),
        (None, False),
    ],
)
def test_who_speaks_grpc(content_type, speaks):
    assert is_grpc(content_type) == speaks


def test_a_reply_without_a_body_has_its_status_in_the_head():
    head = trailers_only(14, b"no \xc3\xa9ndpoint", [(b"proxy-status", b"a")])
    assert (head.status, head.length) == (200, 0)
    assert head.headers == [
        (b"proxy-status", b"a"),
        (b"content-type", b"application/grpc"),
        (b"grpc-status", b"14"),
        (b"grpc-message", b"no %C3%A9ndpoint"),
    ]
    assert len(trailers_only(0, b"", []).headers) == 2


@pytest.mark.parametrize(
    ("value", "status"), [(b"0", 0), (b"16", 16), (b"17", 2), (b"", 2), (b"x", 2), (b"007", 2), (None, None)]
)
def test_a_status_field(value, status):
    assert status_of(value) == status


@pytest.mark.parametrize(
    ("table", "status", "grpc"),
    [
        (FOREIGN_STATUS, 400, 13),
        (FOREIGN_STATUS, 404, 12),
        (FOREIGN_STATUS, 429, 14),
        (OWN_STATUS, 404, 12),
        (OWN_STATUS, 429, 8),
        (OWN_STATUS, 504, 4),
    ],
)
def test_what_a_proxy_knows_and_what_it_can_only_guess(table, status, grpc):
    assert table[status] == grpc


@given(st.integers(-5, 40))
def test_every_status_has_an_http_status(status):
    assert http_status(status) == (HTTP_STATUS[status] if 0 <= status <= 16 else 500)


@pytest.mark.parametrize(("value", "deadline"), [(b"2S", 12.0), (None, float("inf")), (b"soon", float("inf"))])
def test_a_call_has_the_deadline_that_its_client_set(value, deadline):
    fields = [(b"grpc-timeout", value)] if value is not None else []
    assert begin_rpc(RequestHead(b"POST", b"/a.B/C", b"a.test", fields), 10.0).deadline == deadline


@given(st.floats(-10, 1e6))
def test_the_next_server_hears_how_much_time_is_left(left):
    head = RequestHead(b"POST", b"/a.B/C", b"a.test", [(b"te", b"trailers"), (b"grpc-timeout", b"9S"), (b"x", b"y")])
    assert head.get(b"grpc-timeout") == b"9S"
    rewrite_timeout(head, left)
    assert 0 < parse_timeout(head.get(b"grpc-timeout")) <= max(left, 1e-9) * (1 + 1e-12)
    assert [name for name, _ in head.headers] == [b"te", b"grpc-timeout", b"x"]


@pytest.mark.parametrize(
    ("status", "fields", "outcome"),
    [
        (200, [], None),
        (200, [(b"grpc-status", b"0")], 0),
        (200, [(b"grpc-status", b"x")], 2),
        (503, [], 14),
        (418, [], 2),
        (503, [(b"grpc-status", b"5")], 5),
    ],
)
def test_what_a_response_head_says_of_the_outcome(status, fields, outcome):
    assert outcome_of(ResponseHead(status, fields)) == outcome


def test_a_failure_under_way_is_told_in_trailers():
    assert failure(504, "100 % late") == (4, [(b"grpc-status", b"4"), (b"grpc-message", b"100 %25 late")])
    assert failure(418, "")[0] == 2


@given(st.binary(max_size=20))
def test_a_body_of_one_message(message):
    body = frame(message)
    assert unframe(body) == message
    assert [unframe(each) for each in (body[:-1], body + b"x", b"\1" + body[1:], body + body)] == [None] * 4
