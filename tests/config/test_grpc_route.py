"""GRPCRoute: method matches and what is like HTTPRoute."""

import pytest
from support.documents import problems_of, text_of

from meshd.config.grpc_route import GRPCMethodMatch


def faults(**method):
    return [fault.at for fault in GRPCMethodMatch.model_validate(method).faults()]


@pytest.mark.parametrize("service", ["a", "a.b.C_1", ".a", "_x"])
def test_names_of_services(service):
    assert faults(service=service) == []


@pytest.mark.parametrize("service", ["", "a.", "1a", "a..b", "a/b", "a-b", "é", "a\n"])
def test_what_is_no_service(service):
    assert faults(service=service) == [("service",)]


def test_methods():
    assert faults() == [()]
    assert faults(method="Get_1") == []
    assert faults(method="a.b") == [("method",)]
    assert faults(type="RegularExpression", method="a.b|c", service="(") == [("service",)]
    assert faults(type="RegularExpression", method="a", service=r"\Qa") == [("service",)]  # would take `/a` with it
    assert faults(type="RegularExpression", method="a", service=r"\Qa.b\E") == []


def test_a_route_with_all_of_it():
    spec = """
parentRefs: [{group: "", kind: Service, name: echo}]
rules:
- name: one
  matches:
  - method: {service: a.B, method: C}
    headers: [{name: x, value: "(", type: RegularExpression}, {name: x, value: é}]
  filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [a]}}]
  backendRefs: [{name: a}]
  sessionPersistence: {type: Header}
"""
    found = [
        problem.field.removeprefix("spec.rules[0].")
        for problem in problems_of(text_of("GRPCRoute", "gateway.networking.k8s.io/v1", spec))
    ]
    assert found == [
        "matches[0].headers[0].value",
        "matches[0].headers[1].name",
        "backendRefs[0].port",
        "sessionPersistence.header",
    ]
