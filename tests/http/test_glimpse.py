"""What the log tells of a request that nobody could serve."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.errors import ProtocolError
from meshd.http.glimpse import MAX_AUTHORITY, MAX_METHOD, MAX_TARGET, glimpse, glimpse_fields
from meshd.http.h1 import ServerCodec


def told(head):
    return head.method, head.target, head.authority


@pytest.mark.parametrize(
    ("octets", "seen"),
    [
        (b"GET /a%00?b=c HTTP/1.1\r\nHost: shop.test\r\n\r\n", (b"GET", b"/a%00?b=c", b"shop.test")),
        (b"GET /a HTTP/1.1\r\nx: \0\r\nHOST:shop.test\r\n\r\n", (b"GET", b"/a", b"shop.test")),
        (b"GET /a", (b"GET", b"/a", b"")),
        (b"\r\nGET / HTTP/1.1\n", (b"GET", b"/", b"")),
        (b"GET", (b"GET", b"-", b"")),
        (b"\x16\x03\x01 / \r\n", (b"-", b"-", b"")),
        (b"", (b"-", b"-", b"")),
    ],
)
def test_a_refused_request_was_logged_as_nothing(octets, seen):
    assert told(glimpse(octets)) == seen


@given(st.binary(max_size=60) | st.binary(max_size=30).map(lambda tail: b"GET " + tail * 200))
def test_all_of_it_is_bounded(octets):
    head = glimpse(octets + b" HTTP/1.1\r\nhost: " + octets)
    assert 1 <= len(head.method) <= MAX_METHOD
    assert 1 <= len(head.target) <= MAX_TARGET + 1
    assert len(head.authority) <= MAX_AUTHORITY


def test_fields_of_http2():
    fields = [(b":method", b"GET"), (b":path", b"/a#b"), (b":authority", b"a.test"), (b"host", b"b.test")]
    assert told(glimpse_fields(fields)) == (b"GET", b"/a#b", b"a.test")
    assert told(glimpse_fields(fields[3:])) == (b"-", b"-", b"b.test")


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /%00 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\ncontent-length: 1\r\n\r\n",
    ],
)
def test_a_codec_tells_of_what_it_refused(raw):
    codec = ServerCodec()
    codec.receive(raw)
    with pytest.raises(ProtocolError):
        codec.next_event()
    head = codec.refused_head()
    assert head.method == raw.partition(b" ")[0]
    assert head.authority in (b"a", b"a:1")
