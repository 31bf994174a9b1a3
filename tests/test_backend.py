"""A service port as its BackendPolicy says."""

import pytest
from support.compiled import ENTRY, backend_policy, found, service

from meshd.core.route import RetryPolicy, Route
from meshd.upstream.cluster import ClusterSettings

# -- settings ---------------------------------------------------------------------------------------------------------


def test_a_policy_that_says_nothing_is_the_house_s_default(build):
    plain, said = build(service()), build(service(), backend_policy())
    assert said.clusters["shop/web:80"].settings == plain.clusters["shop/web:80"].settings == ClusterSettings()
    assert found(said) == found(plain)


def test_a_policy_s_words_become_settings_and_route(build):
    spec = """
connections: {max: 7, maxPending: 8, idleTimeout: 9s, maxLifetime: 10s}, warm: {min: 2, mode: lazy},
connectTimeout: 3s, timeout: 4s,
retry: {attempts: 5, perTryTimeout: 2s, codes: [503], bufferLimit: 1Ki, methods: [GET, POST],
 backoff: {base: 1s, max: 2s}, budget: {percent: 50, minPerSecond: 3, window: 6s}}"""
    snapshot = build(service(), backend_policy(spec))
    settings, route = snapshot.clusters["shop/web:80"].settings, found(snapshot)
    pool = settings.pool
    assert (pool.max_connections, pool.max_pending, pool.warm, pool.eager) == (7, 8, 2, False)
    assert (pool.idle_timeout, pool.max_lifetime, settings.connect_timeout) == (9, 10, 3)
    assert (settings.budget_share, settings.budget_per_second, settings.budget_window) == (0.5, 3, 6)
    assert (route.timeout, route.attempt_timeout, route.retry.attempts) == (4, 2, 5)
    assert (route.retry.codes, route.retry.buffer) == ({503}, 1024)
    assert (route.retry.backoff_base, route.retry.backoff_max) == (1, 2)
    assert route.retry.safe_methods == {b"GET", b"POST"}
    assert route.retry.safe_only == RetryPolicy().safe_only | {"retriable-status-codes"}


@pytest.mark.parametrize(("spec", "timeout"), [("timeout: 0s", None), ("timeout: null", Route("").timeout)])
def test_no_time_limit_is_zero_and_not_silence(build, spec, timeout):
    assert found(build(service(), backend_policy(spec))).timeout == timeout


@pytest.mark.parametrize(
    ("on", "any_method", "safe_only"),
    [
        ("[]", set(), set()),
        ("[connect-failure]", {"connect-failure"}, set()),
        ("[5xx, connect-failure]", {"connect-failure"}, {"5xx"}),
    ],
)
def test_conditions_of_retry_are_sorted_by_what_they_may_repeat(build, on, any_method, safe_only):
    retry = found(build(service(), backend_policy(f"retry: {{on: {on}}}"))).retry
    assert (retry.any_method, retry.safe_only) == (any_method, safe_only)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_policy_of_a_port_stands_over_that_of_the_service(build, reverse):
    policies = [backend_policy("timeout: 1s", "a"), backend_policy("timeout: 2s", "b", "name: web, port: 80")]
    names = ["z", "y"] if reverse else ["a", "b"]
    policies = [
        text.replace(f"name: {old},", f"name: {new},")
        for text, old, new in zip(policies, ("a", "b"), names, strict=True)
    ]
    assert found(build(service(), *policies)).timeout == 2
    other = backend_policy("timeout: 2s", "b", "name: web, port: 81")
    assert found(build(service(), other)).timeout == Route("").timeout


def test_a_service_entry_is_targeted_by_the_name_of_its_document(build):
    policy = backend_policy("timeout: 3s", target="kind: ServiceEntry, name: out")
    assert found(build(ENTRY, policy), authority="api.test").timeout == 3


@pytest.mark.parametrize("spec", ["timeout: 0s", "timeout: null", "warm: {min: 1}", "retry: {perTryTimeout: 0s}"])
def test_no_response_is_limited_in_time_unless_a_document_says_so(build, spec):
    route = found(build(service(), backend_policy(spec)))
    assert (route.timeout, route.attempt_timeout, route.idle_timeout) == (None, None, 300.0)


@pytest.mark.parametrize("spec", ["timeout: 10m", "retry: {perTryTimeout: 600s}"])
def test_silence_is_allowed_for_as_long_as_the_whole_response(build, spec):
    assert found(build(service(), backend_policy(spec))).idle_timeout == 600


@pytest.mark.parametrize("name", ["http", "grpc", "unnamed"])
def test_a_service_without_a_policy_has_no_time_limit_of_ours(build, name):
    assert found(build(service().replace("name: http", f"name: {name}"))).timeout is None
