"""Endpoints by their weights, and how often each was picked."""

from collections import Counter

from meshd.core.endpoint import Endpoint


def make_endpoints(*weights):
    """One for each weight, at 10.0.0.1, 10.0.0.2, ..."""
    return tuple(Endpoint(f"10.0.0.{number}", 80, weight=weight) for number, weight in enumerate(weights, 1))


def tally(picks, endpoints):
    """How often each was picked, in their order; nobody else was."""
    counts = Counter(picks)
    assert set(counts) <= set(endpoints)
    return [counts[endpoint] for endpoint in endpoints]


def assert_shares(picks, endpoints, within=0.1):
    """Each was picked in proportion to its weight, give or take this share of its own."""
    total = sum(endpoint.weight for endpoint in endpoints)
    for endpoint, count in zip(endpoints, tally(picks, endpoints), strict=True):
        expected = len(picks) * endpoint.weight / total
        assert abs(count - expected) <= within * expected, f"{endpoint!r}: {count}, expected {expected}"
