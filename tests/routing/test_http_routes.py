"""Routes attach to the ports they name, callers' own go first, and what cannot be served is answered with 500."""

import pytest
from support.requests import request

from meshd.config.http_route import HTTPRoute
from meshd.core.chain import EMPTY_CHAIN, Chain
from meshd.core.route import RetryPolicy, Route
from meshd.routing.http_routes import Defaults, Parent, World, build_table

KNOWN = {("Service", "shop/v1", 80): "shop/v1:80", ("Service", "shop/v2", 80): "shop/v2:80"}
KNOWN |= {("ServiceEntry", "shop/out", 443): "api.test:443", ("Hostname", "api.test", 0): "api.test:443"}
DEFAULTS = Defaults(Route("default", timeout=7.0, attempt_timeout=3.0), "shop/web:80")
WEB = Parent("Service", "shop", "web", 80, "http")


def chain_of(filters, prefix, _cluster_of):
    """Chains that can be told apart: each filter's type, and the prefix it got."""
    return Chain(tuple((each.type, prefix) for each in filters)) if filters else EMPTY_CHAIN


def no_sessions(_document, _rule, _clusters):
    raise AssertionError("no rule here keeps sessions")


WORLD = World(lambda kind, name, port: KNOWN.get((kind, name, port), ""), chain_of, no_sessions)


def backend(name="v1", **more):
    return {"name": name, "port": 80} | more


def rule(*backends, **more):
    return {"backendRefs": list(backends)} | more


def path(value, kind="PathPrefix"):
    return {"path": {"type": kind, "value": value}}


def route(*rules, name="r", namespace="shop", parent=None, created=None):
    metadata = {"name": name, "namespace": namespace} | ({"creationTimestamp": created} if created else {})
    ref = {"group": "", "kind": "Service", "name": "web", "namespace": "shop"} | (parent or {})
    document = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata,
        "spec": {"parentRefs": [ref], "rules": list(rules) or [rule(backend())]},
    }
    return HTTPRoute.model_validate(document)


def find(*routes, target="/", parent=WEB, namespace="shop", defaults=DEFAULTS, **given):
    return build_table(parent, routes, namespace, defaults, WORLD).find(request(target, **given))


def clusters(found):
    return [(each.cluster, each.weight) for each in found.targets]


def test_a_service_without_routes_gets_its_own_traffic():
    found = find(target="/any")
    assert (found.name, found.template, clusters(found)) == ("Service/shop/web", "/*", [("shop/web:80", 1)])
    assert (found.timeout, found.total_weight) == (7.0, 1)


def test_a_request_that_no_rule_takes_has_no_route():
    assert find(route(rule(backend(), matches=[path("/a")])), target="/b") is None


@pytest.mark.parametrize(
    ("parent", "attaches"),
    [
        ({}, True),
        ({"port": 80}, True),
        ({"port": 81}, False),
        ({"sectionName": "http"}, True),
        ({"sectionName": "grpc"}, False),
        ({"sectionName": "http", "port": 81}, False),
        ({"name": "other"}, False),
        ({"namespace": "elsewhere"}, False),
        ({"kind": "Gateway", "group": "gateway.networking.k8s.io"}, False),
        ({"kind": "ServiceEntry", "group": "networking.istio.io"}, False),
    ],
)
def test_a_route_attaches_to_what_its_reference_names(parent, attaches):
    found = find(route(parent=parent))
    assert found.name == ("HTTPRoute/shop/r/0" if attaches else "Service/shop/web")


def test_a_reference_without_a_namespace_means_the_route_s_own():
    document = route().model_dump(by_alias=True)
    assert document["spec"]["parentRefs"][0].pop("namespace")
    document["metadata"]["namespace"] = "elsewhere"
    assert find(HTTPRoute.model_validate(document), namespace="elsewhere").name == "Service/shop/web"


