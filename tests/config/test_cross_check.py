"""What shows only when all documents are seen together."""

import pytest
from support.documents import text_of

from meshd.config.cross_check import cross_check
from meshd.config.load import load_policies, load_proxy

ECHO = text_of("Service", "v1", "ports: [{name: http, port: 80}]").replace("name: name", "name: echo")
INTERNAL = (
    "hosts: [a.test]\nlocation: MESH_INTERNAL\nresolution: STATIC\nendpoints: [{address: 10.0.0.1, serviceAccount: a}]"
)
SECURITY = "security.istio.io/v1"
OURS = "meshd.dev/v1alpha1"


def check(tmp_path, *texts, proxy=""):
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "a.yaml").write_text("---\n".join([ECHO, *texts]))
    loaded = None
    if proxy:
        file = tmp_path / "proxy.yaml"
        file.write_text(text_of("Proxy", OURS, proxy).replace("namespace: ns", "namespace: ns, labels: {app: a}"))
        loaded = load_proxy(file, {}, {})
    return cross_check(load_policies([folder]), loaded)


def named(text, name):
    return text.replace("name: name", f"name: {name}")


@pytest.mark.parametrize(
    ("text", "field", "said"),
    [
        (text_of("AuthorizationPolicy", SECURITY, "{}"), "spec", "admits nobody"),
        (text_of("AuthorizationPolicy", SECURITY, "action: AUDIT\nrules: [{}]"), "spec.action", "only recorded"),
        (
            text_of("AuthorizationPolicy", SECURITY, "targetRefs: [{kind: Gateway, name: a}]\nrules: [{}]"),
            "spec.targetRefs[0].kind",
            "has no Gateway",
        ),
        (text_of("DestinationRule", "networking.istio.io/v1", "host: ehco"), "spec.host", "did you mean 'echo'?"),
        (
            text_of(
                "DestinationRule",
                "networking.istio.io/v1",
                "host: echo.ns\ntrafficPolicy: {portLevelSettings: [{port: {number: 9}}]}",
            ),
            "spec.trafficPolicy.portLevelSettings[0].port.number",
            "no such port",
        ),
        (
            text_of("BackendPolicy", OURS, "targetRefs: [{name: echo}]\ntls: {peerIdentity: trustDomain}"),
            "spec.tls.peerIdentity",
            "whoever holds a certificate",
        ),
        (
            text_of(
                "DestinationRule",
                "networking.istio.io/v1",
                "host: echo\ntrafficPolicy: {tls: {mode: ISTIO_MUTUAL, subjectAltNames: ['spiffe://td/*']}}",
            ),
            "spec.trafficPolicy.tls.subjectAltNames[0]",
            "whoever holds a certificate",
        ),
        *(
            (
                text_of("ServiceEntry", "networking.istio.io/v1", f"{INTERNAL}\nsubjectAltNames: ['{name}']"),
                "spec.subjectAltNames[0]",
                said,
            )
            for name, said in {
                "spiffe://*": "whoever holds a certificate",
                "spiffe://td/*": "whoever holds a certificate",
                "spiffe://td/ns/*": "whoever holds a certificate",
                "b.test": "no SPIFFE ID",
                "*": "no SPIFFE ID",
            }.items()
        ),
        (
            text_of(
                "DestinationRule",
                "networking.istio.io/v1",
                "host: echo\ntrafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: ISTIO_MUTUAL,"
                " subjectAltNames: ['spiffe://*']}}]}",
            ),
            "spec.trafficPolicy.portLevelSettings[0].tls.subjectAltNames[0]",
            "whoever holds a certificate",
        ),
        (
            text_of("BackendPolicy", OURS, "targetRefs: [{name: ehco}]"),
            "spec.targetRefs[0].name",
            "did you mean 'echo'?",
        ),
        (
            text_of("BackendPolicy", OURS, "targetRefs: [{name: echo, port: 9}]"),
            "spec.targetRefs[0].port",
            "no such port",
        ),
        (
            text_of("RateLimitPolicy", OURS, "targetRefs: [{name: x}]\nrules: [{requests: 1}]"),
            "spec.targetRefs[0].name",
            "no Service ns/x",
        ),
        (
            text_of("FaultPolicy", OURS, "targetRefs: [{kind: ServiceEntry, name: x}]\nrules: [{delay: {fixed: 1s}}]"),
            "spec.targetRefs[0].name",
            "no ServiceEntry ns/x",
        ),
        (
            text_of("RequestPolicy", OURS, "targetRefs: [{name: x}]\nrules: [{maxRequestBody: 1}]"),
            "spec.targetRefs[0].name",
            "no Service ns/x",
        ),
    ],
)
def test_what_acts_otherwise_than_it_looks(tmp_path, text, field, said):
    [problem] = check(tmp_path, text)
    assert (problem.severity, problem.field) == ("warning", field)
    assert said in problem.message
    assert problem.line > 4


