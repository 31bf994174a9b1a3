"""The chunked coding: what was put in comes out, and nothing that is not the coding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.http1 import FIELDS, chunked, pieces

from meshd.core.errors import ProtocolError
from meshd.http.chunked import MAX_EXTENSIONS, MAX_LINE, MAX_TRAILER_FIELDS, MAX_TRAILERS, ChunkedBody
from meshd.http.events import End


def decode(parts):
    """Body, trailers (None before the end) and what is left over."""
    coding, buffer, body = ChunkedBody(), b"", b""
    for part in parts:
        buffer += part
        while True:
            piece, buffer = coding.take(buffer)
            if piece is None:
                break
            if isinstance(piece, End):
                return body, piece.trailers, buffer
            body += piece
    return body, None, buffer


@given(st.binary(max_size=200), st.lists(st.integers(1, 50)), FIELDS, st.lists(st.integers(0, 600), max_size=9))
def test_what_was_put_in_comes_out_however_it_is_cut(body, sizes, trailers, cuts):
    data = chunked(body, sizes, trailers)
    wanted = (body, [(name.lower(), value) for name, value in trailers], b"")
    assert decode([data]) == decode(pieces(data, cuts)) == decode(pieces(data, range(len(data)))) == wanted


@given(st.binary(max_size=40))
def test_what_comes_behind_the_end_is_left(rest):
    assert decode([b"1\r\na\r\n0\r\n\r\n" + rest]) == (b"a", [], rest)


@given(
    st.lists(st.sampled_from([b"0", b"1", b"f", b"a", b";", b"\r\n", b"\r", b"\n", b" ", b"x=y", b'"', b":", b"\0"]))
)
def test_anything_else_is_refused_and_refused_in_pieces_too(parts):
    data = b"".join(parts)

    def verdict(cut):
        try:
            return decode(cut)
        except ProtocolError:
            return None

    whole, octets = verdict([data]), verdict(pieces(data, range(len(data))))
    if whole is None or whole[1] is None or octets is None or octets[1] is None:
        assert (whole is None) == (octets is None)
    else:
        assert whole[:2] == octets[:2]


@pytest.mark.parametrize(
    "line", [b"5", b"005", b"5;a", b"5;a=b", b"5 ; a = b", b'5;a="b;\\"c"', b"5;a;b", b"0" * 15 + b"5"]
)
def test_a_size_with_extensions(line):
    assert decode([line + b"\r\nhello\r\n0\r\n\r\n"])[:2] == (b"hello", [])


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"g",
        b"0x5",
        b"-5",
        b"+5",
        b"5 ",
        b" 5",
        b"5;",
        b"5;a=",
        b"5;=b",
        b'5;a="b',
        b"5 a",
        b"5\n",
        b"5\r;a",
        b"5;a\nb",
        b"0" * 16 + b"5",
        b"8000000000000000",
        b"5_0",
        b"\xb25",
    ],
)
def test_a_malformed_size_is_refused(line):
    with pytest.raises(ProtocolError) as caught:
        decode([line + b"\r\nhello\r\n0\r\n\r\n"])
    assert caught.value.status == 400


@pytest.mark.parametrize("behind", [b"x", b"\n", b"\rx", b"xx\r\n", b"\n\n"])
def test_a_chunk_ends_in_crlf(behind):
    with pytest.raises(ProtocolError, match="no CRLF"):
        decode([b"5\r\nhello" + behind])


def test_a_size_line_of_exactly_the_limit_was_refused_in_pieces():
    line = b"5;" + b"a" * (MAX_LINE - 2)
    data = line + b"\r\nhello\r\n0\r\n\r\n"
    assert decode([data]) == decode(pieces(data, range(len(data)))) == (b"hello", [], b"")
    for parts in ([b"5;" + b"a" * (MAX_LINE - 1) + b"\r\n"], [b"5;" + b"a" * MAX_LINE]):
        with pytest.raises(ProtocolError):
            decode(parts)


def test_trailers_of_exactly_the_limit_were_refused_in_pieces():
    field = b"x: " + b"y" * (MAX_TRAILERS - 5) + b"\r\n"
    data = b"0\r\n" + field + b"\r\n"
    assert decode([data]) == decode([data[:-2], b"\r", b"\n"]) == decode([data[:-4], b"\r\n\r", b"\n"])
    for more in ([b"0\r\ny" + field + b"\r\n"], [b"0\r\nyy" + field, b"\r"]):
        with pytest.raises(ProtocolError, match="trailers too large"):
            decode(more)


def test_trailers_are_counted():
    with pytest.raises(ProtocolError, match="too many trailers"):
        decode([b"0\r\n" + b"x: y\r\n" * (MAX_TRAILER_FIELDS + 1) + b"\r\n"])


def test_extensions_of_a_whole_body_are_counted():
    chunk = b"1;" + b"a" * 1000 + b"\r\nx\r\n"
    with pytest.raises(ProtocolError, match="extensions"):
        decode([chunk] * (MAX_EXTENSIONS // 1000 + 1))


@pytest.mark.parametrize(
    "name",
    [
        b"Content-Length",
        b"HOST",
        b"transfer-encoding",
        b"X-Forwarded-For",
        b"Authorization",
        b"X_Forwarded_For",
        b"x-envoy-internal",
    ],
)
def test_what_frames_or_identifies_is_not_believed_in_a_trailer(name):
    assert decode([b"0\r\n%b: 1\r\nok: 2\r\n\r\n" % name])[1] == [(b"ok", b"2")]


@pytest.mark.parametrize(
    "block", [b"x\r\n", b"x : y\r\n", b" x: y\r\n", b"a: b\r\n c\r\n", b"x: \0\r\n", b"x: y\nz: a\r\n"]
)
def test_a_malformed_trailer_is_refused(block):
    with pytest.raises(ProtocolError):
        decode([b"0\r\n" + block + b"\r\n"])
