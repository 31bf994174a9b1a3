"""From documents to the snapshot, and what survives from one to the next."""

import pytest
from support.ca import MeshCA
from support.documents import document
from support.requests import exchange_of, request

from meshd.compile import APP_RETRY, _default_timeout, compile_snapshot
from meshd.config.errors import ConfigError
from meshd.config.load import load_policies
from meshd.core.chain import EMPTY_CHAIN
from meshd.core.endpoint import Tls
from meshd.core.exchange import Attempt
from meshd.core.head import ResponseHead
from meshd.core.route import RetryPolicy, Route
from meshd.discovery.known_port import Place
from meshd.filters.buckets import OCTETS, Buckets
from meshd.filters.ext_authz_grpc import GrpcCheck
from meshd.identity.credentials import load_credentials
from meshd.net.tls import Mode
from meshd.upstream.cluster import ClusterSettings

OUTBOUND = "outbound: [{listen: '127.0.0.1:0'}]"
INBOUND = "inbound: [{listen: '127.0.0.1:0', app: '127.0.0.1:8080'}]"
PLAIN = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: plain, namespace: shop}
spec: {mtls: {mode: DISABLE}}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
"""
SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: NAME-1, namespace: shop, labels: {kubernetes.io/service-name: NAME}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [ADDRESS]}]
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: shop}
spec:
  hosts: [api.test, "*.b.test"]
  ports: [{name: http, number: 80}]
  resolution: STATIC
  endpoints: [{address: 10.1.0.1}]
"""


def service(name="web", address="10.0.0.1"):
    return (SERVICE + "---" + SLICE).replace("NAME", name).replace("ADDRESS", address)


def backend_policy(spec="", name="b", target="name: web"):
    return f"""
apiVersion: meshd.dev/v1alpha1
kind: BackendPolicy
metadata: {{name: {name}, namespace: shop}}
spec: {{targetRefs: [{{{target}}}], {spec}}}
"""


def proxy(spec=OUTBOUND, identity=""):
    text = "apiVersion: meshd.dev/v1alpha1\nkind: Proxy\n"
    text += "metadata: {name: web, namespace: shop, labels: {app: web}}\nspec:\n"
    lines = [each for each in (identity, *spec.splitlines()) if each]
    return document(text + "".join(f"  {line}\n" for line in lines)).model


@pytest.fixture
def build(tmp_path):
    """Compile documents of this text, after another snapshot."""

    def built(*texts, previous=None, spec=OUTBOUND, identity="", credentials=None):
        (tmp_path / "policies.yaml").write_text("\n---\n".join(texts))
        documents = load_policies([tmp_path / "policies.yaml"])
        return compile_snapshot(proxy(spec, identity), documents, credentials, previous)

    return built


def found(snapshot, target="/", authority="web.shop", **given):
    return snapshot.plans["outbound-0"].table(authority.encode()).find(request(target, **given))


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


# -- authorizers outside ----------------------------------------------------------------------------------------------

ASK = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask, namespace: shop}
spec: {action: CUSTOM, provider: {name: door}, rules: [{}], selector: {matchLabels: {app: APP}}}
"""
TOKENS = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: shop}
spec: {jwtRules: [{issuer: a, jwksUri: "http://a.test/"}]}
"""
DOOR = "extensionProviders: [{name: door, envoyExtAuthzHttp: {service: shop/HOST, port: 80}}]"


def test_an_authorizer_is_asked_by_a_cluster_of_its_own(build):
    spec = f"{INBOUND}\n{DOOR.replace('HOST', 'api.test')}"
    snapshot = build(PLAIN, ENTRY, TOKENS, ASK.replace("APP", "web"), spec=spec)
    plan = snapshot.plans["inbound-0"]
    [check] = plan.gate.checks
    asking = check.asking
    assert (asking.name, asking.cluster, asking.route.timeout) == ("door", "api.test:80", 5.0)
    assert set(snapshot.clusters) == {"app:127.0.0.1:8080", "api.test:80"}
    assert len(plan.gate.before.on_request) == 1  # tokens come first, and once
    assert len(plan.chain.on_request) == 1
    again = build(PLAIN, ENTRY, TOKENS, ASK.replace("APP", "web"), spec=spec, previous=snapshot)
    assert again.clusters["api.test:80"] is snapshot.clusters["api.test:80"]


