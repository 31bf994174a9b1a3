"""The endpoints of one destination: picked among, watched, each with its pool."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from meshd.core import flags
from meshd.core.endpoint import Endpoint
from meshd.core.errors import ProxyError, Side
from meshd.core.exchange import Attempt
from meshd.net import wait
from meshd.upstream.balancer import BALANCERS, Balancer, observe_latency
from meshd.upstream.budget import Budget
from meshd.upstream.outlier import OutlierPolicy, is_ejected, note_failure, note_success
from meshd.upstream.pool import Connection, Pool, PoolSettings

Connect = Callable[[Endpoint], Awaitable[Connection]]


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How one destination is treated. Equal settings let a cluster survive a reload."""

    balancer: str = "PEAK_EWMA"
    pool: PoolSettings = field(default_factory=PoolSettings)
    outlier: OutlierPolicy = field(default_factory=OutlierPolicy)
    budget_share: float = 0.2
    budget_per_second: float = 10.0
    budget_window: float = 10.0
    connect_timeout: float = 1.0


class Cluster:
    """Mutable where its endpoints change; everything else is fixed."""

    __slots__ = ("_balancer", "_connect", "_pools", "_random", "budget", "ejected", "endpoints", "name", "settings")

    def __init__(
        self, name: str, endpoints: Iterable[Endpoint], connect: Connect, settings: ClusterSettings, random: Random
    ) -> None:
        self.name = name
        self.settings = settings
        self.endpoints = list(endpoints)
        self.budget = Budget(settings.budget_share, settings.budget_per_second, settings.budget_window)
        self.ejected = 0  # how often an endpoint was
        self._connect = connect
        self._random = random
        self._balancer: Balancer = BALANCERS[settings.balancer](random)
        self._pools = {endpoint: self._new_pool(endpoint) for endpoint in self.endpoints}

    def _new_pool(self, endpoint: Endpoint) -> Pool:
        return Pool(endpoint, self._connect, self.settings.pool, self._random)

    def pick(self, now: float, key: int, tried: Sequence[Endpoint]) -> Endpoint | None:
        """An endpoint in service that was not tried yet; if all were tried, any in service; if all are ejected, any.

        None when there are no endpoints at all.
        """
        endpoints = self.endpoints
        if not endpoints:
            return None
        if len(endpoints) == 1:
            return endpoints[0]
        candidates = [endpoint for endpoint in endpoints if endpoint.ejected_until <= now] or endpoints
        if tried:
            candidates = [endpoint for endpoint in candidates if endpoint not in tried] or candidates
        return self._balancer.pick(candidates, now, key)

    def pool(self, endpoint: Endpoint) -> Pool:
        """The connections of one endpoint, also of one that has just left."""
        found = self._pools.get(endpoint)
        if found is None:
            found = self._pools[endpoint] = self._new_pool(endpoint)
            found.closed = True
        return found

    def observe(self, attempt: Attempt, error: ProxyError | None) -> None:
        """Learn from an attempt that has ended: how fast, and whether the endpoint is to blame for a failure."""
        endpoint, now = attempt.endpoint, attempt.ended
        if error is not None and (error.side is not Side.UPSTREAM or error.flag == flags.OVERFLOW):
            return  # the client left, or we are the ones who are full
        failed = error is not None or attempt.status >= 500
        if not failed:
            observe_latency(endpoint, now - attempt.started, now)
            note_success(endpoint)
        elif note_failure(endpoint, self.endpoints, self.settings.outlier, now):
            self.ejected += 1

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """The endpoints are these now. Those that stay keep what was learnt of them and their connections."""
        known = {_identity(endpoint): endpoint for endpoint in self.endpoints}
        self.endpoints = [known.pop(_identity(endpoint), endpoint) for endpoint in endpoints]
        for endpoint in self.endpoints:
            if endpoint not in self._pools:
                self._pools[endpoint] = self._new_pool(endpoint)
        for endpoint in known.values():
            self._pools[endpoint].close()

    async def fill(self) -> None:
        """Fill the eager floors, one endpoint after the other."""
        for endpoint in list(self.endpoints):
            await self._pools[endpoint].fill()

    def sweep(self, now: float) -> None:
        """See to every pool; forget those of endpoints that left once their last connection is gone."""
        for endpoint, pool in tuple(self._pools.items()):
            pool.sweep(now)
            if pool.closed and not pool.live and endpoint not in self.endpoints:
                del self._pools[endpoint]

    def close(self) -> None:
        """Nothing new; what is leased closes when it comes back."""
        for pool in self._pools.values():
            pool.close()

    def statistics(self) -> dict[str, object]:
        """What the admin page shows."""
        now = wait.now()
        return {
            "balancer": self.settings.balancer,
            "ejections": self.ejected,
            "budget": {"requests": self.budget.total_requests, "retries": self.budget.total_retries},
            "endpoints": [self._describe(endpoint, now) for endpoint in self.endpoints],
        }

    def _describe(self, endpoint: Endpoint, now: float) -> dict[str, object]:
        pool = self._pools[endpoint].statistics()
        return {
            "address": endpoint.name,
            "tls": endpoint.tls.name.lower(),
            "weight": endpoint.weight,
            "active": endpoint.active,
            "ejected": is_ejected(endpoint, now),
            "failures": endpoint.failures,
            "latency_ms": round(endpoint.ewma * 1000, 3),
            "leased": pool.leased,
            "idle": pool.idle,
            "waiting": pool.waiting,
            "dialled": pool.dialled,
            "dials_failed": pool.failed,
            "stale": pool.stale,
            "overflowed": pool.overflowed,
        }

    def __repr__(self) -> str:
        return f"<Cluster {self.name} {len(self.endpoints)} endpoints>"


def _identity(endpoint: Endpoint) -> tuple[object, ...]:
    """What makes two descriptions the same endpoint."""
    labels = tuple(sorted(endpoint.labels.items()))
    return (
        endpoint.address,
        endpoint.port,
        endpoint.weight,
        endpoint.tls,
        endpoint.identities,
        endpoint.server_name,
        labels,
        endpoint.zone,
    )
