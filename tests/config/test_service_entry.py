"""ServiceEntry: what each resolution allows."""

import pytest
from support.documents import problems_of, text_of


def fields(spec):
    return [
        problem.field.removeprefix("spec.")
        for problem in problems_of(text_of("ServiceEntry", "networking.istio.io/v1", spec))
    ]


@pytest.mark.parametrize(
    "spec",
    [
        "hosts: [a.b, '*.c.d']\nports: [{number: 443, name: tls, protocol: TLS, targetPort: 8443}]\nresolution: DNS",
        "hosts: [a.b]\nresolution: STATIC\nendpoints: [{address: 1.2.3.4, ports: {a: 80}, weight: 2, locality: a/b}]",
        "hosts: [a.b]\nresolution: STATIC\nendpoints: [{address: 'unix:///run/a.sock'}]",
        "hosts: [a.b]\naddresses: [10.0.0.0/8]\nresolution: NONE",
        "hosts: [a.b]\nresolution: DNS\nendpoints: [{address: c.d}, {address: e.f}]",
        "hosts: [a.b]\nlocation: MESH_INTERNAL\nresolution: DYNAMIC_DNS",
    ],
)
def test_entries(spec):
    assert fields(spec) == []


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("hosts: []", ["hosts"]),
        ("hosts: ['*']", ["hosts[0]"]),
        ("hosts: ['a b']", ["hosts[0]"]),
        (f"hosts: [{'a' * 64}.b, a..b]", ["hosts[0]", "hosts[1]"]),
        ("hosts: [a.b]\nendpoints: []", ["endpoints"]),
        ("hosts: [a.b]\nresolution: DNS\naddresses: [10.0.0.0/8]", ["addresses[0]"]),
        ("hosts: [a.b]\naddresses: [a]", ["addresses[0]"]),
        ("hosts: [a.b]\nresolution: DNS_ROUND_ROBIN\nendpoints: [{address: a}, {address: b}]", ["endpoints[1]"]),
        ("hosts: [a.b]\nresolution: DNS\nendpoints: [{}]", ["endpoints[0].address"]),
        ("hosts: [a.b]\nresolution: DNS\nendpoints: [{address: 'a b'}]", ["endpoints[0].address"]),
        ("hosts: [a.b]\nresolution: STATIC\nendpoints: [{address: 'unix://a'}]", ["endpoints[0].address"]),
        (
            "hosts: [a.b]\nresolution: STATIC\nendpoints: [{address: 'unix:///a', ports: {a: 1}}]",
            ["endpoints[0].ports"],
        ),
        (
            "hosts: [a.b]\nresolution: STATIC\nendpoints: [{address: 1.2.3.4, ports: {a_b: 1}}]",
            ["endpoints[0].ports.a_b"],
        ),
        ("hosts: [a.b]\nresolution: STATIC\nendpoints: [{address: 1.2.3.4, network: n}]", ["endpoints[0].network"]),
        ("hosts: [a.b]\nworkloadSelector: {labels: {a: b}}", ["workloadSelector"]),
        ("hosts: [a.b]\nports: [{number: 1, name: a}, {number: 1, name: a}]", ["ports[1].number", "ports[1].name"]),
    ],
)
def test_what_is_refused(spec, found):
    assert fields(spec) == found
