"""DestinationRules, as settings of the clusters they are about.

Source: istio/api networking/v1alpha3/destination_rule.proto. A rule in the caller's own namespace goes before one in
the destination's, and that before one of the whole mesh; among those the most special host. What a rule says goes
before what a BackendPolicy says, and what both leave out is the house's default; so there is outlier detection without
a rule. Bounds that Envoy keeps for a cluster as a whole are kept for each of its endpoints here. A subset is a cluster
of its own, of the endpoints that carry its labels: a backendRef of kind Subset and group meshd.dev names it
SERVICE.SUBSET.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from meshd.config.destination_rule import DestinationRule, Subset
from meshd.config.traffic_policy import (
    ConnectionPool,
    LoadBalancer,
    OutlierDetection,
    RetryBudget,
    TlsSettings,
    TrafficPolicy,
)
from meshd.discovery.known_port import KnownPort, Place
from meshd.upstream.cluster import ClusterSettings
from meshd.upstream.outlier import OutlierPolicy
from meshd.upstream.pool import PoolSettings

SIMPLE = {"LEAST_CONN": "LEAST_REQUEST"}  # its old name


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom the rules are: the sidecar that calls."""

    namespace: str
    labels: Mapping[str, str]
    root_namespace: str


@dataclass(frozen=True, slots=True)
class Treatment:
    """What holds for one port of a destination, or of a subset: None for what no rule speaks of."""

    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: TlsSettings | None = None
    retry_budget: RetryBudget | None = None

    def over(self, other: "Treatment") -> "Treatment":
        """Part by part: the other one where none is said here."""
        return Treatment(
            self.load_balancer or other.load_balancer,
            self.connection_pool or other.connection_pool,
            self.outlier_detection or other.outlier_detection,
            self.tls or other.tls,
            self.retry_budget or other.retry_budget,
        )


class RulesByHost:
    """DestinationRules by the hosts they name: a destination looks only at those that may be about it."""

    __slots__ = ("_count", "_lengths", "_named", "_suffixes")

    def __init__(self, rules: Iterable[DestinationRule] = ()) -> None:
        self._count = 0
        self._named: dict[str, list[tuple[int, DestinationRule]]] = {}
        self._suffixes: dict[str, list[tuple[int, DestinationRule]]] = {}
        self._lengths: set[int] = set()  # of the suffixes
        for rule in rules:
            self.add(rule)

    def add(self, rule: DestinationRule) -> None:
        """One more, after those that are there."""
        host = rule.spec.host.lower().rstrip(".")
        place = (self._count, rule)
        self._count += 1
        if host.startswith("*"):
            self._suffixes.setdefault(host[1:], []).append(place)
            self._lengths.add(len(host) - 1)
        else:
            self._named.setdefault(host, []).append(place)

    def find(self, known: KnownPort) -> Sequence[DestinationRule]:
        """Those that may be about this destination, in the order they were added; `rule_for` chooses among them."""
        names = {name.lower() for name in (known.name, *known.hosts)}
        found = [place for name in names for place in self._named.get(name, ())]
        for length in self._lengths:
            endings = {name[len(name) - length :] for name in names if len(name) >= length}
            found += [place for ending in endings for place in self._suffixes.get(ending, ())]
        return [rule for _, rule in sorted(found, key=lambda place: place[0])]

    def __repr__(self) -> str:
        return f"<RulesByHost of {self._count} rules>"


def rule_for(rules: Iterable[DestinationRule], known: KnownPort, caller: Caller) -> DestinationRule | None:
    """The one rule that acts on a destination; None when there is none."""
    found, best = None, (0, 0, 0)
    for rule in rules:
        rank = (_nearness(rule, known, caller), *_fit(rule, known))
        if min(rank[:2]) > 0 and rank > best:
            found, best = rule, rank
    return found


def _nearness(rule: DestinationRule, known: KnownPort, caller: Caller) -> int:
    """3 for the caller's own namespace, 2 for the destination's, 1 for the mesh's, 0 for one that is not for us."""
    spec = rule.spec
    if rule.namespace == caller.namespace:
        return 3 if spec.workload_selector is None or spec.workload_selector.selects(dict(caller.labels)) else 0
    visible = not spec.export_to or "*" in spec.export_to or caller.namespace in spec.export_to
    if not visible or spec.workload_selector is not None:
        return 0
    return 2 if rule.namespace == known.namespace else int(rule.namespace == caller.root_namespace)


def _fit(rule: DestinationRule, known: KnownPort) -> tuple[int, int]:
    """2 for the very host, 1 for a wildcard, with its length; 0 when it is another."""
    host = rule.spec.host.lower().rstrip(".")
    names = [name.lower() for name in known.hosts]
    if "." not in host and "*" not in host and known.kind == "Service":
        return (2 if (known.namespace, known.name) == (rule.namespace, host) else 0), len(host)
    if host in names:
        return 2, len(host)
    wild = host.startswith("*") and any(name.endswith(host[1:]) for name in names)
    return int(wild), len(host)


