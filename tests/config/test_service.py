"""Service and EndpointSlice."""

import pytest
from support.documents import document, problems_of, text_of

SLICE = """apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a, labels: {kubernetes.io/service-name: echo}}
addressType: %s
endpoints:
- addresses: [%s]
  conditions: {ready: true}
  zone: z
ports: [{name: http, port: 8080}]
"""


def test_a_service_as_a_cluster_shows_it():
    spec = """
clusterIP: 10.0.0.1
clusterIPs: [10.0.0.1]
internalTrafficPolicy: Cluster
ipFamilies: [IPv4]
ipFamilyPolicy: SingleStack
ports: [{name: http, port: 80, protocol: TCP, targetPort: 8080, nodePort: 30000}, {name: b, port: 81, targetPort: web}]
selector: {app: a}
sessionAffinity: None
type: ClusterIP
"""
    service = document(text_of("Service", "v1", spec) + "status: {loadBalancer: {}}\n").model
    assert [port.target_port for port in service.spec.ports] == [8080, "web"]


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ("ports: [{port: 80, targetPort: 0}]", ["spec.ports[0].targetPort"]),
        ("ports: [{port: 80, targetPort: ''}]", ["spec.ports[0].targetPort"]),
        ("ports: [{port: 80, targetPort: true}]", ["spec.ports[0].targetPort"]),
        ("ports: [{name: a, port: 80}, {name: a, port: 80}]", ["spec.ports[1].port", "spec.ports[1].name"]),
        ("ports: [{name: a, port: 80}, {name: b, port: 80, protocol: UDP}]", []),
        ("type: ExternalName", ["spec.externalName"]),
        ("{type: ExternalName, externalName: a..b}", ["spec.externalName"]),
        ("{type: ExternalName, externalName: a.b.}", []),
        ("ports: [{port: 80, protocol: HTTP}]", ["spec.ports[0].protocol"]),
    ],
)
def test_ports(spec, fields):
    assert sorted(problem.field for problem in problems_of(text_of("Service", "v1", spec))) == sorted(fields)


def test_a_slice_belongs_to_a_service():
    slice_ = document(SLICE % ("IPv4", "10.0.0.1")).model
    assert slice_.service == "echo"
    assert slice_.ports is not None
    text = (SLICE % ("IPv4", "10.0.0.1")).replace("kubernetes.io/service-name: echo", "")
    assert "kubernetes.io/service-name" in problems_of(text)[0].expected


@pytest.mark.parametrize(
    ("kind", "address", "fine"),
    [
        ("IPv4", "::1", False),
        ("IPv6", "'::1'", True),
        ("FQDN", "a.b", True),
        ("FQDN", "1.2.3.4", False),
        ("IPv4", "a", False),
    ],
)
def test_addresses_are_of_the_type_of_the_slice(kind, address, fine):
    found = [
        problem.field
        for problem in problems_of(SLICE % (kind, address.replace("::1", "'::1'") if address == "::1" else address))
    ]
    assert found == ([] if fine else ["endpoints[0].addresses[0]"])


def test_ports_of_a_slice_may_be_null():
    assert document((SLICE % ("IPv4", "10.0.0.1")).replace("[{name: http, port: 8080}]", "null")).model.ports is None