def test_an_authorizer_of_grpc_is_called_by_its_host(build):
    spec = f"{INBOUND}\n{DOOR.replace('HOST', 'api.test').replace('Http', 'Grpc')}"
    [check] = build(PLAIN, ENTRY, ASK.replace("APP", "web"), spec=spec).plans["inbound-0"].gate.checks
    assert (type(check), check.authority, check.asking.cluster) == (GrpcCheck, b"api.test", "api.test:80")
    with pytest.raises(ConfigError) as caught:
        build(PLAIN, ASK.replace("APP", "web"), spec=spec)
    [problem] = caught.value.problems
    assert problem.field == "spec.extensionProviders[0].envoyExtAuthzGrpc.service"


def test_nobody_is_asked_where_no_policy_says_so(build):
    for documents in ([PLAIN, ENTRY, TOKENS], [PLAIN, ENTRY, TOKENS, ASK.replace("APP", "other")]):
        snapshot = build(*documents, spec=f"{INBOUND}\n{DOOR.replace('HOST', 'api.test')}")
        plan = snapshot.plans["inbound-0"]
        assert plan.gate is None
        assert len(plan.chain.on_request) == 1
        assert "api.test:80" not in snapshot.clusters


def test_an_authorizer_that_does_not_exist(build):
    asked = (PLAIN, ENTRY, ASK.replace("APP", "web"))
    with pytest.raises(ConfigError, match="expected one of the Proxy's extensionProviders: it has none") as caught:
        build(*asked, spec=INBOUND)
    assert [each.field for each in caught.value.problems] == ["spec.provider.name"]
    with pytest.raises(ConfigError, match="the host and port of a known service") as caught:
        build(*asked, spec=f"{INBOUND}\n{DOOR.replace('HOST', 'nowhere.test')}")
    [problem] = caught.value.problems
    assert problem.field == "spec.extensionProviders[0].envoyExtAuthzHttp.service"


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


# -- outbound ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authority", ["web", "web:80", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local:80", "web.shop."]
)
def test_every_name_of_a_service_finds_it(build, authority):
    assert found(build(service()), authority=authority).targets[0].cluster == "shop/web:80"


@pytest.mark.parametrize(("authority", "known"), [("x.b.test", True), ("y.x.b.test:80", True), ("b.test", False)])
def test_a_wildcard_finds_every_name_below(build, authority, known):
    table = build(ENTRY).plans["outbound-0"].table(authority.encode())
    assert (table is not None) is known


@pytest.mark.parametrize("authority", ["web:81", "other.shop", "", ".", "10.0.0.1"])
def test_a_name_that_nobody_has_finds_nothing(build, authority):
    assert build(service()).plans["outbound-0"].table(authority.encode()) is None


def test_a_listener_of_one_service_asks_for_no_name(build):
    snapshot = build(service(), service("other"), spec="outbound: [{listen: '127.0.0.1:0', service: 'other:80'}]")
    assert found(snapshot, authority="web.shop").targets[0].cluster == "shop/other:80"
    assert snapshot.plans["outbound-0"].tcp_cluster == "shop/other:80"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("outbound: [{listen: '127.0.0.1:0', service: 'gone:80'}]", "spec.outbound[0].service"),
        ("outbound: [{listen: '127.0.0.1:0', protocol: tls}]", "spec.outbound[0].protocol"),
        ("inbound: [{listen: '127.0.0.1:0', app: '127.0.0.1:1', protocol: tcp}]", "spec.inbound[0].protocol"),
        (INBOUND, "spec.identity"),
    ],
)
def test_what_cannot_be_served_is_refused_with_its_field(build, spec, field):
    with pytest.raises(ConfigError) as caught:
        build(service(), spec=spec)
    assert [each.field for each in caught.value.problems] == [field]


