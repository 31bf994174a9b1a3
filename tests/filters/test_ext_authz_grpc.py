"""What an authorizer is asked by gRPC, and what its answer makes of the request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.authorization import SCOPE, peer, policy, rule
from support.check_proto import CheckRequest, CheckResponse
from support.requests import exchange_of

from meshd.config.extension_provider import ExtensionProvider
from meshd.core.head import ResponseHead
from meshd.filters.authz import index_rules
from meshd.filters.ext_authz import Answer, Shown, compile_asking, tell
from meshd.filters.ext_authz_grpc import GrpcCheck, apply, as_text, edit_query, read_answer
from meshd.http.check_message import ADD_IF_ABSENT, APPEND, JOIN, OVERWRITE, OVERWRITE_IF_EXISTS, Mutation
from meshd.http.grpc import frame

HEAD = [(b"content-type", b"application/grpc")]
OK = [(b"grpc-status", b"0")]


def check(**more):
    given = {"name": "door", "envoyExtAuthzGrpc": {"service": "ns/d.test", "port": 80} | more}
    custom = policy(rule(None, {"paths": ["/asked*"]}), action="CUSTOM", provider={"name": "door"})
    rules = index_rules([custom], "CUSTOM", SCOPE)
    asking = compile_asking("door", ExtensionProvider.model_validate(given).authorizer, rules, "d.test:80")
    return GrpcCheck(asking, b"d.test", b"spiffe://td/ns/foo/sa/web", lambda: 1.5)


def asked(made, exchange, body=None):
    question = made.question(exchange, body)
    assert question.head.length is None
    return CheckRequest.FromString(question.body[5:]).attributes, question.head


def judge(answer, exchange=None, **more):
    """The reply to an answer, and what became of the exchange."""
    exchange = exchange or exchange_of(target="/asked?a=1&b=2&a=3")
    made = check(**more)
    return made.judge(exchange, made.asking.rules.find(exchange), answer), exchange


def saying(**fields):
    return Answer(ResponseHead(200, HEAD), frame(CheckResponse(**fields).SerializeToString()), OK)


def option(key, value, **more):
    return {"header": {"key": key, "value": value}} | more


def test_the_call():
    exchange = exchange_of(target="/asked", headers=[("traceparent", "t"), ("x-request-id", "r"), ("x-a", "1")])
    _, head = asked(check(timeout="2s"), exchange)
    assert (head.method, head.path, head.authority) == (
        b"POST",
        b"/envoy.service.auth.v3.Authorization/Check",
        b"d.test",
    )
    assert head.headers == [
        *HEAD,
        (b"te", b"trailers"),
        (b"grpc-timeout", b"2000000u"),
        (b"traceparent", b"t"),
        (b"x-request-id", b"r"),
    ]


def test_who_asks_whom_for_what():
    caller = peer(port=7, local_address="10.9.9.9", local_port=80, tls="TLSv1.3")
    fields = [("x-a", "1"), ("x-a", "2"), ("cookie", "a=b"), ("cookie", "c=d"), ("x-envoy-auth-partial-body", "true")]
    exchange = exchange_of(target="/asked?q=1", method="PUT", authority="a.test:81", headers=fields, peer=caller)
    exchange.request_id = b"id"
    exchange.head.length = 7
    attributes, _ = asked(check(), exchange)
    source, destination, http = attributes.source, attributes.destination, attributes.request.http
    assert (source.address.socket_address.address, source.address.socket_address.port_value) == ("10.0.0.1", 7)
    assert source.principal == "spiffe://td/ns/a/sa/web"
    assert destination.address.socket_address.address == "10.9.9.9"
    assert destination.principal == "spiffe://td/ns/foo/sa/web"
    assert (http.id, http.method, http.path, http.host) == ("id", "PUT", "/asked?q=1", "a.test:81")
    assert (http.scheme, http.protocol, http.size, http.body) == ("http", "HTTP/1.1", 7, "")
    assert (attributes.request.time.seconds, attributes.request.time.nanos) == (1, 500_000_000)
    pseudo = {":authority": "a.test:81", ":method": "PUT", ":path": "/asked?q=1", ":scheme": "http"}
    assert dict(http.headers) == {"x-a": "1,2", "cookie": "a=b; c=d"} | pseudo


def test_nobody_is_named_without_tls():
    attributes, _ = asked(check(), exchange_of(target="/asked"))
    assert (attributes.source.principal, attributes.destination.principal) == ("", "")


@pytest.mark.parametrize("as_bytes", [True, False])
def test_the_body_as_text_or_as_octets(as_bytes):
    made = check(includeRequestBodyInCheck={"maxRequestBytes": 8, "packAsBytes": as_bytes})
    exchange = exchange_of(target="/asked", method="PUT")
    exchange.head.length = None
    attributes, _ = asked(made, exchange, Shown(b"a\xffb", partial=False))
    http = attributes.request.http
    assert (http.body, http.raw_body) == (("", b"a\xffb") if as_bytes else ("a!b", b""))
    assert (http.size, http.headers["x-envoy-auth-partial-body"]) == (3, "false")
    attributes, _ = asked(made, exchange, Shown(b"a", partial=True))
    assert (attributes.request.http.size, attributes.request.http.headers["x-envoy-auth-partial-body"]) == (-1, "true")


@given(st.binary(max_size=12))
def test_text_is_utf8_and_what_is_stays_as_it_is(octets):
    as_text(octets).decode()
    try:
        octets.decode()
    except UnicodeDecodeError:
        assert b"!" in as_text(octets)
    else:
        assert as_text(octets) == octets


def test_an_approval_edits_request_and_response():
    ok = {
        "headers": [
            option("X-User", "alice", append_action=OVERWRITE),
            option("x-more", "2", append={"value": True}),
            option("x-new", "2", append={"value": True}),
            option("x-again", "2", append_action=APPEND),
            option("x-old", "new", append={"value": False}),
            option("Content-Length", "7", append_action=OVERWRITE),
        ],
        "headers_to_remove": ["Authorization"],
        "query_parameters_to_set": [{"key": "a", "value": "9"}, {"key": "n", "value": "0"}],
        "query_parameters_to_remove": ["b"],
        "response_headers_to_add": [option("x-told", "1"), option("x-app", "2", append_action=OVERWRITE)],
    }
    sent = [("x-user", "root"), ("x-user", "admin"), ("x-more", "1"), ("x-again", "1"), ("x-old", "o")]
    exchange = exchange_of(target="/asked?a=1&b=2&a=3", headers=[*sent, ("authorization", "secret")])
    assert exchange.head.get(b"x-user") == b"root,admin"
    assert judge(saying(ok_response=ok), exchange)[0] is None
    assert exchange.head.headers == [
        (b"x-more", b"1,2"),
        (b"x-user", b"alice"),
        (b"x-again", b"2"),
        (b"x-old", b"new"),
    ]
    assert (exchange.head.query, exchange.head.get(b"x-user")) == (b"a=9&n=0", b"alice")
    head = ResponseHead(200, [(b"x-app", b"1"), (b"x-told", b"0")])
    tell(exchange, head)
    assert head.headers == [(b"x-told", b"0"), (b"x-told", b"1"), (b"x-app", b"2")]


def test_allowing_takes_no_more_than_a_status():
    reply, exchange = judge(saying())
    assert (reply, exchange.head.query, exchange.facts) == (None, b"a=1&b=2&a=3", {"ext_authz": "door 0"})


def test_a_refusal_as_it_stands():
    denied = {
        "status": {"code": 401},
        "headers": [option("www-authenticate", "Basic"), option("Content-Type", "text/html", append_action=OVERWRITE)],
        "body": "<p>",
    }
    reply, exchange = judge(saying(status={"code": 7}, denied_response=denied))
    assert (reply.status, reply.body, reply.content_type) == (401, b"<p>", b"text/html")
    assert (reply.headers, reply.flag) == (((b"www-authenticate", b"Basic"),), "UAEX")
    assert (exchange.verdict.policy, exchange.verdict.action) == ("foo/p", "CUSTOM")
    assert judge(saying(status={"code": 7}))[0].status == 403
    assert judge(saying(status={"code": 7}, ok_response={"headers": [option("x", "1")]}))[0].status == 403


def test_an_authorizer_that_could_not_decide():
    error = {"status": {"code": 503}, "body": "later"}
    reply, _ = judge(saying(status={"code": 13}, error_response=error))
    assert (reply.status, reply.body) == (503, b"later")
    assert judge(saying(status={"code": 13}, error_response={}), statusOnError="500")[0].status == 500
    assert judge(saying(status={"code": 13}, error_response=error), failOpen=True)[0] is None


EMPTY = frame(b"")


def grpc(status, body=EMPTY, trailers=OK, headers=HEAD):
    return Answer(ResponseHead(status, headers), body, trailers)


FAILURES = {
    "no answer": None,
    "another status": grpc(503),
    "no gRPC": grpc(200, headers=[(b"content-type", b"text/plain")]),
    "no status": grpc(200, trailers=[]),
    "unavailable": grpc(200, trailers=[(b"grpc-status", b"14")]),
    "unavailable at once": grpc(200, b"", [], [*HEAD, (b"grpc-status", b"14")]),
    "no message": grpc(200, b""),
    "two messages": grpc(200, EMPTY * 2),
    "compressed": grpc(200, b"\1\0\0\0\0"),
    "half a message": grpc(200, frame(b"ab")[:-1]),
    "nonsense": grpc(200, frame(b"\x0b")),
    "unknown action": saying(ok_response={"headers": [option("x", "1", append_action=4)]}),
    "a pseudo field": saying(ok_response={"headers": [option(":path", "/admin")]}),
    "host": saying(ok_response={"headers": [option("Host", "evil.test")]}),
    "a line break": saying(ok_response={"headers": [option("x", "a\r\nb: c")]}),
    "no name": saying(ok_response={"headers": [option("", "a")]}),
    "a name with a space": saying(ok_response={"response_headers_to_add": [option("a b", "a")]}),
    "a bad refusal": saying(status={"code": 7}, denied_response={"headers": [option("x", "a\nb")]}),
    "an interim refusal": saying(status={"code": 7}, denied_response={"status": {"code": 100}}),
    "no such status": saying(status={"code": 7}, denied_response={"status": {"code": 600}}),
    "a parameter": saying(ok_response={"query_parameters_to_set": [{"key": "a", "value": "b&c=d"}]}),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_no_answer_denies_and_edits_nothing(failure):
    reply, exchange = judge(failure)
    assert (reply.status, reply.flag, exchange.verdict.allowed) == (403, "UAEX", False)
    assert reply.details.startswith("ext_authz_error{")
    reply, exchange = judge(failure, failOpen=True)
    assert (reply, exchange.head.headers, exchange.head.query, exchange.asked) == (None, [], b"a=1&b=2&a=3", None)
    assert failure is None or read_answer(failure) == exchange.facts["ext_authz_error"]


names = st.sampled_from([b"a", b"B", b"b", b"host", b"te"])
edits = st.lists(st.builds(Mutation, names, st.sampled_from([b"", b"1", b"2"]), st.integers(JOIN, 3)), max_size=6)
fields = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.just(b"0")), max_size=5)


@given(fields, edits)
def test_edits_touch_only_what_they_name(before, mutations):
    after = apply(before, mutations)
    named = {each.name.lower() for each in mutations}
    assert [each for each in after if each[0] not in named] == [each for each in before if each[0] not in named]
    assert not {b"host", b"te"} & {name for name, _ in after}


@pytest.mark.parametrize(
    ("action", "there", "absent"),
    [
        (APPEND, [b"0", b"1"], [b"1"]),
        (ADD_IF_ABSENT, [b"0"], [b"1"]),
        (OVERWRITE, [b"1"], [b"1"]),
        (OVERWRITE_IF_EXISTS, [b"1"], []),
        (JOIN, [b"0,1"], []),
    ],
)
def test_what_each_action_does(action, there, absent):
    edit = [Mutation(b"a", b"1", action)]
    assert [value for _, value in apply([(b"a", b"0")], edit)] == there
    assert [value for _, value in apply([], edit)] == absent


@pytest.mark.parametrize("action", [APPEND, ADD_IF_ABSENT, OVERWRITE, OVERWRITE_IF_EXISTS])
def test_no_client_keeps_a_field_that_an_authorizer_sets(action):
    exchange = exchange_of(target="/asked", headers=[("x-user", "root")])
    judge(saying(ok_response={"headers": [option("x-user", "alice", append_action=action)]}), exchange)
    assert exchange.head.headers == [(b"x-user", b"alice")]


@pytest.mark.parametrize("action", [APPEND, ADD_IF_ABSENT, OVERWRITE])
def test_another_spelling_got_past_what_an_authorizer_sets_or_removes(action):
    exchange = exchange_of(target="/asked", headers=[("x_user", "root"), ("x_old", "1"), ("x_b", "1")])
    ok = {"headers": [option("x-user", "alice", append_action=action)], "headers_to_remove": ["X-Old"]}
    judge(saying(ok_response=ok), exchange)
    assert exchange.head.headers == [(b"x_b", b"1"), (b"x-user", b"alice")]


@pytest.mark.parametrize(
    ("query", "new", "gone", "left"),
    [
        (None, [], [b"a"], None),
        (None, [(b"a", b"1")], [], b"a=1"),
        (b"a=1&b&c=&a", [(b"a", b"2")], [], b"a=2&b&c="),
        (b"a=1&b&c=", [], [b"b", b"a"], b"c="),
        (b"a=1", [], [b"a"], None),
        (b"a=1", [(b"b", b"2"), (b"b", b"3")], [b"a"], b"b=3"),
    ],
)
def test_queries(query, new, gone, left):
    assert edit_query(query, new, gone) == left
