"""Ejecting endpoints that keep failing: out of the rotation for a while, longer each time, never the last good one.

Fields and defaults are Istio's OutlierDetection and Envoy's outlier_detection.proto: five failures in a row, 30 s times
the number of ejections, 300 s at most, a tenth of the endpoints at once, but one whenever there is another.
Back in service an endpoint is on probation: one failure more ejects it again.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from meshd.core import flags
from meshd.core.endpoint import Endpoint
from meshd.core.errors import ProxyError, Resend, Side

GATEWAY_STATUSES: Final = (502, 503, 504)
NO_CONNECTION: Final = (flags.CONNECTION_FAILURE, flags.DNS_FAILED)
OUR_OWN_LIMIT: Final = (flags.OVERFLOW, flags.NO_HEALTHY_UPSTREAM)  # no endpoint was asked


@dataclass(frozen=True, slots=True)
class OutlierPolicy:
    """When, for how long, and how many. Seconds; 0 failures turns that reason off."""

    consecutive_5xx_errors: int = 5
    consecutive_gateway_errors: int = 0
    consecutive_local_origin_failures: int = 5  # only with `split_external_local_origin_errors`
    split_external_local_origin_errors: bool = False  # else a failed connection counts as a gateway error
    interval: float = 10.0  # of good service, which makes the next ejection one step shorter
    base_ejection_time: float = 30.0
    max_ejection_time: float = 300.0
    max_ejection_percent: int = 10  # 0 ejects nobody
    min_health_percent: int = 0  # with fewer in service nobody is ejected
    error_codes: frozenset[int] = frozenset()  # statuses that count like 5xx


class Outcome(Enum):
    """What an attempt says about its endpoint."""

    SUCCESS = auto()
    NOTHING = auto()  # the client left, our own limit was reached, a pooled connection had died of its idleness
    SERVER_ERROR = auto()  # it answered with 5xx
    GATEWAY_ERROR = auto()  # 502, 503, 504, or it broke off, or said nothing in time
    NO_CONNECTION = auto()


class Streak:
    """Failures of one endpoint in a row, by kind."""

    __slots__ = ("external", "gateway", "local")

    def __init__(self) -> None:
        self.external = 0
        self.gateway = 0
        self.local = 0

    def __repr__(self) -> str:
        return f"<Streak {self.external} errors, {self.gateway} of them gateway, {self.local} local>"


NOBODYS_FAULT: Final = (Resend.REUSED, Resend.MOVED)  # a connection ended, as connections do


def outcome_of(status: int, error: ProxyError | None, policy: OutlierPolicy) -> Outcome:
    """Judge an attempt by its status (0 when no response head came) and how it failed, if it did."""
    if error is not None:
        if error.side is not Side.UPSTREAM or error.flag in OUR_OWN_LIMIT or error.retry in NOBODYS_FAULT:
            return Outcome.NOTHING
        return Outcome.NO_CONNECTION if error.flag in NO_CONNECTION else Outcome.GATEWAY_ERROR
    if status < 500:
        if status in policy.error_codes:
            return Outcome.SERVER_ERROR
        return Outcome.SUCCESS if status else Outcome.NOTHING
    return Outcome.GATEWAY_ERROR if status in GATEWAY_STATUSES else Outcome.SERVER_ERROR


def count(streak: Streak, outcome: Outcome, policy: OutlierPolicy) -> bool:
    """Add one failure; whether the endpoint is due to be ejected."""
    if outcome is Outcome.NO_CONNECTION and policy.split_external_local_origin_errors:
        streak.local += 1
        return 0 < policy.consecutive_local_origin_failures <= streak.local
    streak.local = 0
    streak.external += 1
    streak.gateway = 0 if outcome is Outcome.SERVER_ERROR else streak.gateway + 1
    return (
        0 < policy.consecutive_5xx_errors <= streak.external or 0 < policy.consecutive_gateway_errors <= streak.gateway
    )


def may_eject(hosts: int, healthy: int, ejected: int, policy: OutlierPolicy) -> bool:
    """Whether one of the `healthy` may be ejected, when `ejected` of all `hosts` are already."""
    if healthy < 2:
        return False
    most = max(1, hosts * policy.max_ejection_percent // 100) if policy.max_ejection_percent else 0
    return ejected < most and (healthy - 1) * 100 >= policy.min_health_percent * hosts


def eject(endpoint: Endpoint, streak: Streak, policy: OutlierPolicy, now: float) -> None:
    """Take it out of the rotation, one step longer than the last time."""
    served = max(0.0, now - endpoint.ejected_until)
    endpoint.ejections = max(0, endpoint.ejections - int(served / policy.interval)) + 1
    endpoint.ejected_until = now + min(policy.base_ejection_time * endpoint.ejections, policy.max_ejection_time)
    streak.external = max(0, policy.consecutive_5xx_errors - 1)
    streak.gateway = max(0, policy.consecutive_gateway_errors - 1)
    streak.local = max(0, policy.consecutive_local_origin_failures - 1)


def is_ejected(endpoint: Endpoint, now: float) -> bool:
    """Whether it is out of the rotation; it is unejected by time alone."""
    return endpoint.ejected_until > now
