"""Our own replies say who made them and why, and no more than the caller may know."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.head import RequestHead
from meshd.core.reply import Reply
from meshd.http.fields import is_value
from meshd.http.render import proxy_status, quote, render_reply

DENIED = Reply(403, "AD", "policy[none]", "http_request_denied", body=b"denied")
STRING = re.compile(rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"')  # RFC 8941 section 3.3.3


def rendered(reply, *fields, stranger=False):
    head, body = render_reply(reply, RequestHead(b"GET", b"/", b"a", list(fields)), b"orders", stranger=stranger)
    return head, body


def test_a_refusal_says_who_and_why():
    head, body = rendered(DENIED)
    assert (head.status, head.length, body) == (403, 7, b"denied\n")
    assert head.get(b"proxy-status") == b'"orders"; error=http_request_denied; details="AD policy[none]"'
    assert head.get(b"content-type") == b"text/plain"


def test_a_stranger_learns_the_kind_only():
    assert rendered(DENIED, stranger=True)[0].get(b"proxy-status") == b'"orders"; error=http_request_denied'


def test_an_ordinary_answer_is_nobodys_error():
    head, body = rendered(Reply(301, headers=((b"location", b"/b"),)))
    assert head.headers == [(b"location", b"/b")]
    assert (head.length, body) == (0, b"")


def test_a_direct_response_is_sent_as_it_was_written():
    head, body = rendered(Reply(200, body=b"{}", content_type=b"application/json"))
    assert (head.get(b"content-type"), body, head.length) == (b"application/json", b"{}", 2)


@pytest.mark.parametrize(("status", "grpc"), [(403, b"7"), (503, b"14"), (429, b"8"), (599, b"2")])
def test_a_grpc_caller_hears_its_own_words(status, grpc):
    reply = Reply(status, "AD", "why", "http_request_denied", body=b"no")
    head, body = rendered(reply, (b"content-type", b"application/grpc+proto"))
    assert (head.status, body) == (200, b"")
    assert head.get(b"grpc-status") == grpc
    assert head.get(b"grpc-message") == b"no"
    assert b"error=" in head.get(b"proxy-status")


def test_a_policy_may_know_the_grpc_status_better():
    reply = Reply(429, "RL", "why", "http_request_denied", grpc_status=14)
    assert rendered(reply, (b"content-type", b"application/grpc"))[0].get(b"grpc-status") == b"14"


@given(st.binary(max_size=40))
def test_any_text_becomes_a_string_of_structured_fields(text):
    quoted = quote(text)
    assert STRING.fullmatch(quoted)
    inner = re.sub(rb"\\(.)", rb"\1", quoted[1:-1])
    assert inner == bytes(octet if 0x20 <= octet < 0x7F else ord("?") for octet in text)


@given(st.text(max_size=700), st.booleans())
def test_no_cause_breaks_out_of_the_field(details, stranger):
    value = proxy_status(Reply(500, "X", details, "proxy_internal_error"), b"orders", stranger=stranger)
    assert is_value(value)
    assert len(value) < 1200
    assert value.startswith(b'"orders"; error=proxy_internal_error')


def test_more_is_told_to_who_may_know_it():
    reply = Reply(404, "NR", "missing", "destination_not_found", body=b"no route", told=b"no route for 'wep'")
    assert rendered(reply)[1] == b"no route for 'wep'\n"
    assert rendered(reply, stranger=True)[1] == b"no route\n"
    calls = (b"content-type", b"application/grpc")
    assert rendered(reply, calls)[0].get(b"grpc-message") == b"no route for 'wep'"
    assert rendered(reply, calls, stranger=True)[0].get(b"grpc-message") == b"no route"
