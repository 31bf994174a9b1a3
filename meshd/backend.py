"""A service port as somebody who calls it, with what its BackendPolicy says: the settings of its cluster, and the route
of calls that no other route takes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from meshd.config.backend_policy import BackendPolicy
from meshd.core.chain import Chain
from meshd.core.route import RetryPolicy, Route, idle_limit
from meshd.discovery.identities import PeerIdentity
from meshd.discovery.known_port import KnownPort
from meshd.upstream.cluster import ClusterSettings, Protocol
from meshd.upstream.pool import PoolSettings

# What is spoken toward a service by the protocol that is declared for it; else see `Cluster.pool`.
TOWARD: Mapping[str, Protocol] = {"http2": "http2", "grpc": "http2"}


@dataclass(frozen=True, slots=True)
class Backend:
    """One service port with what its BackendPolicy says."""

    known: KnownPort
    settings: ClusterSettings
    route: Route
    peer_identity: PeerIdentity | None = None  # who may answer where no endpoint says it; None: the convention


def backend_of(known: KnownPort, policy: BackendPolicy | None, chain: Chain, sticky: str) -> Backend:
    """`chain` is what policies of ours do to every call, `sticky` what its splits go by."""
    toward = TOWARD.get(known.protocol, "auto")
    if policy is None:
        return Backend(known, ClusterSettings(protocol=toward), Route(known.cluster, chain=chain))
    spec = policy.spec
    retry = spec.retry
    settings = ClusterSettings(
        pool=PoolSettings(
            max_connections=spec.connections.max,
            max_pending=spec.connections.max_pending,
            warm=spec.warm.min,
            eager=spec.warm.mode == "eager",
            idle_timeout=spec.connections.idle_timeout,
            max_lifetime=spec.connections.max_lifetime,
        ),
        warm_plain=spec.warm.min if spec.has("warm") else 0,
        budget_share=retry.budget.percent / 100 if retry.budget is not None else 1.0,
        budget_per_second=retry.budget.min_per_second if retry.budget is not None else 1e9,
        budget_window=retry.budget.window if retry.budget is not None else 10.0,
        connect_timeout=spec.connect_timeout,
        quick_ack=spec.socket.quick_ack,
        protocol=toward,
    )
    title = f"BackendPolicy/{policy.namespace}/{policy.name}"
    route = Route(
        known.cluster,
        timeout_of=f"spec.timeout of {title}" if spec.timeout else "",
        attempt_timeout_of=f"spec.retry.perTryTimeout of {title}" if retry.per_try_timeout else "",
        attempt_idle_of=f"spec.retry.perTryIdleTimeout of {title}" if retry.per_try_idle_timeout else "",
        timeout=spec.timeout or None,
        attempt_timeout=retry.per_try_timeout or None,
        hedge=retry.hedge_on_per_try_timeout,
        attempt_idle_timeout=retry.per_try_idle_timeout or None,
        idle_timeout=idle_limit(spec.timeout, retry.per_try_timeout),
        retry=retry_policy(policy),
        chain=chain,
        sticky=sticky,
    )
    return Backend(known, settings, route, spec.tls.peer_identity)


def policy_for(known: KnownPort, policies: Iterable[BackendPolicy]) -> BackendPolicy | None:
    """The policy that is attached to a service port; one that names the port stands over one that does not."""
    found = None
    for policy in policies:
        for ref in policy.spec.target_refs:
            same = ref.kind == known.kind and (ref.namespace or policy.namespace) == known.namespace
            if same and ref.name == known.name and ref.port in (None, known.port):
                found = policy if found is None or ref.port is not None else found
    return found


def retry_policy(policy: BackendPolicy) -> RetryPolicy:
    """What may be tried again, and how often."""
    retry = policy.spec.retry
    base = RetryPolicy(
        attempts=retry.attempts,
        codes=frozenset(retry.codes),
        headers=frozenset(name.lower().encode() for name in retry.headers),
        backoff_base=retry.backoff.base,
        backoff_max=retry.backoff.max,
        resets=tuple(
            (each.name.lower().encode(), each.format == "UNIX_TIMESTAMP") for each in retry.backoff.reset_headers
        ),
        reset_max=retry.backoff.reset_max,
        buffer=retry.buffer_limit,
        safe_methods=frozenset(method.encode() for method in retry.methods),
    )
    if retry.on is None:
        listed = {"retriable-status-codes"} if retry.codes else set()
        return replace(base, safe_only=base.safe_only | listed | ({"retriable-headers"} if retry.headers else set()))
    wanted = frozenset(retry.on)
    return replace(base, any_method=base.any_method & wanted, safe_only=wanted - base.any_method)
