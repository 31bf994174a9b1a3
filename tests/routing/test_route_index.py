"""A service port looks only at routes that name its service, and misses none of them."""

import pytest

from meshd.config.grpc_route import GRPCRoute
from meshd.config.http_route import HTTPRoute
from meshd.routing.http_routes import Parent
from meshd.routing.route_index import RouteIndex

WEB = Parent("Service", "shop", "web", 80, "http")
ENTRY = Parent("ServiceEntry", "shop", "out", 443, "tls")
ENTRIES = "networking.istio.io"


def route(*refs, name="r", namespace="shop", model=HTTPRoute):
    refs = [{"group": "", "kind": "Service", "name": "web"} | ref for ref in refs or [{}]]
    return model.model_validate(
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": model.__name__,
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"parentRefs": refs},
        }
    )


@pytest.mark.parametrize(
    ("parent", "namespace", "found"),
    [
        ({}, "shop", True),
        ({}, "callers", False),
        ({"namespace": "shop"}, "callers", True),
        ({"name": "other"}, "shop", False),
        ({"port": 81}, "shop", True),  # the table looks at ports
        ({"group": ENTRIES, "kind": "ServiceEntry"}, "shop", False),
        ({"group": "gateway.networking.k8s.io", "kind": "Gateway"}, "shop", False),
    ],
)
def test_by_the_service_that_is_named(parent, namespace, found):
    made = route(parent, namespace=namespace)
    assert list(RouteIndex([made]).find(WEB)) == ([made] if found else [])


def test_an_entry_is_another_service_than_one_of_its_name():
    made = route({"group": ENTRIES, "kind": "ServiceEntry", "name": "out"})
    index = RouteIndex([made])
    assert list(index.find(ENTRY)) == [made]
    assert list(index.find(Parent("Service", "shop", "out", 443, ""))) == []


def test_in_the_order_they_came_each_once():
    made = [route(name="z"), route({"port": 80}, {"port": 81}, name="a"), route(model=GRPCRoute)]
    index = RouteIndex(made)
    assert list(index.find(WEB)) == made
    assert repr(index) == "<RouteIndex of 1 services>"