def treatment(rule: DestinationRule | None, port: int, subset: Subset | None = None) -> Treatment:
    """What the rule says of a port. The policy of a port takes the place of the destination's, of which it inherits
    nothing; a subset's goes before both, part by part."""
    if rule is None:
        return Treatment()
    whole = _of_policy(rule.spec.traffic_policy, port)
    return whole if subset is None else _of_policy(subset.traffic_policy, port).over(whole)


def _of_policy(policy: TrafficPolicy | None, port: int) -> Treatment:
    if policy is None:
        return Treatment()
    for each in policy.port_level_settings:
        if each.port is not None and each.port.number == port:
            return Treatment(
                each.load_balancer, each.connection_pool, each.outlier_detection, each.tls, policy.retry_budget
            )
    return Treatment(
        policy.load_balancer, policy.connection_pool, policy.outlier_detection, policy.tls, policy.retry_budget
    )


def settings_under(given: Treatment, settings: ClusterSettings) -> ClusterSettings:
    """The settings of a cluster, where a treatment says otherwise changed."""
    settings = _balanced(settings, given.load_balancer)
    pool = given.connection_pool
    if pool is not None:
        tcp = pool.tcp
        if tcp is not None and tcp.connect_timeout is not None:
            settings = replace(settings, connect_timeout=tcp.connect_timeout)
        settings = replace(settings, pool=_pooled(settings.pool, pool))
    if given.outlier_detection is not None:
        settings = replace(settings, outlier=_outlier(given.outlier_detection))
    budget = given.retry_budget
    if budget is not None and budget.percent is not None:
        settings = replace(settings, budget_share=budget.percent / 100)
    if budget is not None and budget.budget_interval:
        settings = replace(settings, budget_window=budget.budget_interval)
    return settings


def _balanced(settings: ClusterSettings, balancer: LoadBalancer | None) -> ClusterSettings:
    if balancer is None:
        return settings
    hashed = balancer.consistent_hash
    if hashed is None:
        named = balancer.simple or "UNSPECIFIED"
        return settings if named == "UNSPECIFIED" else replace(settings, balancer=SIMPLE.get(named, named))
    if hashed.http_header_name is not None:
        hash_by = f"header:{hashed.http_header_name}"
    elif hashed.http_cookie is not None:
        hash_by = f"cookie:{hashed.http_cookie.name}"
    elif hashed.http_query_parameter_name is not None:
        hash_by = f"query:{hashed.http_query_parameter_name}"
    else:
        hash_by = "source-ip"
    if hashed.maglev is not None:
        return replace(settings, balancer="MAGLEV", balancer_size=hashed.maglev.table_size, hash_by=hash_by)
    return replace(settings, balancer="RING_HASH", balancer_size=hashed.ring_size, hash_by=hash_by)


def _pooled(settings: PoolSettings, pool: ConnectionPool) -> PoolSettings:
    """0 of connections or requests means the default."""
    tcp, http = pool.tcp, pool.http
    if tcp is not None and tcp.max_connections:
        warm = min(settings.warm, tcp.max_connections)
        settings = replace(settings, max_connections=tcp.max_connections, warm=warm)
    if tcp is not None and tcp.max_connection_duration is not None:
        settings = replace(settings, max_lifetime=tcp.max_connection_duration)
    if http is not None and http.http1_max_pending_requests:
        settings = replace(settings, max_pending=http.http1_max_pending_requests)
    if http is not None and http.idle_timeout is not None:
        settings = replace(settings, idle_timeout=http.idle_timeout)
    return settings


def _outlier(given: OutlierDetection) -> OutlierPolicy:
    fields: dict[str, float | int | None] = {
        "consecutive_5xx_errors": given.consecutive_5xx_errors,
        "consecutive_gateway_errors": given.consecutive_gateway_errors,
        "consecutive_local_origin_failures": given.consecutive_local_origin_failures,
        "interval": given.interval,
        "base_ejection_time": given.base_ejection_time,
        "max_ejection_percent": given.max_ejection_percent,
        "min_health_percent": given.min_health_percent,
    }
    base = OutlierPolicy(
        split_external_local_origin_errors=given.split_external_local_origin_errors,
        error_codes=frozenset(given.outlier_detection_http_error_codes),
    )
    return replace(base, **{name: value for name, value in fields.items() if value is not None})  # type: ignore[arg-type]  # names and types are those of OutlierPolicy


def places_under(given: Treatment, places: tuple[Place, ...]) -> tuple[Place, ...]:
    """The endpoints, dialled as the treatment says."""
    tls = given.tls
    if tls is None:
        return places
    if tls.mode == "DISABLE":
        return tuple(replace(place, mutual=False) for place in places)
    names = frozenset(tls.subject_alt_names)
    return tuple(
        replace(place, mutual=True, identities=names or place.identities, server_name=tls.sni or place.server_name)
        for place in places
    )


def places_of(subset: Subset, places: tuple[Place, ...]) -> tuple[Place, ...]:
    """The endpoints that carry the labels of a subset."""
    wanted = subset.labels.items()
    return tuple(place for place in places if wanted <= dict(place.labels).items())
