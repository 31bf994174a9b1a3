"""What is under way and open, counted by looking."""

from support.exchanges import make_exchange

from meshd.core.cells import OVERFLOW
from meshd.core.peer import NOBODY
from meshd.proxy.levels import MOST, Levels


def told(levels):
    return {(name, *dict(labels).values()): value for (name, labels), value in levels.found.items()}


def test_requests_under_way_are_told_by_method_scheme_and_direction():
    levels = Levels()
    plain = make_exchange(method=b"BREW", inbound=False)
    plain.peer = NOBODY
    for exchange in (make_exchange(), make_exchange(), plain):
        levels.add_exchange(exchange)
    assert told(levels) == {
        ("http.server.active_requests", "GET", "https", "inbound"): 2,
        ("http.server.active_requests", "_OTHER", "http", "outbound"): 1,
    }


def test_connections_are_told_by_state_and_where_they_go():
    levels = Levels()
    levels.add_cluster("shop/reviews:80", 2, 1)
    levels.add_cluster("app:127.0.0.1:8080", 0, 3)
    levels.add_cluster("a:1", 0, 0)
    host = "reviews.shop.svc.cluster.local"
    assert told(levels) == {
        ("http.client.open_connections", "active", host, "80", "shop/reviews:80"): 2,
        ("http.client.open_connections", "idle", host, "80", "shop/reviews:80"): 1,
        ("http.client.open_connections", "idle", "127.0.0.1", "8080", "app:127.0.0.1:8080"): 3,
    }


def test_clusters_past_the_cap_share_one():
    levels = Levels()
    for number in range(MOST + 3):
        levels.add_cluster(f"shop/s{number}:80", 1, 1)
    assert len(levels.found) == 2 * MOST + 1
    assert levels.found["http.client.open_connections", OVERFLOW] == 6