def test_a_service_entry_can_be_a_parent():
    parent = Parent("ServiceEntry", "shop", "out", 443, "tls")
    attached = route(parent={"kind": "ServiceEntry", "group": "networking.istio.io", "name": "out"})
    assert find(attached, parent=parent).name == "HTTPRoute/shop/r/0"
    assert find(route(parent={"name": "out"}), parent=parent).name == "ServiceEntry/shop/out"


@pytest.mark.parametrize(
    ("caller", "expected"), [("front", "HTTPRoute/front/mine/0"), ("shop", "HTTPRoute/shop/theirs/0")]
)
def test_a_caller_s_own_route_goes_before_the_service_s(caller, expected):
    routes = [route(name="theirs"), route(name="mine", namespace="front")]
    assert find(*routes, namespace=caller).name == expected


def test_a_caller_s_own_route_replaces_the_service_s_whole_even_where_that_is_more_specific():
    theirs = route(rule(backend("v2"), matches=[path("/a")]), name="theirs")
    mine = route(rule(backend(), matches=[path("/a"), path("/b", "Exact")]), name="mine", namespace="zoo")
    assert find(theirs, mine, namespace="zoo", target="/a/x").name == "HTTPRoute/zoo/mine/0"
    theirs = route(rule(backend("v2"), matches=[path("/c")]), name="theirs")
    assert find(theirs, mine, namespace="zoo", target="/c") is None


def test_a_route_of_a_third_namespace_binds_nobody_else():
    assert find(route(namespace="front"), namespace="back").name == "Service/shop/web"


def test_of_equals_the_oldest_then_the_first_by_name_then_the_first_rule_wins():
    young = route(name="a", created="2026-02-01T00:00:00Z")
    old = route(name="z", created="2026-01-01T00:00:00Z")
    twin = route(name="y", created="2026-01-01T00:00:00Z")
    assert find(young, old).name == "HTTPRoute/shop/z/0"
    assert find(young, old, twin).name == "HTTPRoute/shop/y/0"
    assert find(route(rule(backend(), name="first"), rule(backend("v2")))).name == "HTTPRoute/shop/r/first"


def test_the_more_specific_match_wins_over_the_older_route():
    old = route(rule(backend()), name="old", created="2020-01-01T00:00:00Z")
    young = route(rule(backend("v2"), matches=[path("/a")]), name="young", created="2026-01-01T00:00:00Z")
    assert find(old, young, target="/a/b").name == "HTTPRoute/shop/young/0"
    assert find(old, young, target="/b").name == "HTTPRoute/shop/old/0"


def test_each_match_of_a_rule_is_a_way_in():
    matches = [path("/a"), path("/b", "Exact"), path("/c.*", "RegularExpression")]
    for target, template in (("/a/x", "/a/*"), ("/b", "/b"), ("/cc", "/c.*")):
        assert find(route(rule(backend(), matches=matches)), target=target).template == template


def test_backends_keep_their_weights_and_missing_ones_have_no_cluster():
    found = find(route(rule(backend(weight=7), backend("v2", weight=0), backend("gone", weight=3))))
    assert clusters(found) == [("shop/v1:80", 7), ("shop/v2:80", 0), ("", 3)]
    assert found.total_weight == 10


@pytest.mark.parametrize(
    ("ref", "cluster"),
    [
        (backend(), "shop/v1:80"),
        (backend(port=81), ""),
        (backend(namespace="elsewhere"), ""),
        (backend("out", kind="ServiceEntry", group="networking.istio.io", port=443), "api.test:443"),
        (backend("out", kind="ServiceEntry", group="example.test", port=443), ""),
        ({"name": "API.test", "kind": "Hostname", "group": "networking.istio.io"}, "api.test:443"),
        (backend("v1", kind="Pod", group="example.test"), ""),
    ],
)
def test_a_backend_is_found_by_kind_name_and_port(ref, cluster):
    assert find(route(rule(ref))).targets[0].cluster == cluster


def test_a_rule_without_backends_has_no_targets():
    found = find(route(rule()))
    assert (found.targets, found.total_weight) == ((), 0)