@pytest.mark.parametrize(
    "text",
    [
        text_of("PeerAuthentication", SECURITY, "mtls: {mode: STRICT}"),
        text_of("PeerAuthentication", SECURITY, "selector: {matchLabels: {app: echo}}"),
        text_of("DestinationRule", "networking.istio.io/v1", "host: echo"),
        text_of("BackendPolicy", OURS, "targetRefs: [{name: echo}]"),
    ],
)
def test_two_about_the_same(tmp_path, text):
    [problem] = check(tmp_path, named(text, "a"), named(text, "b"))
    assert problem.document.endswith("ns/b")
    assert "ns/a" in problem.expected
    assert problem.suggestion == "merge the two"


def test_different_scopes_are_different(tmp_path):
    text = text_of("PeerAuthentication", SECURITY, "selector: {matchLabels: {app: echo, a: %s}}")
    assert check(tmp_path, named(text % "b", "a"), named(text % "c", "b")) == []


def test_slices_and_services_belong_together(tmp_path):
    slice_ = (
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
        "metadata: {name: a, namespace: ns, labels: {kubernetes.io/service-name: ehco}}\naddressType: IPv4\n"
    )
    said = [problem.expected for problem in check(tmp_path, slice_)]
    assert len(said) == 2
    assert "no EndpointSlice names it" in said[0]
    assert "nothing is sent to these endpoints" in said[1]


OUT = "outbound: [{listen: '127.0.0.1:0', service: '%s'}]\nidentity: {certificates: a}"


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ("echo:80", ""),
        ("echo.ns:80", ""),
        ("echo.ns.svc.cluster.local:80", ""),
        ("ehco:80", "did you mean 'echo'?"),
        ("echo:81", "its ports are 80"),
    ],
)
def test_outbound_services_exist(tmp_path, service, said):
    found = check(tmp_path, proxy=OUT % service)
    assert [problem.field for problem in found] == (["spec.outbound[0].service"] if said else [])
    assert all(said in problem.message and problem.line == 5 for problem in found)


def test_the_admin_port_is_local(tmp_path):
    [problem] = check(tmp_path, proxy=OUT % "echo:80" + "\nadmin: {listen: '0.0.0.0:15000'}")
    assert (problem.severity, problem.field, problem.line) == ("warning", "spec.admin.listen", 7)


NAMESPACE = text_of("PeerAuthentication", SECURITY, "mtls: {mode: %s}")
WORKLOAD = named(text_of("PeerAuthentication", SECURITY, "selector: {matchLabels: {app: a}}\nmtls: {mode: %s}"), "w")
MESH = NAMESPACE.replace("namespace: ns", "namespace: istio-system")
OTHER = named(
    text_of("PeerAuthentication", SECURITY, "selector: {matchLabels: {app: echo}}\nmtls: {mode: DISABLE}"), "o"
)


@pytest.mark.parametrize(
    ("policies", "runs"),
    [
        ((), False),
        ((NAMESPACE % "DISABLE",), True),
        ((MESH % "DISABLE",), True),
        ((MESH % "DISABLE", NAMESPACE % "STRICT"), False),
        ((MESH % "DISABLE", NAMESPACE % "UNSET"), True),
        ((NAMESPACE % "STRICT", WORKLOAD % "DISABLE"), True),
        ((NAMESPACE % "DISABLE", WORKLOAD % "PERMISSIVE"), False),
        ((OTHER,), False),
    ],
)
def test_without_an_identity_only_plaintext_runs(tmp_path, policies, runs):
    found = check(tmp_path, *policies, proxy="outbound: [{listen: '127.0.0.1:0'}]")
    assert [(problem.severity, problem.field) for problem in found] == ([] if runs else [("error", "spec.identity")])
