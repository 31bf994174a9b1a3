"""An endpoint: its name, what is known of a new one, and that it is itself whatever another looks like."""

import pytest

from meshd.core.endpoint import Endpoint, Tls


@pytest.mark.parametrize(
    ("address", "port", "name"),
    [
        ("10.0.0.1", 80, "10.0.0.1:80"),
        ("reviews.default", 8080, "reviews.default:8080"),
        ("::1", 80, "[::1]:80"),
        ("/run/app.sock", 0, "/run/app.sock:0"),
    ],
)
def test_its_name_is_what_one_would_dial(address, port, name):
    assert Endpoint(address, port).name == name


def test_a_new_one_is_in_service_and_nothing_is_known_of_it():
    endpoint = Endpoint("10.0.0.1", 80)
    assert (endpoint.weight, endpoint.tls) == (1, Tls.PLAIN)
    assert (endpoint.active, endpoint.failures, endpoint.ejections, endpoint.ejected_until) == (0, 0, 0, 0.0)
    assert (endpoint.ewma, endpoint.ewma_at) == (0.0, 0.0)
    assert (endpoint.identities, endpoint.server_name, endpoint.labels, endpoint.zone) == (frozenset(), "", {}, "")


def test_two_at_one_address_are_two():
    one, other = Endpoint("10.0.0.1", 80), Endpoint("10.0.0.1", 80)
    assert one != other
    assert len({one, other}) == 2
    one.labels["version"] = "v1"
    assert other.labels == {}


def test_words_for_people():
    endpoint = Endpoint("10.0.0.1", 80, weight=3, tls=Tls.MUTUAL)
    endpoint.active = 2
    assert repr(endpoint) == "<Endpoint 10.0.0.1:80 mutual 2 active>"
