"""Rates and sizes between two sidecars: what is too much is refused or broken off, and answers of the sidecar's own."""

import http.client

import pytest
from support.origin import ok
from support.policy_pair import pieces

LIMITS = """
    apiVersion: meshd.dev/v1alpha1
    kind: RateLimitPolicy
    metadata: {name: limits, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: limit-test}]
      rules:
        - {match: {path: {value: /few}}, requests: 3, per: hour}
        - {name: users, match: {path: {value: /user}}, requests: 1, per: hour, key: "header:x-user"}
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: RateLimitPolicy
    metadata: {name: at-the-server, namespace: default}
    spec:
      selector: {matchLabels: {app: server}}
      rules: [{match: {path: {value: /callers}}, requests: 2, per: hour, key: identity}]
"""
SIZES = """
    apiVersion: meshd.dev/v1alpha1
    kind: RequestPolicy
    metadata: {name: sizes, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: size-test}]
      rules:
        - {match: {path: {value: /up}}, maxRequestBody: 100k}
        - {match: {path: {value: /down}}, maxResponseBody: 100k}
        - match: {path: {value: /robots.txt}}
          respond: {status: 200, body: "User-agent: *", headers: [{name: cache-control, value: no-store}]}
"""
POLICIES = {"limit.test": LIMITS, "size.test": SIZES}


# -- rate limits ------------------------------------------------------------------------------------------------------


def test_a_limit_holds_for_all_workers_together(pair):
    answers = [pair.call("limit.test", "/few") for _ in range(40)]  # the kernel gives each worker about half of them
    assert [answer.status for answer in answers] == [200] * 3 + [429] * 37
    assert len(pair.origin.take()) == 3
    fields = answers[-1].fields
    assert 1100 < int(fields["retry-after"]) <= 1200
    assert fields["ratelimit-policy"] == '"0";q=3;w=3600'
    assert fields["ratelimit"] == f'"0";r=0;t={fields["retry-after"]}'
    assert 'details="RL local_rate_limited[default/limits rule 0]"' in fields["proxy-status"]
    entry = pair.logged("/few")
    assert entry["authority"] == "limit.test"


def test_a_limit_for_each_value_of_a_header(pair):
    asked = ["a", "b", "a", "c", "b"]
    statuses = [pair.call("limit.test", "/user", x_user=each).status for each in asked]
    assert statuses == [200, 200, 429, 200, 429]


def test_a_limit_for_each_caller_at_the_server(pair):
    assert [pair.call("limit.test", "/callers").status for _ in range(4)] == [200, 200, 429, 429]
    assert len(pair.origin.take()) == 2


# -- sizes and answers of our own -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [lambda octets: b"x" * octets, pieces], ids=["length", "chunked"])
def test_a_request_body_up_to_its_limit(pair, how):
    assert pair.call("size.test", "/up", "POST", how(100_000)).status == 200
    (request,) = pair.origin.take()
    assert len(request.body) == 100_000


def test_a_request_that_says_it_is_too_large_never_leaves(pair):
    answer = pair.call("size.test", "/up?declared", "POST", b"x" * 100_001)
    assert answer.status == 413
    assert "error=http_request_error" in answer.fields["proxy-status"]
    assert not pair.origin.take()
    assert pair.logged("/up?declared")["response_code_details"] == "request_payload_too_large"


def test_a_request_that_turns_out_too_large_is_broken_off(pair):
    answer = pair.call("size.test", "/up?chunked", "POST", pieces(200_000))
    assert answer.status == 413
    assert pair.logged("/up?chunked")["response_code_details"] == "request_payload_too_large"
    assert not any(request.complete for request in pair.origin.take())
    assert pair.call("size.test", "/up").status == 200


def test_a_response_body_up_to_its_limit(pair):
    pair.origin.behave = lambda wire, request: wire.sock.sendall(ok(b"x" * 100_000))
    assert len(pair.call("size.test", "/down").body) == 100_000


def test_a_response_that_says_it_is_too_large_is_not_passed_on(pair):
    pair.origin.behave = lambda wire, request: wire.sock.sendall(ok(b"x" * 100_001))
    answer = pair.call("size.test", "/down")
    assert answer.status == 502
    assert "error=http_response_body_size" in answer.fields["proxy-status"]
    assert len(pair.origin.take()) == 1, "it was tried again"


def test_the_length_in_an_answer_to_head_is_no_body(pair):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n"
    pair.origin.behave = lambda wire, request: wire.sock.sendall(head)
    assert pair.call("size.test", "/down", "HEAD").status == 200


def test_a_response_that_turns_out_too_large_is_broken_off(pair):
    def behave(wire, request):
        wire.sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1000):
            wire.sock.sendall(b"2710\r\n" + b"x" * 10_000 + b"\r\n")

    pair.origin.behave = behave
    with pytest.raises(http.client.IncompleteRead) as broken:
        pair.call("size.test", "/down?endless")
    assert 0 < len(broken.value.partial) <= 100_000
    assert pair.logged("/down?endless")["response_code_details"] == "response_payload_too_large"


def test_an_answer_of_the_sidecar_s_own(pair):
    answer = pair.call("size.test", "/robots.txt")
    assert (answer.status, answer.body) == (200, b"User-agent: *")
    assert (answer.fields["content-type"], answer.fields["cache-control"]) == ("text/plain", "no-store")
    assert "proxy-status" not in answer.fields
    assert not pair.origin.take()