def test_filters_of_rule_and_backend_learn_the_prefix_that_matched():
    edit = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "a", "value": "b"}]}}
    found = find(route(rule(backend(filters=[edit]), filters=[edit], matches=[path("/a/")])), target="/a/b")
    assert found.chain.on_request == (("RequestHeaderModifier", b"/a"),)
    assert found.targets[0].chain.on_request == (("RequestHeaderModifier", b"/a"),)
    exact = find(route(rule(backend(), filters=[edit], matches=[path("/a", "Exact")])), target="/a")
    assert exact.chain.on_request == (("RequestHeaderModifier", b""),)


@pytest.mark.parametrize(
    ("timeouts", "expected"),
    [
        ({}, (7.0, 3.0)),
        ({"request": "2s"}, (2.0, 3.0)),
        ({"request": "0s"}, (None, 3.0)),
        ({"backendRequest": "500ms"}, (7.0, 0.5)),
        ({"backendRequest": "0s"}, (7.0, None)),
        ({"request": "2s", "backendRequest": "1s"}, (2.0, 1.0)),
    ],
)
def test_time_limits_of_a_rule_stand_over_the_default_and_zero_means_none(timeouts, expected):
    found = find(route(rule(backend(), timeouts=timeouts)))
    assert (found.timeout, found.attempt_timeout) == expected


def test_the_codes_of_a_rule_stand_in_the_place_of_other_conditions_on_responses():
    policy = find(route(rule(backend(), retry={"codes": [500, 503], "attempts": 4, "backoff": "100ms"}))).retry
    assert (policy.attempts, policy.codes) == (4, {500, 503})
    assert policy.any_method == RetryPolicy().any_method  # a connection that failed is tried again whatever the codes
    assert policy.safe_only == {"reset", "retriable-status-codes"}
    assert (policy.backoff_min, policy.backoff_base, policy.backoff_max) == (0.1, 0.1, 1.0)


@pytest.mark.parametrize(
    ("of_service", "of_rule"),
    [
        ({"5xx"}, {"reset", "retriable-status-codes"}),
        ({"gateway-error", "unavailable"}, {"reset", "retriable-status-codes"}),
        ({"retriable-4xx", "internal", "connect-failure"}, {"connect-failure", "retriable-status-codes"}),
    ],
)
def test_what_is_said_of_the_service_gives_way_to_the_codes_of_the_rule(of_service, of_rule):
    policy = RetryPolicy(attempts=2, codes=frozenset({418}), any_method=frozenset(), safe_only=frozenset(of_service))
    defaults = Defaults(Route("web", retry=policy), "shop/web:80")
    found = find(route(rule(backend(), retry={"codes": [503]})), defaults=defaults).retry
    assert (found.attempts, found.codes, found.safe_only) == (2, {503}, of_rule)
    kept = find(route(rule(backend(), retry={"attempts": 0})), defaults=defaults).retry
    assert (kept.attempts, kept.codes, kept.safe_only) == (0, {418}, of_service)


def test_a_retry_that_says_nothing_is_one_more_attempt():
    policy = find(route(rule(backend(), retry={}))).retry
    assert (policy.attempts, policy.codes) == (1, frozenset())
    assert (policy.backoff_base, policy.backoff_max) == (RetryPolicy().backoff_base, RetryPolicy().backoff_max)
    assert find(route(rule(backend()))).retry == RetryPolicy()


def test_sessions_are_kept_after_all_filters_and_among_the_backends_that_exist():
    asked = []

    def session_chain(document, rule, clusters):
        asked.append((document.header.name, rule, clusters))
        return Chain(("session",))

    keeping = {"type": "Header", "header": {"name": "s"}}
    edit = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["a"]}}
    kept = route(rule(backend(), backend("nowhere"), sessionPersistence=keeping, filters=[edit]))
    (found,) = build_table(WEB, [kept], "shop", DEFAULTS, World(WORLD.find, chain_of, session_chain)).routes
    assert asked == [("s", "HTTPRoute/shop/r/0", ("shop/v1:80",))]
    assert found.chain.on_request == (("RequestHeaderModifier", b""), "session")
