"""Policies that act on no workload, and a sidecar that lets in everybody."""

import pytest
from support.documents import text_of

from meshd.config.load import load_policies, load_proxy
from meshd.config.workload_check import check_workloads

SECURITY = "security.istio.io/v1"
OURS = "meshd.dev/v1alpha1"
DRY_RUN = "annotations: {'istio.io/dry-run': 'true'}"
ALLOW = "action: ALLOW\nrules: [{}]"
ORDERS = "{app: orders, tier: back}"  # of the sidecar
SERVICE = text_of("Service", "v1", "ports: [{port: 80}]\nselector: {app: reviews}").replace("name: name", "name: revs")
BARE = text_of("Service", "v1", "ports: [{port: 80}]").replace("name: name", "name: ratings")
ENTRY = text_of(
    "ServiceEntry",
    "networking.istio.io/v1",
    "hosts: [a.test]\nresolution: STATIC\nendpoints: [{address: 10.0.0.1, labels: {app: billing, zone: a}}]",
)


def policy(labels, kind="AuthorizationPolicy", version=SECURITY, spec=ALLOW):
    return text_of(kind, version, f"selector: {{matchLabels: {labels}}}\n{spec}")


@pytest.fixture
def found(tmp_path):
    """What is said of these documents, beside a sidecar unless there is none."""

    def check(*texts, spec="outbound: [{listen: '127.0.0.1:0'}]", sidecar=True, labels=ORDERS):
        file = tmp_path / "proxy.yaml"
        file.write_text(text_of("Proxy", OURS, spec).replace("namespace: ns", f"namespace: ns, labels: {labels}"))
        (tmp_path / "policies.yaml").write_text("---\n".join(texts or ["{kind: List, items: []}"]))
        loaded = load_proxy(file, {}, {}) if sidecar else None
        return list(check_workloads(load_policies([tmp_path / "policies.yaml"]), loaded))

    return check


@pytest.mark.parametrize(
    ("labels", "field", "said"),
    [
        (
            "{app: ordres}",
            "app",
            "got 'ordres', selects no workload that is known here: the policy does not act; did you",
        ),
        ("{ap: orders}", "ap", "got 'ap', selects no workload that is known here: the policy does not act; did you"),
        ("{app: Orders}", "app", "did you mean 'orders'?"),
        ("{app: orders, tier: bakc}", "tier", "did you mean 'back'?"),
        ("{app: revews}", "app", "did you mean 'reviews'?"),
        ("{app: zzz}", "", "got app: zzz, selects no workload"),
        ("{app: orders, zone: a}", "", "selects no workload"),
    ],
)
def test_a_selector_that_is_nobodys_is_told(found, labels, field, said):
    [problem] = found(policy(labels), SERVICE, ENTRY)
    path = "spec.selector.matchLabels" + (f".{field}" if field else "")
    assert (problem.severity, problem.field, problem.line) == ("warning", path, 5)
    assert said in problem.message


@pytest.mark.parametrize(
    "labels",
    [
        "{app: orders}",
        "{tier: back, app: orders}",
        "{app: reviews}",
        "{app: reviews, version: v2}",  # a pod has more labels than its Service asks for
        "{app: ratings}",
        "{app: billing, zone: a}",
    ],
)
def test_a_selector_that_may_be_somebodys_is_left_alone(found, labels):
    assert found(policy(labels), SERVICE, BARE, ENTRY) == []


@pytest.mark.parametrize(
    ("kind", "version", "spec"),
    [
        ("PeerAuthentication", SECURITY, "mtls: {}"),
        ("RequestAuthentication", SECURITY, "jwtRules: [{issuer: a, jwks: '{\"keys\": []}'}]"),
        ("RateLimitPolicy", OURS, "rules: [{requests: 1}]"),
        ("FaultPolicy", OURS, "rules: [{abort: {status: 500}}]"),
        ("RequestPolicy", OURS, "rules: [{maxRequestBody: 1}]"),
    ],
)
def test_every_kind_with_a_selector_is_looked_at(found, kind, version, spec):
    assert found(policy("{app: orders}", kind, version, spec)) == []
    [problem] = found(policy("{app: ordres}", kind, version, spec))
    assert problem.suggestion == "did you mean 'orders'?"


def test_callers_are_selected_by_destination_rules(found):
    rule = "host: a\nworkloadSelector: {matchLabels: {app: ordres}}"
    [problem] = found(text_of("DestinationRule", "networking.istio.io/v1", rule))
    assert (problem.field, problem.suggestion) == ("spec.workloadSelector.matchLabels.app", "did you mean 'orders'?")


def test_accounts_that_policies_name_are_known(found):
    caller = "rules: [{from: [{source: {principals: ['cluster.local/ns/ns/sa/storefront']}}]}]"
    mode = policy("{app: storefront}", "PeerAuthentication", SECURITY, "mtls: {}")
    assert len(found(mode)) == 1
    assert found(policy("{app: orders}", spec=caller), mode) == []


def test_a_misspelt_namespace_is_told_with_and_without_a_selector(found):
    for text in (text_of("AuthorizationPolicy", SECURITY, ALLOW), policy("{app: orders}")):
        [problem] = found(text.replace("namespace: ns", "namespace: nss"))
        assert problem.suggestion in ("did you mean 'ns'?", "there is one in namespace 'ns'")
    assert found(text_of("AuthorizationPolicy", SECURITY, ALLOW).replace("namespace: ns", "namespace: far-away")) == []


def test_the_root_namespace_selects_everywhere_but_for_the_mode(found):
    everywhere = policy("{app: orders}").replace("namespace: ns", "namespace: istio-system")
    assert found(everywhere) == []
    assert len(found(everywhere.replace("orders", "ordres"))) == 1
    mode = policy("{app: orders}", "PeerAuthentication", SECURITY, "mtls: {}")
    assert len(found(mode.replace("namespace: ns", "namespace: istio-system"))) == 1


