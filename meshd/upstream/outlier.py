"""Ejecting endpoints that keep failing: out of the rotation for a while, longer each time, never the last good one.

The defaults are Envoy's (outlier_detection.proto): five consecutive failures, 30 s times the number of ejections, 300 s at
most. A share of endpoints may be out at once; one always may, if there is another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from meshd.core.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class OutlierPolicy:
    """When, for how long, and how many. Seconds; 0 failures turns it off."""

    failures: int = 5
    base: float = 30.0
    longest: float = 300.0
    max_percent: int = 10


def note_success(endpoint: Endpoint) -> None:
    """It answered: whatever came before is forgotten but the number of ejections, which a good spell wears off."""
    endpoint.failures = 0


def note_failure(endpoint: Endpoint, endpoints: Sequence[Endpoint], policy: OutlierPolicy, now: float) -> bool:
    """It failed; whether that ejected it."""
    endpoint.failures += 1
    if not policy.failures or endpoint.failures < policy.failures or is_ejected(endpoint, now):
        return False
    out = sum(1 for each in endpoints if is_ejected(each, now))
    allowed = max(1, len(endpoints) * policy.max_percent // 100)
    if len(endpoints) < 2 or out >= allowed or out + 1 >= len(endpoints):
        return False
    if now - endpoint.ejected_until > policy.longest:
        endpoint.ejections = 0
    endpoint.ejections += 1
    endpoint.ejected_until = now + min(policy.base * endpoint.ejections, policy.longest)
    endpoint.failures = policy.failures - 1  # back in service, one more failure is enough
    return True


def is_ejected(endpoint: Endpoint, now: float) -> bool:
    """Whether it is out of the rotation."""
    return endpoint.ejected_until > now
