"""What all authorizers outside have in common: which requests they are asked about, and how they fail."""

import pytest
from support.authorization import SCOPE, policy, rule
from support.requests import exchange_of

from meshd.config.extension_provider import ExtensionProvider
from meshd.core.head import ResponseHead
from meshd.core.reply import Reply
from meshd.filters.authz import index_rules
from meshd.filters.ext_authz import BodyLimit, Check, compile_asking, tell, verdict_of, will_tell

KINDS = ("envoyExtAuthzHttp", "envoyExtAuthzGrpc")


def check(kind=KINDS[0], **more):
    given = {"name": "door", kind: {"service": "d.test", "port": 80} | more}
    custom = policy(rule(None, {"paths": ["/asked*"]}), action="CUSTOM", provider={"name": "door"})
    rules = index_rules([custom], "CUSTOM", SCOPE)
    return Check(compile_asking("door", ExtensionProvider.model_validate(given).authorizer, rules, "d.test:80"))


def failed(made, refusal=None):
    exchange = exchange_of(target="/asked")
    return made.failed(exchange, made.asking.rules.find(exchange), refusal), exchange


def test_only_what_a_rule_takes_is_asked_about():
    rules = check().asking.rules
    assert rules.find(exchange_of(target="/asked/x")) is not None
    assert rules.find(exchange_of(target="/other")) is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_document_says(kind):
    asking = check(kind, timeout="2s", failOpen=True, statusOnError="503").asking
    assert (asking.cluster, asking.route.name, asking.route.timeout) == ("d.test:80", "ext_authz/door", 2.0)
    assert (asking.fail_open, asking.status_on_error, asking.body) == (True, 503, None)
    body = {"maxRequestBytes": 8, "allowPartialMessage": True, "packAsBytes": True}
    asking = check(kind, includeRequestBodyInCheck=body).asking
    assert asking.body == BodyLimit(8, partial=True, as_octets=True)


def test_a_failure_denies_or_passes():
    reply, exchange = failed(check(statusOnError="503"))
    assert (reply.status, reply.flag, reply.error) == (503, "UAEX", "http_request_denied")
    assert exchange.verdict == verdict_of(check().asking.rules.entries[0], allowed=False)
    assert failed(check(failOpen=True))[0] is None
    own = Reply(418)
    assert failed(check(), own)[0] is own
    assert failed(check(failOpen=True), own)[0] is None


def test_the_kinds_say_how_to_ask_and_how_to_read_the_answer():
    exchange = exchange_of(target="/asked")
    with pytest.raises(NotImplementedError):
        check().question(exchange, None)
    with pytest.raises(NotImplementedError):
        check().judge(exchange, check().asking.rules.entries[0], None)


def test_a_refusal_is_the_authorizers_own():
    exchange, made = exchange_of(target="/asked"), check()
    entry = made.asking.rules.find(exchange)
    headers = [(b"content-type", b"text/html"), (b"x-a", b"1")]
    reply = made.denied(exchange, entry, 401, headers, b"<p>")
    assert (reply.status, reply.headers, reply.content_type) == (401, ((b"x-a", b"1"),), b"text/html")
    assert reply.details == "ext_authz_denied{rbac_access_denied_matched_policy[ns[foo]-policy[p]-rule[0]]}"
    assert (exchange.verdict.allowed, exchange.verdict.policy) == (False, "foo/p")


def test_every_authorizer_edits_the_response_in_its_turn():
    exchange, head = exchange_of(target="/asked"), ResponseHead(200, [(b"x", b"0")])
    tell(exchange, head)
    will_tell(exchange, lambda headers: [*headers, (b"x", b"1")])
    will_tell(exchange, lambda headers: [*headers, (b"x", b"2")])
    tell(exchange, head)
    assert head.headers == [(b"x", b"0"), (b"x", b"1"), (b"x", b"2")]