@pytest.mark.parametrize(
    ("backend", "cluster"),
    [
        ("{name: other, port: 80}", "shop/other:80"),
        ("{name: other, port: 81}", ""),
        ("{group: networking.istio.io, kind: ServiceEntry, name: out, port: 80}", "api.test:80"),
        ("{group: networking.istio.io, kind: ServiceEntry, name: out}", "api.test:80"),
        ("{group: networking.istio.io, kind: Hostname, name: api.test, port: 80}", "api.test:80"),
    ],
)
def test_a_route_sends_to_what_its_backend_names(build, backend, cluster):
    route = f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r, namespace: shop}}
spec:
  parentRefs: [{{group: "", kind: Service, name: web}}]
  rules: [{{backendRefs: [{backend}]}}]
"""
    snapshot = build(service(), service("other"), ENTRY, route)
    assert found(snapshot).targets[0].cluster == cluster
    assert found(snapshot, authority="other.shop").targets[0].cluster == "shop/other:80"


def test_services_are_dialled_with_mutual_tls_and_what_is_outside_is_not(build):
    clusters = build(service(), ENTRY).clusters
    assert clusters["shop/web:80"].endpoints[0].tls is Tls.MUTUAL
    assert clusters["api.test:80"].endpoints[0].tls is Tls.PLAIN


# -- inbound ----------------------------------------------------------------------------------------------------------


def test_everything_inbound_goes_to_the_app(build):
    plan = build(PLAIN, spec=INBOUND).plans["inbound-0"]
    route = plan.table(b"whatever").find(request("/any", "POST"))
    assert [each.cluster for each in route.targets] == ["app:127.0.0.1:8080"]
    assert (plan.mode, plan.inbound, plan.chain, route.retry) == (Mode.DISABLE, True, EMPTY_CHAIN, APP_RETRY)
    assert plan.proxy_name == b"web.shop"


def test_authorization_sees_the_port_of_the_app(build):
    policy = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {ports: ["8080"]}}]}]}
"""
    (step,) = build(PLAIN, policy, spec=INBOUND).plans["inbound-0"].chain.on_request
    assert step(exchange_of()).status == 403
    elsewhere = build(PLAIN, policy.replace("namespace: shop", "namespace: other"), spec=INBOUND)
    assert elsewhere.plans["inbound-0"].chain is EMPTY_CHAIN


def test_one_set_of_credentials_is_one_identity(build, tmp_path):
    ca = MeshCA(tmp_path)
    folder = ca.issue("web", namespace="shop")
    identity = f"identity: {{trustDomain: cluster.local, certificates: {folder}}}"
    one, two = (load_credentials(folder, "cluster.local", ca.now) for _ in range(2))
    first = build(spec=INBOUND, identity=identity, credentials=one)
    second = build(spec=INBOUND, identity=identity, credentials=one, previous=first)
    third = build(spec=INBOUND, identity=identity, credentials=two, previous=second)
    assert first.plans["inbound-0"].mode is Mode.STRICT
    assert second.identity is first.identity
    assert third.identity is not first.identity
    assert third.identity.credentials is two
    assert third.dialler is first.dialler
    assert third.clusters["app:127.0.0.1:8080"] is first.clusters["app:127.0.0.1:8080"]


# -- policies of ours -------------------------------------------------------------------------------------------------

FAULTS = """
apiVersion: meshd.dev/v1alpha1
kind: FaultPolicy
metadata: {name: f, namespace: shop}
spec: {ATTACHED, rules: [{abort: {status: 503}}]}
"""
REDIRECT = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: web}]
  rules: [{filters: [{type: RequestRedirect, requestRedirect: {}}]}]
"""


@pytest.mark.parametrize("more", [(), (backend_policy(),), (REDIRECT,)])
def test_faults_of_a_service_come_before_the_filters_of_its_routes(build, more):
    policy = FAULTS.replace("ATTACHED", "targetRefs: [{name: web}]")
    snapshot = build(service(), service("other"), policy, *more)
    step = found(snapshot).chain.on_request[0]
    assert step(exchange_of()).status == 503
    assert found(snapshot, authority="other.shop").chain is EMPTY_CHAIN


def test_faults_of_a_workload_come_after_authorization(build):
    allow_nothing = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec: {}
"""
    policy = FAULTS.replace("ATTACHED", "selector: {matchLabels: {app: web}}")
    steps = build(PLAIN, policy, allow_nothing, spec=INBOUND).plans["inbound-0"].chain.on_request
    assert [step(exchange_of()).status for step in steps] == [403, 503]
    assert build(service(), policy).plans["outbound-0"].chain is EMPTY_CHAIN


