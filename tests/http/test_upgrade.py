"""Upgrades between the two protocols."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.errors import ProtocolError
from meshd.core.head import RequestHead, ResponseHead
from meshd.http.upgrade import ACCEPT, KEY, NONCE, accept, ask, settle

SAMPLE = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3
SAMPLE_ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
NONCES = st.binary(min_size=NONCE, max_size=NONCE)


def asked(protocol, upgrade=b"websocket", key=SAMPLE):
    head = RequestHead(b"GET", b"/", b"a", [(KEY, key)] if key else [])
    head.protocol = protocol
    head.upgrade = upgrade
    return head


def answer(status, protocol=b"http/1.1", upgrade=None, *fields):
    head = ResponseHead(status, list(fields))
    head.protocol = protocol
    head.upgrade = upgrade
    return head


def test_the_key_of_the_standard():
    assert accept(SAMPLE) == SAMPLE_ACCEPT


@pytest.mark.parametrize("protocol", [b"http/1.1", b"h2"])
def test_a_client_keeps_its_key(protocol):
    """Over HTTP/2 it is that of a client of HTTP/1.1 behind another proxy."""
    head = asked(protocol)
    ask(head, bytes(NONCE))
    assert head.headers == [(KEY, SAMPLE)]


def test_only_a_websocket_gets_a_key():
    head = asked(b"h2", b"connect-udp", key=b"")
    ask(head, bytes(NONCE))
    assert head.headers == []


@given(NONCES)
def test_what_was_asked_in_http2_is_granted_by_a_server_of_http1_that_understood(nonce):
    head = asked(b"h2", key=b"")
    ask(head, nonce)
    response = answer(101, b"http/1.1", b"WebSocket", (ACCEPT, accept(head.get(KEY))))
    settle(head, response)
    assert response.status == 101
    response.headers = [(ACCEPT, SAMPLE_ACCEPT)]
    with pytest.raises(ProtocolError, match="does not fit the key") as caught:
        settle(head, response)
    assert caught.value.status == 502


@given(st.integers(200, 299))
def test_what_was_asked_in_http1_is_granted_by_any_success_of_http2(status):
    response = answer(status, b"h2", None, (ACCEPT, b"nonsense"), (b"x", b"y"))
    settle(asked(b"http/1.1"), response)
    assert (response.status, response.upgrade) == (101, b"websocket")
    assert response.headers == [(b"x", b"y"), (ACCEPT, SAMPLE_ACCEPT)]


@given(st.integers(200, 299))
def test_a_plain_success_grants_nothing_to_who_asked_in_http2(status):
    """They would take it for a tunnel."""
    with pytest.raises(ProtocolError, match=f"answered {status} instead of 101"):
        settle(asked(b"h2"), answer(status))
    settle(asked(b"http/1.1"), answer(status))  # they would not


def test_another_protocol_than_the_one_asked_for_is_none():
    with pytest.raises(ProtocolError, match="another protocol"):
        settle(asked(b"h2", b"connect-udp"), answer(101, b"http/1.1", b"websocket"))
    settle(asked(b"http/1.1", b"a, b"), answer(101, b"http/1.1", b"b"))  # its client offered both


@pytest.mark.parametrize("protocol", [b"http/1.1", b"h2"])
@pytest.mark.parametrize("by", [b"http/1.1", b"h2"])
@pytest.mark.parametrize("status", [302, 403, 426, 503])
def test_a_refusal_is_passed_on(protocol, by, status):
    response = answer(status, by, None, (b"x", b"y"))
    settle(asked(protocol), response)
    assert (response.status, response.upgrade, response.headers) == (status, None, [(b"x", b"y")])


def test_another_protocol_is_granted_without_a_key():
    head, response = asked(b"http/1.1", b"tea", None), answer(200, b"h2")
    settle(head, response)
    assert (response.status, response.upgrade, response.headers) == (101, b"tea", [])
