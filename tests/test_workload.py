"""Whose sidecar it is, as each part of the compiler asks."""

from random import Random

from support.compiled import proxy

from meshd.config.documents import Documents
from meshd.filters.buckets import OCTETS, Buckets
from meshd.filters.key_ring import KeyRing
from meshd.workload import ROOT_NAMESPACE, Shared, Workload


def workload(identity=""):
    return Workload(proxy(identity=identity), Documents(), Random(), Shared(Buckets(bytearray(OCTETS)), KeyRing()))


def test_what_it_is_called():
    plain, known = workload(), workload("identity: {trustDomain: td, certificates: c}")
    assert (plain.trust_domain, known.trust_domain) == ("cluster.local", "td")
    assert plain.name == b"web.shop"
    assert (plain.caller.namespace, plain.caller.labels) == ("shop", {"app": "web"})


def test_what_policies_see_of_a_port():
    scope = workload("identity: {trustDomain: td, certificates: c}").scope(8080)
    assert (scope.namespace, scope.labels, scope.port) == ("shop", {"app": "web"}, 8080)
    assert (scope.trust_domain, scope.root_namespace) == ("td", ROOT_NAMESPACE)


def test_a_mistake_names_the_document_and_the_field():
    [problem] = workload().mistake("spec.x", "a", "expected b").problems
    assert (problem.document, problem.field, problem.given, problem.expected) == (
        "Proxy shop/web",
        "spec.x",
        "a",
        "expected b",
    )
