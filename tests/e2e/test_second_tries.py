"""Attempts that take too long, between two sidecars: given up when they fall silent, or raced by a second one."""

import http.client
import threading
import time

import pytest
from support.origin import Hangup, always_ok, ok

IDLE = """
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: idle, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: idle-test}]
      retry: {attempts: 1, perTryIdleTimeout: 1s, on: [reset]}
"""
HEDGE = """
    apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata: {name: hedge, namespace: default}
    spec:
      parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: hedge-test}]
      rules: [{backendRefs: [{group: networking.istio.io, kind: ServiceEntry, name: two-test}]}]
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: hedge, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: hedge-test}]
      retry: {perTryTimeout: 100ms, hedgeOnPerTryTimeout: true, attempts: 1}
"""
AGAIN = """
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: again, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: again-test}]
      timeout: 4s
      retry:
        attempts: 1
        on: [retriable-status-codes, retriable-headers]
        codes: [429]
        headers: [X-Again]
        backoff: {resetHeaders: [{name: Retry-After}, {name: X-RateLimit-Reset, format: UNIX_TIMESTAMP}]}
"""
POLICIES = {"idle.test": IDLE, "hedge.test": HEDGE, "again.test": AGAIN}


# -- silence ----------------------------------------------------------------------------------------------------------


def test_a_silent_attempt_is_given_up_and_the_next_one_answers(pair):
    release = threading.Event()

    def behave(wire, request):
        if len(pair.origin.requests) == 1:
            release.wait(20)
        wire.sock.sendall(ok())

    pair.origin.behave = behave
    try:
        assert pair.call("idle.test", "/silent").body == b"ok"
    finally:
        release.set()
    assert len(pair.origin.take()) == 2
    assert pair.logged("/silent")["attempts"] == 2


def test_a_response_may_take_long_as_long_as_something_comes(pair):
    def behave(wire, request):
        wire.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        for _ in range(6):
            time.sleep(0.25)
            wire.sock.sendall(b"x")

    pair.origin.behave = behave
    assert pair.call("idle.test", "/drips").body == b"x" * 6


def test_a_response_that_falls_silent_is_broken_off(pair):
    release = threading.Event()

    def behave(wire, request):
        wire.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nxxx")
        release.wait(20)

    pair.origin.behave = behave
    try:
        with pytest.raises(http.client.IncompleteRead):
            pair.call("idle.test", "/falls-silent")
    finally:
        release.set()
    limit = "1 s without an octet (spec.retry.perTryIdleTimeout of BackendPolicy/default/idle), after 1 attempt"
    assert pair.logged("/falls-silent")["response_code_details"] == f"upstream_per_try_idle_timeout{{{limit}}}"
    assert len(pair.origin.take()) == 1


# -- hedging ----------------------------------------------------------------------------------------------------------


class Race:
    """Two apps of which the first to be asked waits, and the second answers; or as `first` and `second` say."""

    def __init__(self, pair, first, second) -> None:
        self.pair = pair
        self.asked = []
        self.release = threading.Event()
        self.second_asked = threading.Event()
        self._behaviours = [first, second]
        self._lock = threading.Lock()
        pair.origin.behave = pair.shadow.behave = self._behave

    def _behave(self, wire, request):
        with self._lock:
            self.asked.append(request)
            number = len(self.asked)
        if number == 2:
            self.second_asked.set()
        self._behaviours[number - 1](self, wire)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release.set()
        self.second_asked.set()
        self.pair.shadow.behave = always_ok


def waits(race, wire):
    race.release.wait(20)


def answers(body, status=b"200 OK"):
    def answer(race, wire):
        wire.sock.sendall(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))

    return answer


def answers_late(race, wire):
    race.second_asked.wait(20)
    answers(b"first")(race, wire)


@pytest.mark.parametrize("body", [None, b"whole"])
def test_a_second_try_answers_while_the_first_still_waits(pair, body):
    path = f"/hedged/{bool(body)}"
    with Race(pair, waits, answers(b"second")) as race:
        answer = pair.call("hedge.test", path, "PUT" if body else "GET", body)
        assert (answer.status, answer.body) == (200, b"second")
        assert [request.body for request in race.asked] == [body or b""] * 2
    entry = pair.logged(path)
    assert (entry["attempts"], entry["response_code"], entry["bytes_sent"]) == (2, 200, 6)
    assert {bool(pair.origin.take()), bool(pair.shadow.take())} == {True}


def test_the_first_try_may_still_win(pair):
    with Race(pair, answers_late, waits):
        assert pair.call("hedge.test", "/late").body == b"first"


def test_a_server_error_of_the_second_does_not_win(pair):
    def answers_after_the_error(race, wire):
        race.second_asked.wait(20)
        time.sleep(0.3)
        answers(b"first")(race, wire)

    with Race(pair, answers_after_the_error, answers(b"no", b"503 Busy")):
        assert pair.call("hedge.test", "/error").body == b"first"


def test_a_server_error_of_the_first_waits_for_the_second(pair):
    def fails_late(race, wire):
        race.second_asked.wait(20)
        answers(b"no", b"503 Busy")(race, wire)

    def answers_after_the_error(race, wire):
        time.sleep(0.3)
        answers(b"second")(race, wire)

    with Race(pair, fails_late, answers_after_the_error):
        assert pair.call("hedge.test", "/error").body == b"second"


def test_where_both_fail_the_first_failure_is_told(pair):
    def hangs_up_late(race, wire):
        race.second_asked.wait(20)
        raise Hangup

    def hangs_up(race, wire):
        raise Hangup

    with Race(pair, hangs_up_late, hangs_up):
        answer = pair.call("hedge.test", "/both")
    assert answer.status == 502
    assert "error=connection_terminated" in answer.fields["proxy-status"]


def test_a_post_is_not_hedged(pair):
    with Race(pair, waits, answers(b"second")) as race:
        assert pair.call("hedge.test", "/post", "POST", b"once").status == 504
        assert len(race.asked) == 1


# -- what the app says of it ------------------------------------------------------------------------------------------


def first(pair, answer):
    """The app answers so once, then as always."""

    def behave(wire, request):
        wire.sock.sendall(answer if len(pair.origin.requests) == 1 else ok())

    pair.origin.behave = behave


@pytest.mark.parametrize("field", ["Retry-After", "X-RateLimit-Reset"])
def test_the_next_attempt_comes_when_the_app_asks_for_it(pair, field):
    value = 1 if field == "Retry-After" else int(time.time()) + 2
    first(pair, f"HTTP/1.1 429 Slow Down\r\n{field}: {value}\r\nContent-Length: 0\r\n\r\n".encode())
    answer = pair.call("again.test")
    assert (answer.status, len(pair.origin.requests)) == (200, 2)
    assert answer.seconds >= 0.99


def test_a_pause_that_the_deadline_does_not_allow_is_none(pair):
    first(pair, b"HTTP/1.1 429 Slow Down\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n")
    answer = pair.call("again.test")
    assert (answer.status, len(pair.origin.requests)) == (429, 1)
    assert answer.fields["retry-after"] == "3"


def test_a_field_that_the_policy_lists_is_tried_again_whatever_the_status(pair):
    first(pair, ok(b"not yet", b"X-Again: yes"))
    answer = pair.call("again.test")
    assert (answer.status, answer.body, len(pair.origin.requests)) == (200, b"ok", 2)
    pair.origin.take()
    first(pair, ok(b"not yet", b"X-Again: yes"))
    assert pair.call("again.test", method="POST").body == b"not yet"
