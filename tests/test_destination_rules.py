"""A DestinationRule acts on the destinations it names, and what it says goes before everything else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.config.destination_rule import DestinationRule
from meshd.destination_rules import (
    Caller,
    RulesByHost,
    Treatment,
    places_of,
    places_under,
    rule_for,
    settings_under,
    treatment,
)
from meshd.discovery.known_port import KnownPort, Place
from meshd.upstream.cluster import ClusterSettings
from meshd.upstream.outlier import OutlierPolicy
from meshd.upstream.pool import PoolSettings

CALLER = Caller("web", {"app": "front"}, "istio-system")
FULL = "reviews.shop.svc.cluster.local"
KNOWN = KnownPort(
    "Service", "shop", "reviews", 80, "http", "http", ("reviews.shop", "reviews.shop.svc", FULL), True, ()
)
ENTRY = KnownPort("ServiceEntry", "shop", "out", 443, "tls", "tls", ("api.test", "*.b.test"), True, ())


def rule(host="reviews.shop", namespace="shop", name="r", **spec):
    return DestinationRule.model_validate(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"host": host} | spec,
        }
    )


def under(policy, settings=None, port=80):
    return settings_under(treatment(rule(trafficPolicy=policy), port), settings or ClusterSettings())


@pytest.mark.parametrize(
    ("host", "namespace", "known", "acts"),
    [
        ("reviews", "shop", KNOWN, True),
        ("reviews", "web", KNOWN, False),  # web's own service of that name
        ("reviews.shop", "web", KNOWN, True),
        (FULL, "web", KNOWN, True),
        (f"{FULL}.", "web", KNOWN, True),
        ("Reviews.Shop", "web", KNOWN, True),
        ("reviews.other", "shop", KNOWN, False),
        ("*.shop.svc.cluster.local", "shop", KNOWN, True),
        ("*", "istio-system", KNOWN, True),
        ("*", "elsewhere", KNOWN, False),
        ("reviews.shop", "elsewhere", KNOWN, False),
        ("api.test", "shop", ENTRY, True),
        ("*.b.test", "shop", ENTRY, True),
        ("a.b.test", "shop", ENTRY, False),
        ("*.test", "shop", ENTRY, True),
    ],
)
def test_hosts_and_namespaces(host, namespace, known, acts):
    assert (rule_for([rule(host, namespace)], known, CALLER) is not None) is acts


def test_the_nearest_namespace_then_the_most_special_host():
    rules = [
        rule("*", "istio-system", "mesh"),
        rule(FULL, "istio-system", "mesh-host"),
        rule("*.svc.cluster.local", "shop", "theirs"),
        rule("*.shop.svc.cluster.local", "shop", "theirs-nearer"),
        rule("*", "web", "ours"),
    ]
    order = []
    while rules:
        order.append(rule_for(rules, KNOWN, CALLER).name)
        rules = [each for each in rules if each.name != order[-1]]
    assert order == ["ours", "theirs-nearer", "theirs", "mesh-host", "mesh"]
    assert rule_for([rule(name="a"), rule(name="b")], KNOWN, CALLER).name == "a"


@pytest.mark.parametrize(
    ("namespace", "spec", "acts"),
    [
        ("shop", {"exportTo": ["*"]}, True),
        ("shop", {"exportTo": ["web"]}, True),
        ("shop", {"exportTo": ["."]}, False),
        ("web", {"exportTo": ["."]}, True),
        ("web", {"workloadSelector": {"matchLabels": {"app": "front"}}}, True),
        ("web", {"workloadSelector": {"matchLabels": {"app": "back"}}}, False),
        ("shop", {"workloadSelector": {"matchLabels": {"app": "front"}}}, False),
    ],
)
def test_whom_a_rule_is_for(namespace, spec, acts):
    assert (rule_for([rule(namespace=namespace, **spec)], KNOWN, CALLER) is not None) is acts


@pytest.mark.parametrize(
    ("balancer", "found"),
    [
        ({}, ("PEAK_EWMA", 0, "")),
        ({"simple": "UNSPECIFIED"}, ("PEAK_EWMA", 0, "")),
        ({"simple": "ROUND_ROBIN"}, ("ROUND_ROBIN", 0, "")),
        ({"simple": "RANDOM"}, ("RANDOM", 0, "")),
        ({"simple": "LEAST_CONN"}, ("LEAST_REQUEST", 0, "")),
        ({"simple": "LEAST_REQUEST"}, ("LEAST_REQUEST", 0, "")),
        ({"consistentHash": {"httpHeaderName": "X-User"}}, ("RING_HASH", 1024, "header:X-User")),
        (
            {"consistentHash": {"httpCookie": {"name": "u"}, "ringHash": {"minimumRingSize": 9}}},
            ("RING_HASH", 9, "cookie:u"),
        ),
        ({"consistentHash": {"httpQueryParameterName": "q", "minimumRingSize": 7}}, ("RING_HASH", 7, "query:q")),
        ({"consistentHash": {"useSourceIp": True, "maglev": {"tableSize": 7}}}, ("MAGLEV", 7, "source-ip")),
    ],
)
def test_balancers(balancer, found):
    settings = under({"loadBalancer": balancer})
    assert (settings.balancer, settings.balancer_size, settings.hash_by) == found


def test_bounds_of_connections():
    tcp = {"maxConnections": 3, "connectTimeout": "2s", "maxConnectionDuration": "60s"}
    given = {"tcp": tcp, "http": {"http1MaxPendingRequests": 5, "idleTimeout": "7s"}}
    settings = under({"connectionPool": given}, ClusterSettings(pool=PoolSettings(warm=8, eager=False)))
    assert settings.connect_timeout == 2.0
    assert settings.pool == PoolSettings(
        max_connections=3, max_pending=5, warm=3, eager=False, idle_timeout=7.0, max_lifetime=60.0
    )
    nothing = {"tcp": {"maxConnections": 0}, "http": {"http1MaxPendingRequests": 0}}
    assert under({"connectionPool": nothing}) == ClusterSettings()


def test_ejection():
    given = {
        "consecutive5xxErrors": 3,
        "consecutiveGatewayErrors": 2,
        "splitExternalLocalOriginErrors": True,
        "consecutiveLocalOriginFailures": 4,
        "interval": "1s",
        "baseEjectionTime": "2s",
        "maxEjectionPercent": 50,
        "minHealthPercent": 20,
        "outlierDetectionHttpErrorCodes": [429],
    }
    assert under({"outlierDetection": given}).outlier == OutlierPolicy(
        consecutive_5xx_errors=3,
        consecutive_gateway_errors=2,
        consecutive_local_origin_failures=4,
        split_external_local_origin_errors=True,
        interval=1.0,
        base_ejection_time=2.0,
        max_ejection_percent=50,
        min_health_percent=20,
        error_codes=frozenset({429}),
    )
    assert under({"outlierDetection": {}}).outlier == OutlierPolicy()
    assert under({"outlierDetection": {"consecutive5xxErrors": 0}}).outlier.consecutive_5xx_errors == 0


def test_the_budget_of_retries():
    settings = under({"retryBudget": {"percent": 50.0, "budgetInterval": "3s"}})
    assert (settings.budget_share, settings.budget_window) == (0.5, 3.0)


PORTS = {
    "loadBalancer": {"simple": "RANDOM"},
    "connectionPool": {"tcp": {"maxConnections": 3}},
    "portLevelSettings": [{"port": {"number": 81}, "loadBalancer": {"simple": "ROUND_ROBIN"}}],
}


def test_a_port_inherits_nothing():
    assert (under(PORTS).balancer, under(PORTS).pool.max_connections) == ("RANDOM", 3)
    at_port = under(PORTS, port=81)
    assert (at_port.balancer, at_port.pool) == ("ROUND_ROBIN", PoolSettings())


def test_a_subset_inherits_what_it_does_not_say():
    subset = {"name": "v1", "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}}}
    document = rule(trafficPolicy=PORTS, subsets=[subset, {"name": "v2"}])
    first, second = (treatment(document, 80, each) for each in document.spec.subsets)
    assert settings_under(first, ClusterSettings()).balancer == "ROUND_ROBIN"
    assert settings_under(first, ClusterSettings()).pool.max_connections == 3
    assert second == treatment(document, 80)


def test_without_a_rule_nothing_changes():
    settings = ClusterSettings(balancer="RANDOM")
    assert treatment(None, 80) == Treatment()
    assert settings_under(Treatment(), settings) == settings
    assert places_under(Treatment(), (Place("a", 1),)) == (Place("a", 1),)


MESH = Place("10.0.0.1", 80, mutual=True, identities=frozenset({"spiffe://td/a"}), server_name="a.test")


@pytest.mark.parametrize(
    ("tls", "changed"),
    [
        ({"mode": "DISABLE"}, {"mutual": False}),
        ({"mode": "ISTIO_MUTUAL"}, {}),
        ({"mode": "ISTIO_MUTUAL", "sni": "b.test"}, {"server_name": "b.test"}),
        ({"mode": "ISTIO_MUTUAL", "subjectAltNames": ["spiffe://td/b"]}, {"identities": frozenset({"spiffe://td/b"})}),
    ],
)
def test_how_endpoints_are_dialled(tls, changed):
    given = treatment(rule(trafficPolicy={"tls": tls}), 80)
    assert places_under(given, (MESH,)) == (replace(MESH, **changed),)
    plain = replace(MESH, mutual=False)
    assert places_under(given, (plain,))[0].mutual is (tls["mode"] == "ISTIO_MUTUAL")


labels = st.dictionaries(st.sampled_from("ab"), st.sampled_from("12"))


@given(labels, st.lists(labels, max_size=5))
def test_a_subset_is_who_carries_its_labels(wanted, endpoints):
    document = rule(subsets=[{"name": "v1", "labels": wanted}])
    places = tuple(Place("a", port, labels=tuple(each.items())) for port, each in enumerate(endpoints))
    chosen = [place.port for place in places_of(document.spec.subsets[0], places)]
    assert chosen == [
        port for port, each in enumerate(endpoints) if all(each.get(key) == wanted[key] for key in wanted)
    ]


HOSTS = [
    "reviews",
    "reviews.shop",
    FULL,
    f"{FULL}.",
    "*",
    "*.shop",
    "*.svc.cluster.local",
    "*s.shop",
    "api.test",
    "*.test",
]


@given(st.lists(st.tuples(st.sampled_from(HOSTS), st.sampled_from(["shop", "web", "istio-system", "far"])), max_size=8))
def test_the_index_by_host_chooses_as_looking_at_all_rules_does(given_rules):
    rules = [rule(host, namespace, f"r{place}") for place, (host, namespace) in enumerate(given_rules)]
    index = RulesByHost(rules)
    for known in (KNOWN, ENTRY):
        assert rule_for(index.find(known), known, CALLER) is rule_for(rules, known, CALLER)
