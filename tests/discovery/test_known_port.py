"""What a port of a service is called, what is spoken there, and where its endpoints are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.endpoint import Tls
from meshd.discovery.known_port import KnownPort, Place, protocol_of


def known(**given_fields):
    fields = {
        "kind": "Service",
        "namespace": "shop",
        "name": "web",
        "port": 8080,
        "port_name": "http",
        "protocol": "http",
        "hosts": ("web.shop", "Web.Shop.svc"),
        "only_port": False,
        "places": (),
    }
    return KnownPort(**(fields | given_fields))


def test_its_cluster_is_named_for_the_service_or_for_the_first_host_of_an_entry():
    assert known().cluster == "shop/web:8080"
    assert known(kind="ServiceEntry", hosts=("api.test", "b.test")).cluster == "api.test:8080"


def test_an_authority_names_the_port():
    assert known().authorities() == ["web.shop:8080", "web.shop.svc:8080"]


@pytest.mark.parametrize("given_fields", [{"port": 80}, {"only_port": True}])
def test_the_default_port_and_an_only_one_may_be_left_out(given_fields):
    authorities = known(**given_fields).authorities()
    assert {"web.shop", "web.shop.svc"} < set(authorities)
    assert len(authorities) == 4


@pytest.mark.parametrize(
    ("name", "app_protocol", "expected"),
    [
        ("", None, "http"),
        ("http", None, "http"),
        ("http-web", None, "http"),
        ("http2-web", None, "http2"),
        ("grpc", None, "grpc"),
        ("grpc-web", None, "grpc"),
        ("tcp-db", None, "tcp"),
        ("https", None, "tls"),
        ("tls-x", None, "tls"),
        ("mysql", None, "tcp"),
        ("web", None, "http"),
        ("httpx", None, "http"),
        ("TCP", None, "tcp"),
        ("http", "grpc", "grpc"),
        ("tcp", "kubernetes.io/h2c", "http2"),
        ("tcp", "kubernetes.io/ws", "http"),
        ("grpc", "example.com/own", "grpc"),
    ],
)
def test_a_protocol_is_said_by_app_protocol_then_by_the_name(name, app_protocol, expected):
    assert protocol_of(name, app_protocol) == expected


def test_the_default_protocol_can_be_chosen():
    assert protocol_of("db", None, "tcp") == "tcp"


addresses = st.sampled_from(["10.0.0.1", "::1", "/run/app.sock"])
places = st.builds(
    Place,
    address=addresses,
    port=st.integers(0, 2),
    weight=st.integers(1, 2),
    mutual=st.booleans(),
    identities=st.frozensets(st.sampled_from(["spiffe://td/ns/a/sa/b"])),
    server_name=st.sampled_from(["", "web.shop"]),
    labels=st.sampled_from([(), (("a", "b"),)]),
    zone=st.sampled_from(["", "z"]),
)


@given(places)
def test_an_endpoint_is_all_that_its_place_says(place):
    made = place.endpoint()
    assert (made.address, made.port, made.weight, made.zone) == (place.address, place.port, place.weight, place.zone)
    assert made.tls is (Tls.MUTUAL if place.mutual else Tls.PLAIN)
    assert (made.identities, made.server_name) == (place.identities, place.server_name)
    assert made.labels == dict(place.labels)
    assert place.endpoint() is not made


@given(places, places)
def test_places_are_equal_when_nothing_differs_and_can_be_keys(one, two):
    same = repr(one) == repr(two)
    assert (one == two) is same
    assert not same or hash(one) == hash(two)
