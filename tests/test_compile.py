"""From documents to the snapshot: its listeners, and the policies behind them."""

import pytest
from support.ca import MeshCA
from support.compiled import ENTRY, INBOUND, PLAIN, backend_policy, found, proxy, service
from support.requests import exchange_of, request

from meshd.compile import APP_RETRY, compile_snapshot
from meshd.config.errors import ConfigError
from meshd.config.load import load_policies
from meshd.core.chain import EMPTY_CHAIN
from meshd.core.endpoint import Tls
from meshd.core.exchange import Attempt
from meshd.core.head import ResponseHead
from meshd.filters.buckets import OCTETS, Buckets
from meshd.filters.key_ring import KeyRing
from meshd.identity.credentials import load_credentials
from meshd.net.tls import Mode
from meshd.workload import Shared

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


def test_preflights_are_answered_before_limits_and_faults(build):
    cors = "rules: [{filters: [{type: CORS, cors: {allowOrigins: ['*']}}], backendRefs: [{name: web, port: 80}]}]"
    route = REDIRECT.partition("  rules:")[0] + f"  {cors}\n"
    policies = [each.replace("ATTACHED", "targetRefs: [{name: web}]") for each in (FAULTS, TEAPOT, LIMIT)]
    chain = found(build(service(), route, *policies)).chain
    fields = [("origin", "https://a.test"), ("access-control-request-method", "PUT")]
    assert chain.on_request[0](exchange_of(method="OPTIONS", headers=fields)).status == 200
    assert outcomes(chain) == [[0, 0, 418, 503], [0, 429, 418, 503]]


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
    documents, shared = load_policies([tmp_path / "limit.yaml"]), Shared(Buckets(bytearray(OCTETS)), KeyRing())
    snapshots = [compile_snapshot(proxy(), documents, None, None, shared=each) for each in (shared, shared, None)]
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