def test_without_any_workload_nothing_can_be_said(found):
    assert found(policy("{app: zzz}"), sidecar=False) == []
    assert len(found(policy("{app: zzz}"), SERVICE, sidecar=False)) == 1


@pytest.mark.parametrize(
    "field", ["targetRef: {kind: Service, name: orders}", "targetRefs: [{kind: Service, name: a}]"]
)
def test_a_policy_for_a_service_is_a_waypoints(found, field):
    [problem] = found(text_of("AuthorizationPolicy", SECURITY, f"{field}\n{ALLOW}"))
    assert problem.field.startswith("spec.targetRef")
    assert problem.suggestion == "use 'selector'"


IN = "inbound: [{listen: '127.0.0.1:0', app: '127.0.0.1:9'}]"


@pytest.mark.parametrize(
    "texts",
    [
        (),
        (policy("{app: orders}", spec="action: DENY\nrules: [{}]"),),
        (policy("{app: reviews}"), SERVICE),
        (text_of("AuthorizationPolicy", SECURITY, ALLOW).replace("namespace: ns", "namespace: far-away"),),
        (text_of("AuthorizationPolicy", SECURITY, ALLOW).replace("namespace: ns", f"namespace: ns, {DRY_RUN}"),),
    ],
)
def test_a_workload_that_no_allow_selects_is_told(found, texts):
    [problem] = found(*texts, spec=IN)
    assert (problem.field, problem.line) == ("spec.inbound", 5)
    assert "any caller that is not denied is let in" in problem.expected


@pytest.mark.parametrize(
    "text",
    [
        policy("{app: orders}"),
        text_of("AuthorizationPolicy", SECURITY, ALLOW),
        text_of("AuthorizationPolicy", SECURITY, ALLOW).replace("namespace: ns", "namespace: istio-system"),
        policy("{app: orders}", spec="action: CUSTOM\nprovider: {name: a}\nrules: [{}]"),
    ],
)
def test_a_workload_that_names_its_callers_is_left_alone(found, text):
    assert found(text, spec=IN) == []
    assert found(spec="outbound: [{listen: '127.0.0.1:0'}]") == []


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("location: MESH_INTERNAL", ["spec.endpoints[0]", "spec.endpoints[2]"]),
        ("location: MESH_INTERNAL\nsubjectAltNames: ['spiffe://cluster.local/ns/ns/sa/b']", []),
        ("location: MESH_EXTERNAL", []),
    ],
)
def test_an_endpoint_of_the_mesh_names_its_account(found, more, told):
    addresses = "[{address: 10.0.0.1}, {address: 10.0.0.2, serviceAccount: b}, {address: 10.0.0.3}]"
    spec = f"hosts: [a.test]\nresolution: STATIC\nendpoints: {addresses}\n{more}"
    problems = found(text_of("ServiceEntry", "networking.istio.io/v1", spec))
    assert [problem.field for problem in problems] == told
    assert all("serviceAccount" in problem.message for problem in problems)


def test_an_entry_whose_endpoints_are_looked_up_names_identities(found):
    spec = "hosts: [a.test]\nresolution: DNS\nlocation: MESH_INTERNAL"
    [problem] = found(text_of("ServiceEntry", "networking.istio.io/v1", spec))
    assert (problem.severity, problem.field) == ("warning", "spec.location")
    assert "whoever runs in namespace 'ns' may answer as this service" in problem.expected
    tls = "{mode: ISTIO_MUTUAL, subjectAltNames: ['spiffe://cluster.local/ns/ns/sa/b']}"
    rule = text_of("DestinationRule", "networking.istio.io/v1", f"host: a.test\ntrafficPolicy: {{tls: {tls}}}")
    assert found(text_of("ServiceEntry", "networking.istio.io/v1", spec), rule) == []
    spec += "\nsubjectAltNames: ['spiffe://cluster.local/ns/ns/sa/b']"
    assert found(text_of("ServiceEntry", "networking.istio.io/v1", spec)) == []


MINE = "ports: [{port: 80}]\nselector: {app: orders}"
SAID = "namespace: ns, annotations: {meshd.dev/service-accounts: '%s'}"
BACKED = "targetRefs: [{group: '', kind: Service, name: name}]\ntls: {peerIdentity: %s}"


@pytest.mark.parametrize(
    ("service", "spec", "told"),
    [
        (text_of("Service", "v1", MINE), IN, "its callers expect account 'name', and this sidecar runs as 'who'"),
        (text_of("Service", "v1", MINE), "outbound: [{listen: '127.0.0.1:0'}]", ""),  # it answers nobody
        (text_of("Service", "v1", MINE.replace("orders", "other")), IN, ""),
        (text_of("Service", "v1", MINE).replace("name: name", "name: who"), IN, ""),
        (
            text_of("Service", "v1", MINE).replace("namespace: ns", SAID % "a, who"),
            IN,
            "",
        ),
        (text_of("Service", "v1", MINE).replace("namespace: ns", SAID % "a"), IN, "'a'"),
        (text_of("Service", "v1", MINE) + "---\n" + text_of("BackendPolicy", OURS, BACKED % "namespace"), IN, ""),
    ],
)
def test_a_service_whose_callers_expect_another_account_than_ours_is_told(found, service, spec, told):
    """They would refuse this sidecar, one and all."""
    identity = "identity: {trustDomain: mesh.test, serviceAccount: who, certificates: here}"
    problems = [each for each in found(service, spec=f"{identity}\n{spec}") if each.field == "metadata.annotations"]
    assert bool(problems) == bool(told)
    assert all(told in problem.message for problem in problems)