OURS = "apiVersion: meshd.dev/v1alpha1\nmetadata: {name: p, namespace: shop}\n"
LIMIT = OURS + "kind: RateLimitPolicy\nspec: {ATTACHED, rules: [{requests: 1, per: hour}]}"
TEAPOT = OURS + "kind: RequestPolicy\nspec: {ATTACHED, rules: [{respond: {status: 418}}]}"


def outcomes(chain):
    """What each step answers to two requests, one after the other."""
    replies = [[step(exchange_of()) for step in chain.on_request] for _ in range(2)]
    return [[reply.status if reply is not None else 0 for reply in each] for each in replies]


@pytest.mark.parametrize("attached", ["targetRefs: [{name: web}]", "selector: {matchLabels: {app: web}}"])
def test_limits_come_before_answers_and_those_before_faults(build, attached):
    policies = [each.replace("ATTACHED", attached) for each in (FAULTS, TEAPOT, LIMIT)]
    if attached.startswith("target"):
        chain = found(build(service(), *policies)).chain
    else:
        chain = build(PLAIN, *policies, spec=INBOUND).plans["inbound-0"].chain
    assert outcomes(chain) == [[0, 418, 503], [429, 418, 503]]


def test_buckets_are_shared_by_whoever_is_given_the_same(build, tmp_path):
    text = service() + "\n---\n" + LIMIT.replace("ATTACHED", "targetRefs: [{name: web}]")
    (tmp_path / "limit.yaml").write_text(text)
    documents, shared = load_policies([tmp_path / "limit.yaml"]), Buckets(bytearray(OCTETS))
    snapshots = [compile_snapshot(proxy(), documents, None, None, buckets=each) for each in (shared, shared, None)]
    chains = [found(snapshot).chain for snapshot in snapshots]
    statuses = [[step(exchange_of()) for step in chain.on_request] for chain in chains]
    assert [reply.status if reply else 0 for (reply,) in statuses] == [0, 429, 0]


@pytest.mark.parametrize(
    ("by", "sticky"),
    [
        ("request-id", "request-id"),
        ("'cookie:user'", "cookie:user"),
        ("principal", "key:web.shop"),
    ],
)
def test_what_a_split_is_sticky_by(build, by, sticky):
    assert found(build(service(), backend_policy(f"stickySplit: {by}"))).sticky == sticky


def test_what_an_attempt_may_take(build):
    spec = "retry: {perTryTimeout: 1s, hedgeOnPerTryTimeout: true, perTryIdleTimeout: 2s}"
    route = found(build(service(), backend_policy(spec)))
    assert (route.attempt_timeout, route.hedge, route.attempt_idle_timeout) == (1.0, True, 2.0)
    route = found(build(service()))
    assert (route.attempt_timeout, route.hedge, route.attempt_idle_timeout) == (None, False, None)


KEEPING = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: web}]
  rules: [{backendRefs: [{name: web, port: 80}], sessionPersistence: {type: Header, header: {name: s}}}]
"""


def test_sessions_know_the_endpoints_of_the_moment(build):
    snapshot = build(service(), KEEPING)
    cluster, route = snapshot.clusters["shop/web:80"], found(snapshot)
    exchange, head = exchange_of(), ResponseHead(200)
    exchange.cluster = cluster.name
    exchange.attempts.append(Attempt(cluster.endpoints[0], 0.0))
    route.chain.on_response[0](exchange, head)
    token = head.get(b"s").decode()
    again = exchange_of(headers=[("s", token)])
    assert route.chain.on_request[0](again) is None
    assert again.asked.endpoint is cluster.endpoints[0]
    cluster.update([])
    gone = exchange_of(headers=[("s", token)])
    route.chain.on_request[0](gone)
    assert gone.asked is None


def test_a_stream_of_grpc_has_no_time_limit_of_ours():
    assert _default_timeout("grpc") is None
    assert _default_timeout("http") == _default_timeout("auto") == 15.0
