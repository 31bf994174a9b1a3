"""What an authorizer is asked over HTTP, and what its answer makes of the request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.authorization import SCOPE, policy, rule
from support.requests import exchange_of

from meshd.config.extension_provider import ExtensionProvider
from meshd.core.head import ResponseHead
from meshd.filters.authz import index_rules
from meshd.filters.ext_authz import Answer, Shown, compile_asking, tell
from meshd.filters.ext_authz_http import compile_http_check
from meshd.http.target import read_path

RULE = rule(None, {"paths": ["/asked*"]})


def check(*rules, **more):
    given = {"name": "door", "envoyExtAuthzHttp": {"service": "d.test", "port": 80} | more}
    custom = policy(*(rules or (RULE,)), action="CUSTOM", provider={"name": "door"})
    http = ExtensionProvider.model_validate(given).envoy_ext_authz_http
    asking = compile_asking("door", http, index_rules([custom], "CUSTOM", SCOPE), "d.test:80")
    return compile_http_check(http, asking)


def judge(made, answer, exchange=None):
    exchange = exchange or exchange_of(target="/asked")
    return made.judge(exchange, made.asking.rules.find(exchange), answer), exchange


def answer(status, *fields, body=b""):
    return Answer(ResponseHead(status, [(name.encode(), value.encode()) for name, value in fields]), body)


def test_a_question_is_the_head_without_what_is_nobodys_business():
    sent = [("x-a", "1"), ("X-B-C", "2"), ("cookie", "3"), ("authorization", "4"), ("x-added", "5")]
    exchange = exchange_of(target="/asked?q=1", method="PUT", authority="a.test:81", headers=sent)
    exchange.head.length = 7
    made = check(
        pathPrefix="/check/",
        includeRequestHeadersInCheck=["X-A", "x-b-*", "x-added"],
        includeAdditionalHeadersInCheck={"X-Added": "ours"},
    )
    question = made.question(exchange, None).head
    assert (question.method, question.target, question.authority) == (b"PUT", b"/check/asked?q=1", b"a.test:81")
    assert question.length == 0
    assert question.headers == [(b"x-a", b"1"), (b"x-b-c", b"2"), (b"authorization", b"4"), (b"x-added", b"ours")]
    assert check().question(exchange_of(target="*", method="OPTIONS"), None).head.path == b"/"


def test_an_authorizer_sees_every_spelling_of_a_field_that_it_is_to_see():
    """It allowed tenant a by X-Tenant, while the app behind CGI read tenant b from X_Tenant."""
    sent = [("x-tenant", "a"), ("x_tenant", "b"), ("x_other", "c")]
    made = check(includeRequestHeadersInCheck=["X-Tenant"])
    question = made.question(exchange_of(target="/asked", headers=sent), None).head
    assert question.headers == [(b"x-tenant", b"a"), (b"x_tenant", b"b")]


@pytest.mark.parametrize("partial", [True, False])
def test_a_question_with_a_body(partial):
    exchange = exchange_of(target="/asked", method="PUT", headers=[("x-envoy-auth-partial-body", "false")])
    exchange.head.length = None
    question = check(includeRequestHeadersInCheck=["*"]).question(exchange, Shown(b"a body", partial=partial))
    assert (question.body, question.head.length) == (b"a body", 6)
    assert question.head.headers == [(b"x-envoy-auth-partial-body", b"true" if partial else b"false")]


@pytest.mark.parametrize("failure", [None, answer(500), answer(503, ("x-user", "root"))])
def test_no_answer_denies_unless_it_is_said_to_fail_open(failure):
    reply, exchange = judge(check(headersToUpstreamOnAllow=["*"]), failure)
    assert (reply.status, reply.flag, reply.error) == (403, "UAEX", "http_request_denied")
    assert reply.details == "ext_authz_error{rbac_access_denied_matched_policy[ns[foo]-policy[p]-rule[0]]}"
    assert (exchange.verdict.allowed, exchange.verdict.action, exchange.verdict.policy) == (False, "CUSTOM", "foo/p")
    assert judge(check(statusOnError="503"), failure)[0].status == 503
    reply, exchange = judge(check(failOpen=True, headersToUpstreamOnAllow=["*"]), failure)
    assert (reply, exchange.head.headers, exchange.facts) == (None, [], {"ext_authz": "door failed"})


@given(st.integers(100, 599), st.booleans())
def test_only_200_allows(status, fail_open):
    reply, _ = judge(check(failOpen=fail_open), answer(status))
    assert (reply is None) is (status == 200 or (fail_open and status >= 500))
    if reply is not None:
        assert reply.status >= 300  # nothing that looks like success


def test_what_a_refused_client_sees():
    fields = [("x-told", "1"), ("x-other", "2"), ("content-type", "text/html"), ("set-cookie", "a=b"), ("via", "1.1 x")]
    denial = answer(401, *fields, ("connection", "close"), ("www-authenticate", "Basic"), body=b"<p>")
    reply, _ = judge(check(), denial)
    assert [name for name, _ in reply.headers] == [b"x-told", b"x-other", b"set-cookie", b"www-authenticate"]
    assert (reply.status, reply.body, reply.content_type) == (401, b"<p>", b"text/html")
    reply, _ = judge(check(headersToDownstreamOnDeny=["X-Told"]), denial)
    assert [name for name, _ in reply.headers] == [b"x-told", b"set-cookie", b"www-authenticate"]


def test_what_an_authorizer_says_takes_the_place_of_what_the_client_said():
    exchange = exchange_of(target="/asked", headers=[("x-user", "root"), ("x-user", "admin"), ("x-b", "1")])
    made = check(headersToUpstreamOnAllow=["X-User", "host", "content-length"])
    assert exchange.head.get(b"x-user") == b"root,admin"
    judge(made, answer(200, ("x-user", "alice"), ("x-b", "2"), ("host", "evil"), ("content-length", "7")), exchange)
    assert exchange.head.headers == [(b"x-b", b"1"), (b"x-user", b"alice")]
    assert exchange.head.get(b"x-user") == b"alice"
    assert exchange.facts == {"ext_authz": "door 200"}


def test_what_an_authorizer_has_taken_out_of_a_request():
    exchange = exchange_of(target="/asked", headers=[("authorization", "x"), ("x-b", "1"), ("x-c", "2")])
    gone = ("x-envoy-auth-headers-to-remove", "Authorization, x-c")
    judge(check(headersToUpstreamOnAllow=["*"]), answer(200, gone, ("x-c", "3")), exchange)
    assert exchange.head.headers == [(b"x-b", b"1")]


def test_another_spelling_got_past_what_an_authorizer_says():
    exchange = exchange_of(target="/asked", headers=[("x_user", "root"), ("X.Old", "1"), ("x_b", "1")])
    gone = ("x-envoy-auth-headers-to-remove", "x-old")
    judge(check(headersToUpstreamOnAllow=["x-user"]), answer(200, gone, ("x-user", "alice")), exchange)
    assert exchange.head.headers == [(b"x_b", b"1"), (b"x-user", b"alice")]


@pytest.mark.parametrize("said", [answer(200), answer(503), None])
def test_what_a_client_said_passed_for_the_word_of_an_authorizer_that_had_not_seen_it(said):
    sent = [("x-user", "admin"), ("x_user", "root"), ("x-seen", "1"), ("authorization", "token"), ("x-other", "2")]
    made = check(
        failOpen=True,
        headersToUpstreamOnAllow=["X-User", "x-seen", "authorization", "x-oth*"],
        includeRequestHeadersInCheck=["x-seen"],
    )
    reply, exchange = judge(made, said, exchange_of(target="/asked", headers=sent))
    assert reply is None
    assert exchange.head.headers == [(b"x-seen", b"1"), (b"authorization", b"token"), (b"x-other", b"2")]


def test_what_an_admitted_client_sees():
    exchange = exchange_of(target="/asked")
    tell(exchange, ResponseHead(200))
    judge(check(headersToDownstreamOnAllow=["x-told"]), answer(200, ("x-told", "1"), ("x-other", "2")), exchange)
    head = ResponseHead(200, [(b"x-told", b"the app's"), (b"x-b", b"3")])
    tell(exchange, head)
    assert head.headers == [(b"x-b", b"3"), (b"x-told", b"1")]


def test_an_authorizer_sees_the_path_as_it_goes_on():
    exchange = exchange_of(target="/asked")
    read_path(exchange.head, b"/asked//b%2Fc[0]")
    assert check(pathPrefix="/auth").question(exchange, None).head.target == b"/auth/asked//b%2Fc[0]"
