"""TCPRoute and TLSRoute, new and old."""

import pytest
from support.documents import document, problems_of, text_of

from meshd.config.l4_route import TCPRoute, TLSRoute

GROUP = "gateway.networking.k8s.io"
ONE = "rules: [{backendRefs: [{name: a, port: 1}]}]"
TWO = "rules: [{name: a, backendRefs: [{name: a, port: 1}]}, {name: %s, backendRefs: [{name: b, port: 1}]}]"


def test_one_rule_is_enough():
    assert isinstance(document(text_of("TCPRoute", f"{GROUP}/v1", ONE)).model, TCPRoute)
    assert isinstance(document(text_of("TCPRoute", f"{GROUP}/v1alpha2", TWO % "b")).model, TCPRoute)
    assert isinstance(document(text_of("TLSRoute", f"{GROUP}/v1", "hostnames: [a.b]\n" + ONE)).model, TLSRoute)
    assert isinstance(document(text_of("TLSRoute", f"{GROUP}/v1alpha2", TWO % "b")).model, TLSRoute)


@pytest.mark.parametrize(
    ("kind", "version", "spec", "field"),
    [
        ("TCPRoute", "v1", TWO % "b", "spec.rules"),
        ("TCPRoute", "v1", "rules: [{backendRefs: []}]", "spec.rules[0].backendRefs"),
        ("TCPRoute", "v1alpha2", TWO % "a", "spec.rules[1].name"),
        ("TLSRoute", "v1", ONE, "spec.hostnames"),
        ("TLSRoute", "v1", "hostnames: [10.0.0.1]\n" + ONE, "spec.hostnames[0]"),
        ("TLSRoute", "v1alpha3", "hostnames: ['a.*']\n" + ONE, "spec.hostnames[0]"),
        ("TLSRoute", "v1alpha2", TWO % "a", "spec.rules[1].name"),
    ],
)
def test_what_is_refused(kind, version, spec, field):
    assert [problem.field for problem in problems_of(text_of(kind, f"{GROUP}/{version}", spec))] == [field]
