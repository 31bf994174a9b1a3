"""Events say in one line what happened."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.errors import ProtocolError
from meshd.core.head import RequestHead, ResponseHead
from meshd.http.h2_events import (
    Body,
    Closed,
    Code,
    Ended,
    GoneAway,
    PingAcked,
    RequestArrived,
    RequestRefused,
    Reset,
    ResponseArrived,
    SettingsChanged,
    WindowOpened,
    code_name,
)


@given(st.integers(0, 2**32 - 1))
def test_every_code_has_a_name(code):
    assert code_name(code) == (Code(code).name if code <= 13 else f"code {code}")


REFUSED = RequestHead(b"GET", b"/", b"a")


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (RequestArrived(1, RequestHead(b"GET", b"/", b"a")), "<RequestArrived 1 <GET a/>>"),
        (
            RequestRefused(1, ProtocolError(431, "too many"), REFUSED),
            "<RequestRefused 1 431 too many>",
        ),
        (ResponseArrived(1, ResponseHead(200)), "<ResponseArrived 1 <200 ? octets>>"),
        (Body(1, b"abc"), "<Body 1 3 octets>"),
        (Ended(1, [(b"a", b"b")]), "<Ended 1 1 trailers>"),
        (
            Reset(1, Code.REFUSED_STREAM, "", by_peer=True, unprocessed=True),
            "<Reset 1 REFUSED_STREAM by peer unprocessed>",
        ),
        (Reset(1, 99, "", by_peer=False), "<Reset 1 code 99 by us>"),
        (WindowOpened(0), "<WindowOpened 0>"),
        (GoneAway(3, 0, "bye"), "<GoneAway after 3 NO_ERROR 'bye'>"),
        (SettingsChanged(100), "<SettingsChanged 100 streams>"),
        (PingAcked(b"\0" * 8), "<PingAcked 0000000000000000>"),
        (Closed(Code.PROTOCOL_ERROR, "why"), "<Closed PROTOCOL_ERROR 'why'>"),
    ],
)
def test_an_event_is_one_line(event, line):
    assert repr(event) == line
