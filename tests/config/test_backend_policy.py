"""BackendPolicy: defaults, and what does not go together."""

import pytest
from support.documents import document, problems_of, text_of

VERSION = "meshd.dev/v1alpha1"


def text(spec):
    return text_of("BackendPolicy", VERSION, f"targetRefs: [{{name: echo}}]\n{spec}")


def fields(spec):
    return [problem.field.removeprefix("spec.") for problem in problems_of(text(spec))]


def test_defaults():
    spec = document(text("")).model.spec
    assert (spec.warm.mode, spec.warm.min) == ("eager", 1)
    assert (spec.retry.attempts, spec.retry.on, spec.retry.buffer_limit) == (1, None, 65536)
    assert (spec.retry.budget.percent, spec.retry.budget.min_per_second, spec.retry.budget.window) == (20, 10, 10)
    assert (spec.retry.backoff.base, spec.retry.backoff.max) == (0.025, 0.25)
    assert (spec.timeout, spec.connect_timeout, spec.health_check) == (None, 1, None)
    assert (spec.tls.resumption, spec.tls.early_data) == (True, False)
    assert (spec.socket.no_delay, spec.socket.fast_open, spec.socket.keepalive.time) == (True, False, 180)


def test_null_turns_parts_off():
    spec = document(text("retry: {budget: null}\nsocket: {keepalive: null}\ntimeout: null")).model.spec
    assert (spec.retry.budget, spec.socket.keepalive, spec.timeout) == (None, None, None)


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("retry: {on: [5xx, 5xx]}", ["retry.on[1]"]),
        ("retry: {on: [5xx], codes: [503]}", ["retry.codes"]),
        ("retry: {on: [retriable-status-codes]}", ["retry.codes"]),
        ("retry: {on: [retriable-status-codes], codes: [503]}", []),
        ("retry: {on: [retriable-headers]}", ["retry.headers"]),
        ("retry: {on: [reset], headers: [x-again]}", ["retry.headers"]),
        ("retry: {on: [retriable-headers, envoy-ratelimited], headers: [x-again]}", []),
        ("retry: {backoff: {resetHeaders: [{name: Retry-After}], resetMax: 60s}}", []),
        ("retry: {codes: [503]}", []),
        ("retry: {attempts: 11}", ["retry.attempts"]),
        ("retry: {backoff: {base: 1s}}", ["retry.backoff.max"]),
        ("retry: {perTryTimeout: 2s}\ntimeout: 1s", ["retry.perTryTimeout"]),
        ("retry: {hedgeOnPerTryTimeout: true}", ["retry.perTryTimeout"]),
        ("retry: {hedgeOnPerTryTimeout: true, perTryTimeout: 1s}", []),
        ("warm: {min: 2000}", ["warm.min"]),
        ("warm: {min: 10}\nconnections: {max: 5}", ["warm.min"]),
        ("connections: {max: 0}", ["connections.max"]),
        ("healthCheck: {}", ["healthCheck"]),
        ("healthCheck: {http: {path: /ready}, timeout: 20s}", ["healthCheck.timeout"]),
        ("healthCheck: {grpc: {}, interval: 5s}", []),
        ("tls: {resumption: false, earlyData: true}", ["tls.earlyData"]),
        ("retry: null", ["retry"]),
        ("status: {}", ["status"]),
    ],
)
def test_what_goes_together(spec, found):
    assert fields(spec) == found


def test_targets_are_told_apart():
    spec = "targetRefs: [{name: a}, {name: a, port: 1}, {name: a}, {kind: ServiceEntry, name: a}]"
    assert [problem.field for problem in problems_of(text_of("BackendPolicy", VERSION, spec))] == ["spec.targetRefs[2]"]
    assert [problem.field for problem in problems_of(text_of("BackendPolicy", VERSION, "targetRefs: []"))] == [
        "spec.targetRefs"
    ]


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("request-id", True),
        ("principal", True),
        ("header:x-user", True),
        ("cookie:user", True),
        ("'header:'", False),
        ("user", False),
        ("'cookie:a b'", False),
    ],
)
def test_what_a_split_is_sticky_by(value, good):
    assert fields(f"stickySplit: {value}") == ([] if good else ["stickySplit"])
