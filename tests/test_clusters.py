"""What survives from one snapshot to the next, and what rules about destinations make of services."""

import pytest
from support.compiled import ENTRY, INBOUND, PLAIN, SERVICE, SLICE, backend_policy, service
from support.requests import exchange_of, request

from meshd.config.errors import ConfigError
from meshd.discovery.known_port import Place
from meshd.upstream.cluster import ClusterSettings

# -- what survives ----------------------------------------------------------------------------------------------------


def test_what_has_not_changed_is_the_same_object(build):
    first = build(service(), ENTRY, backend_policy("timeout: 3s"))
    second = build(service(), ENTRY, backend_policy("timeout: 3s"), previous=first)
    assert set(second.clusters) == {"shop/web:80", "api.test:80"}
    for name, cluster in first.clusters.items():
        assert second.clusters[name] is cluster
    assert second.places == first.places
    assert (first.generation, second.generation) == (1, 2)
    assert second.dialler is first.dialler


def test_new_places_leave_the_cluster_for_the_server_to_tell(build):
    first = build(service())
    second = build(service(address="10.0.0.2"), previous=first)
    cluster = second.clusters["shop/web:80"]
    assert cluster is first.clusters["shop/web:80"]
    assert [each.address for each in cluster.endpoints] == ["10.0.0.1"]  # until it is swapped in
    assert [each.address for each in second.places["shop/web:80"]] == ["10.0.0.2"]
    assert [each.address for each in first.places["shop/web:80"]] == ["10.0.0.1"]


@pytest.mark.parametrize(
    "spec", ["connectTimeout: 3s", "warm: {min: 2}", "connections: {max: 7}", "retry: {budget: null}"]
)
def test_other_settings_make_another_cluster(build, spec):
    first = build(service(), service("other"))
    second = build(service(), service("other"), backend_policy(spec), previous=first)
    assert second.clusters["shop/web:80"] is not first.clusters["shop/web:80"]
    assert second.clusters["shop/other:80"] is first.clusters["shop/other:80"]


@pytest.mark.parametrize("spec", ["timeout: 3s", "retry: {attempts: 5}"])
def test_what_is_the_route_s_leaves_the_cluster(build, spec):
    first = build(service())
    second = build(service(), backend_policy(spec), previous=first)
    assert second.clusters["shop/web:80"] is first.clusters["shop/web:80"]


def test_what_is_gone_is_gone(build):
    first = build(service(), service("other"))
    second = build(service(), previous=first)
    assert set(second.clusters) == set(second.places) == {"shop/web:80"}
    assert second.plans["outbound-0"].table(b"other.shop") is None


def test_a_mistake_leaves_what_serves_alone(build):
    first = build(service())
    rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
    rule += "metadata: {name: d, namespace: shop}\n"
    rule += "spec: {host: web, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}"
    with pytest.raises(ConfigError, match="not supported yet"):
        build(service(), rule, previous=first)
    assert (first.generation, set(first.clusters)) == (1, {"shop/web:80"})


def test_without_outbound_listeners_only_the_app_is_a_cluster(build):
    snapshot = build(service(), PLAIN, spec=INBOUND)
    assert set(snapshot.clusters) == {"app:127.0.0.1:8080"}
    assert snapshot.places["app:127.0.0.1:8080"] == (Place("127.0.0.1", 8080),)
    assert repr(snapshot) == "<Snapshot 1: 1 listeners, 1 clusters>"
    again = build(PLAIN, spec=INBOUND, previous=snapshot)
    assert again.clusters["app:127.0.0.1:8080"] is snapshot.clusters["app:127.0.0.1:8080"]


# -- destination rules ------------------------------------------------------------------------------------------------

RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}, tls: {mode: DISABLE}}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
"""
SPLIT = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: web}]
  rules:
  - backendRefs:
    - {group: meshd.dev, kind: Subset, name: web.v1, port: 80, weight: 3}
    - {group: meshd.dev, kind: Subset, name: web.v2}
    - {group: meshd.dev, kind: Subset, name: web.v3}
"""


def versions():
    """A service with an endpoint of each of two versions."""
    labels = "{kubernetes.io/service-name: NAME"
    slices = [
        SLICE.replace("NAME-1", f"NAME-v{number}").replace(labels, f"{labels}, version: v{number}") for number in (1, 2)
    ]
    texts = [text.replace("ADDRESS", f"10.0.0.{place}") for place, text in enumerate(slices, 1)]
    return "---".join([SERVICE, *texts]).replace("NAME", "web")


def test_a_rule_makes_a_cluster_of_every_subset(build):
    snapshot = build(versions(), RULE, SPLIT)
    whole, first, second = (snapshot.clusters[f"shop/web:80{part}"] for part in ("", "/v1", "/v2"))
    assert [each.settings.balancer for each in (whole, first, second)] == ["RING_HASH", "RING_HASH", "RANDOM"]
    addresses = {name: [each.address for each in places] for name, places in snapshot.places.items()}
    assert addresses == {
        "shop/web:80": ["10.0.0.1", "10.0.0.2"],
        "shop/web:80/v1": ["10.0.0.1"],
        "shop/web:80/v2": ["10.0.0.2"],
    }
    assert not any(place.mutual for places in snapshot.places.values() for place in places)
    route = snapshot.plans["outbound-0"].table(b"web.shop").find(request())
    assert [(each.cluster, each.weight) for each in route.targets] == [
        ("shop/web:80/v1", 3),
        ("shop/web:80/v2", 1),
        ("", 1),
    ]


def test_one_user_stays_at_one_endpoint(build):
    cluster = build(versions(), RULE).clusters["shop/web:80"]
    for endpoint in cluster.endpoints:
        cluster.pool(endpoint).warming = False

    def picked(user):
        exchange = exchange_of(headers=[("x-user", user)])
        return {cluster.pick(1.0, cluster.key_of(exchange), ()).address for _ in range(20)}

    each = [picked(str(user)) for user in range(20)]
    assert all(len(found) == 1 for found in each)
    assert set().union(*each) == {"10.0.0.1", "10.0.0.2"}


def test_a_rule_says_more_than_a_backend_policy(build):
    more = "connections: {max: 9}, warm: {min: 0}"
    cluster = build(versions(), RULE, backend_policy(more)).clusters["shop/web:80"]
    assert (cluster.settings.balancer, cluster.settings.pool.max_connections) == ("RING_HASH", 9)


def test_a_rule_that_goes_leaves_nothing_behind(build):
    before = build(versions(), RULE)
    after = build(versions(), previous=before)
    assert set(after.clusters) == {"shop/web:80"}
    assert after.clusters["shop/web:80"].settings == ClusterSettings()
