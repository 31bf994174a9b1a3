"""The registry of kinds, and the collection that loading yields."""

import pickle

import pytest
from support.documents import document, read, text_of

from meshd.config.documents import IGNORED_KINDS, KINDS, UNSUPPORTED_KINDS, Documents, of_kind
from meshd.config.service import Service
from meshd.config.service_entry import ServiceEntry


def test_each_kind_is_known_in_one_way():
    assert not set(KINDS) & IGNORED_KINDS
    assert not set(KINDS) & set(UNSUPPORTED_KINDS)
    assert not IGNORED_KINDS & set(UNSUPPORTED_KINDS)


def test_every_kind_but_the_bootstrap_has_a_place():
    of_no_kind = ("problems", "digest", "files", "empty_lists")
    assert Documents.__slots__[-len(of_no_kind) :] == of_no_kind
    assert len(Documents.__slots__) - len(of_no_kind) == len(KINDS) - 1


@pytest.mark.parametrize("kind", UNSUPPORTED_KINDS)
def test_kinds_of_others_are_refused_with_a_remedy(kind):
    documents, [problem] = read(text_of(kind, "a.b/v1", "{}"))
    assert documents == []
    assert (problem.severity, problem.rule, problem.suggestion) == ("error", "unsupported", UNSUPPORTED_KINDS[kind])


@pytest.mark.parametrize("kind", ["Deployment", "ConfigMap", "Namespace", "Gateway"])
def test_kinds_without_traffic_are_left_alone(kind):
    documents, [problem] = read(text_of(kind, "a/v1", "{any: thing}"))
    assert documents == []
    assert problem.severity == "warning"


def test_of_kind_sorts_by_namespace_and_name():
    texts = [text_of("Service", "v1", "ports: [{port: 1}]").replace("name: name", f"name: {name}") for name in "cab"]
    texts.append(text_of("ServiceEntry", "networking.istio.io/v1", "hosts: [a.b]"))
    documents, _ = read("---\n".join(texts))
    assert [each.model.name for each in of_kind(documents, Service)] == ["a", "b", "c"]
    assert len(of_kind(documents, ServiceEntry)) == 1


def test_documents_travel():
    found = document(text_of("Service", "v1", "ports: [{port: 1}]"))
    documents = Documents(services=of_kind([found], Service), digest="d" * 64)
    again = pickle.loads(pickle.dumps(documents))
    assert again == documents
    assert again.services[0].where(("spec", "ports")) == ("f.yaml", 5, 10)
    assert again.services[0].model.has("spec")
    assert repr(again) == "<Documents 1 documents, 0 warnings, dddddddddddd>"
