"""Whose word an answer is: the sidecar's that proved to be one, never an app's that says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.head import RequestHead, ResponseHead
from meshd.core.reply import Reply
from meshd.http.proxy_status import disown, is_by_proxy, own_answer
from meshd.http.render import render_reply


def answer(*values, status=503):
    return ResponseHead(status, [(b"proxy-status", value) for value in values])


def read(*values):
    own = own_answer(answer(*values))
    return own and (own.error, own.is_unprocessed)


@pytest.mark.parametrize("content_type", [b"text/plain", b"application/grpc"])
@pytest.mark.parametrize("unprocessed", [False, True])
def test_what_a_sidecar_writes_its_peer_reads_and_a_stranger_does_not(content_type, unprocessed):
    reply = Reply(503, "UF", 'why, "not"; error=x; unprocessed', "connection_refused", unprocessed=unprocessed)
    request = RequestHead(b"POST", b"/", b"a", [(b"content-type", content_type)])
    head, _ = render_reply(reply, request, b"shop.default", stranger=False)
    own = own_answer(head)
    assert (own.response, own.error, own.is_unprocessed) == (head, "connection_refused", unprocessed)
    head, _ = render_reply(reply, request, b"shop.default", stranger=True)
    assert head.get(b"proxy-status") == b'"shop.default"; error=connection_refused'


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([b""], None),
        ([b'"a"'], None),
        ([b'"a"; received-status=503'], None),
        ([b'"a"; error=dns_error'], ("dns_error", False)),
        ([b"a;error=dns_error;unprocessed"], ("dns_error", True)),
        ([b'"a"; unprocessed; error=dns_error'], ("dns_error", True)),
        ([b'"a"; error=dns_error; unprocessed=?0'], ("dns_error", False)),
        ([b'"a"; error=dns_error; unprocessed, "b"'], None),
        ([b'"a"', b'"b"; error=dns_error'], ("dns_error", False)),
        ([b'"a"; error=dns_error; details="x, y; unprocessed"'], ("dns_error", False)),
        ([b'"a"; details="\\", \\"; error=x; unprocessed"; error=dns_error'], ("dns_error", False)),
    ],
)
def test_the_nearest_proxy_has_the_last_word(values, expected):
    assert read(*values) == expected


HOSTILE = st.lists(
    st.sampled_from([b'"', b"\\", b",", b";", b" ", b"=", b"error=connection_refused", b"unprocessed", b"x", b'"a"'])
).map(b"".join)


@given(st.lists(HOSTILE, min_size=1, max_size=3))
def test_no_app_speaks_for_its_sidecar(values):
    response = answer(*values)
    disown(response, b"shop.default")
    assert own_answer(response) is None
    assert response.get(b"proxy-status").endswith(b'"shop.default"; received-status=503')


def test_what_other_proxies_say_is_passed_on_and_an_answer_without_is_left_as_it_is():
    response = answer(b'"cdn"; error=dns_error')
    disown(response, b"shop.default")
    assert response.headers == [
        (b"proxy-status", b'"cdn"; error=dns_error, "shop.default"; received-status=503'),
    ]
    plain = ResponseHead(503, [(b"a", b"b")])
    disown(plain, b"shop.default")
    assert plain.headers == [(b"a", b"b")]


@pytest.mark.parametrize(
    "value",
    [
        '"reviews.default"; error=http_request_denied',
        "edge;error=dns_timeout",
        '"a"; details="x; y"; error=connection_refused',
        '"near"; received-status=502, far; error=connection_terminated',
        '"a \\" b"; error=dns_error',
    ],
)
def test_an_error_is_a_proxys(value):
    assert is_by_proxy(value)


@pytest.mark.parametrize(
    "value",
    ["", '"a"', '"a"; received-status=404', '"a"; details="; error=x"', '"; error=x"', "error", '"a"; next-hop=error'],
)
def test_anything_else_is_the_apps(value):
    assert not is_by_proxy(value)


def test_a_string_without_end_costs_nothing():
    assert not is_by_proxy('"' + "\\" * 100_000)
