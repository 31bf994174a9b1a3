"""What exists, by every name it has."""

import pytest
from support.documents import read, text_of

from meshd.config.destinations import Destinations
from meshd.config.documents import Documents, of_kind
from meshd.config.references import BackendObjectRef
from meshd.config.service import Service
from meshd.config.service_entry import ServiceEntry

TEXT = "---\n".join(
    [
        text_of("Service", "v1", "ports: [{name: http, port: 80}]"),
        text_of("ServiceEntry", "networking.istio.io/v1", "hosts: [A.b, '*.c.d']\nports: [{number: 443, name: tls}]"),
    ]
)


@pytest.fixture
def destinations():
    found, problems = read(TEXT)
    assert problems == []
    return Destinations.of(Documents(services=of_kind(found, Service), service_entries=of_kind(found, ServiceEntry)))


@pytest.mark.parametrize("host", ["name", "name.ns", "name.ns.svc", "name.ns.svc.cluster.local", "NAME.ns."])
def test_services_by_host(destinations, host):
    assert destinations.of_host(host, "ns") == {80: "http"}


@pytest.mark.parametrize("host", ["a.b", "x.c.d"])
def test_entries_by_host(destinations, host):
    assert destinations.of_host(host, "elsewhere") == {443: "tls"}


@pytest.mark.parametrize("host", ["other", "name.other", "x.y.c.d", "name.ns.svc.other", ""])
def test_what_does_not_exist(destinations, host):
    assert destinations.of_host(host, "ns") is None


@pytest.mark.parametrize(
    ("ref", "ports"),
    [
        ({"name": "name"}, {80: "http"}),
        ({"name": "name", "namespace": "other"}, None),
        ({"name": "name", "group": "networking.istio.io", "kind": "ServiceEntry"}, {443: "tls"}),
        ({"name": "a.b", "group": "networking.istio.io", "kind": "Hostname"}, {443: "tls"}),
        ({"name": "name", "group": "other", "kind": "Thing"}, None),
    ],
)
def test_references(destinations, ref, ports):
    assert destinations.of_reference(BackendObjectRef.model_validate(ref), "ns") == ports


def test_nearest(destinations):
    assert destinations.nearest("nmae", "ns") == "did you mean 'name'?"
    assert destinations.nearest("name", "other") == "there is one in namespace 'ns'"
    assert destinations.nearest("zzz", "ns") == ""


def test_a_set_that_is_wrong_throughout_is_not_compared_name_by_name_for_ever(destinations, monkeypatch):
    assert destinations.nearest("nmae", "ns") == "did you mean 'name'?"
    monkeypatch.setattr("meshd.config.hints.MOST_COMPARED", 1)
    assert destinations.nearest("nmae", "ns") == ""
    assert destinations.nearest("name", "other") == "there is one in namespace 'ns'"  # looked up, not compared
