"""What a policy is compiled for."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """One workload port, as selectors, trust domains and port conditions see it."""

    namespace: str
    labels: Mapping[str, str]
    port: int
    trust_domain: str = "cluster.local"
    aliases: tuple[str, ...] = ()
    root_namespace: str = "istio-system"
    trusts_proxies: bool = False  # whether somebody said how many proxies in front are trusted, be it none
