"""The endpoints of one destination: picked among, watched, each with its pool.

Rule 1: candidates are kept as one tuple until something changes them: an ejection, its end, an endpoint that cannot be
dialled, new endpoints. So a pick costs no list, and a balancer recognises the tuple it has seen.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from random import Random
from typing import Final, Literal
from typing import Protocol as Typed
from weakref import ref

from meshd.core.endpoint import Endpoint, Tls
from meshd.core.errors import ProxyError
from meshd.core.exchange import Attempt
from meshd.core.head import RequestHead
from meshd.http.grpc import http_status, is_grpc
from meshd.net import wait
from meshd.upstream.balancer import BALANCERS
from meshd.upstream.budget import Budget
from meshd.upstream.connection import Connection
from meshd.upstream.hash_key import key_by
from meshd.upstream.ledger import Ledger
from meshd.upstream.outlier import Outcome, OutlierPolicy, Streak, count, eject, is_ejected, may_eject, outcome_of
from meshd.upstream.peak_ewma import observe_failure, observe_latency, seed
from meshd.upstream.pool import Pool, PoolSettings
from meshd.upstream.refusal import warn

Protocol = Literal["auto", "http1", "http2"]


class Connect(Typed):
    """How a connection is made: a connector, or what tests put in its place. Raises `UpstreamError`."""

    def __call__(self, endpoint: Endpoint, *, http2: bool = False) -> Awaitable[Connection]:
        """A connection to the endpoint, one that speaks HTTP/2 if asked."""


NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How one destination is treated. Equal settings let a cluster survive a reload."""

    balancer: str = "PEAK_EWMA"
    balancer_size: int = 0  # of the table or ring of a consistent-hash balancer; 0 for its default
    hash_by: str = ""  # what it hashes, as `hash_key.key_by` reads it
    pool: PoolSettings = field(default_factory=PoolSettings)
    outlier: OutlierPolicy = field(default_factory=OutlierPolicy)
    warm_plain: int = 0  # the floor of `pool` where there is no mutual TLS: such a server may serve one at a time
    budget_share: float = 0.2
    budget_per_second: float = 10.0
    budget_window: float = 10.0
    connect_timeout: float = 1.0
    quick_ack: bool | None = None  # whether a part of a response is acknowledged at once; None: where there is no TLS
    protocol: Protocol = "auto"  # toward the endpoints; auto: see `Cluster.pool`


class Cluster:
    """Mutable where its endpoints change; everything else is fixed."""

    __slots__ = (
        "__weakref__",
        "_balancer",
        "_candidates",
        "_connect",
        "_http2",
        "_others",
        "_pools",
        "_random",
        "_streaks",
        "_valid_until",
        "budget",
        "ejections",
        "endpoints",
        "key_of",
        "name",
        "parted",
        "settings",
        "starved",
    )

    def __init__(
        self,
        name: str,
        endpoints: Iterable[Endpoint],
        connect: Connect,
        settings: ClusterSettings,
        random: Random,
        ledger: Ledger | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.parted: Callable[[str, float], None] | None = None  # told of each connection that ends, and how old it was
        self.endpoints: tuple[Endpoint, ...] = tuple(endpoints)
        window = settings.budget_window
        account = ledger.account(name, window) if ledger is not None else None
        self.budget = Budget(settings.budget_share, settings.budget_per_second, window, account=account)
        self.starved: list[Pool[Connection]] = []  # in whose lines somebody waits until a connection comes free
        self.ejections = 0  # how often an endpoint was ejected
        self._connect = connect
        self._random = random
        self._balancer = BALANCERS[settings.balancer](random, settings.balancer_size)
        self.key_of = key_by(settings.hash_by, random)
        self._balancer.update(self.endpoints)
        self._candidates = self.endpoints
        self._valid_until = 0.0  # when `_candidates` must be looked at again
        self._streaks: dict[Endpoint, Streak] = {}  # of endpoints that failed last
        self._http2 = settings.protocol == "http2"  # what `_pools` hold
        self._pools = {endpoint: self._new_pool(endpoint) for endpoint in self.endpoints}
        self._others: dict[Endpoint, Pool[Connection]] = {}  # the other protocol's, made when first asked for

    def _new_pool(self, endpoint: Endpoint, *, other: bool = False) -> Pool[Connection]:
        http2 = self._http2 is not other
        settings = self.settings.pool
        if other or http2:  # nothing is kept warm of what may never be asked for
            settings = replace(settings, eager=settings.eager and not other, multiplexed=http2)
        if endpoint.tls is Tls.PLAIN:
            eager = settings.eager and settings.warm > 0
            settings = replace(settings, warm=self.settings.warm_plain, eager=eager, prove=True)

        # Nothing that a pool holds leads back to us: a cluster of a large mesh goes by its reference count, because the
        # garbage collector does not look at it (`process/pace.py`).
        dial, us = self._connect, ref(self)

        async def connect() -> Connection:
            return await (dial(endpoint, http2=True) if http2 else dial(endpoint))

        def changed() -> None:
            if (cluster := us()) is not None:
                cluster.reconsider()

        def parted(born: float) -> None:
            if (cluster := us()) is not None and cluster.parted is not None:
                cluster.parted(cluster.name, wait.now() - born)

        pool = Pool(endpoint, connect, settings, self._random, changed)
        pool.parted = parted
        pool.holding.told = partial(warn, self.name, endpoint)
        return pool

    # -- which -------------------------------------------------------------------------------------------------------

    def pick(self, now: float, key: int, tried: Sequence[Endpoint]) -> Endpoint | None:
        """An endpoint in service that was not tried yet; if all were tried, any in service; if none is in service, any.

        None when there are no endpoints at all. `key` is what a consistent-hash balancer hashes by.
        """
        endpoints = self.endpoints
        if len(endpoints) == 1:
            return endpoints[0]
        if now >= self._valid_until:
            self._look(now)
        candidates = self._candidates
        if tried:
            candidates = tuple([endpoint for endpoint in candidates if endpoint not in tried]) or candidates
        return self._balancer.pick(candidates, now, key) if candidates else None

    def serves(self, endpoint: Endpoint, now: float) -> bool:
        """Whether an endpoint is one of ours, and in service."""
        if now >= self._valid_until:
            self._look(now)
        return endpoint in self._candidates

    def reconsider(self) -> None:
        """Look again at who is in service before the next pick."""
        self._valid_until = 0.0

    def _look(self, now: float) -> None:
        """Who is in service: neither ejected, nor impossible to dial, nor without its first warm connection.

        With nobody in service everybody is: requests that may fail are better than requests that must.
        """
        serving, until = [], NEVER
        for endpoint in self.endpoints:
            seed(endpoint, now)  # or one that is new would look faster than any, and be sent everything
            pool = self._pools[endpoint]
            back = max(endpoint.ejected_until, pool.held_until)
            if back > now:
                until = min(until, back)
            elif not pool.warming:
                serving.append(endpoint)
        whole = len(serving) in (0, len(self.endpoints))
        self._candidates = self.endpoints if whole else tuple(serving)
        self._valid_until = until

    async def dial(self, endpoint: Endpoint) -> Connection:
        """A connection of HTTP/1.1, or of what is to go over it, that no pool knows of. Raises `UpstreamError`."""
        return await self._connect(endpoint)

    def pool(self, endpoint: Endpoint, head: RequestHead | None = None) -> Pool[Connection]:
        """The connections of one endpoint, also of one that has just left, that are right for this request.

        Where the protocol is `auto`: between sidecars what the client speaks; toward an app HTTP/1.1, which every app
        behind a port of no declared protocol speaks, but HTTP/2 for gRPC, which knows nothing else.
        """
        pools = self._pools
        if head is not None and (head.protocol == b"h2" or self._http2) and self._is_other(endpoint, head):
            pools = self._others
        found = pools.get(endpoint)
        if found is None:
            found = pools[endpoint] = self._new_pool(endpoint, other=pools is self._others)
            if pools is self._pools or endpoint not in self._pools or self._pools[endpoint].closed:
                found.close()
        return found

    def _is_other(self, endpoint: Endpoint, head: RequestHead) -> bool:
        """Whether this request needs the protocol that `_pools` do not speak."""
        if head.upgrade is not None:  # in HTTP/1.1 wherever that is spoken: every server that switches does it there
            return self._http2 and endpoint.tls is Tls.MUTUAL
        if self.settings.protocol != "auto":
            return False
        return endpoint.tls is Tls.MUTUAL or is_grpc(head.get(b"content-type"))

    # -- what is learnt ----------------------------------------------------------------------------------------------

    def observe(self, attempt: Attempt, error: ProxyError | None) -> None:
        """Learn from an attempt that has ended: how fast, and whether the endpoint is to blame for a failure."""
        endpoint, now = attempt.endpoint, attempt.ended
        policy = self.settings.outlier
        status = attempt.status if attempt.grpc_status is None else http_status(attempt.grpc_status)
        outcome = outcome_of(status, error, policy)
        if outcome is Outcome.SUCCESS:
            observe_latency(endpoint, now - attempt.started, now)
            if self._streaks:
                self._streaks.pop(endpoint, None)
                endpoint.failures = 0
            return
        if outcome is Outcome.NOTHING:
            return
        observe_failure(endpoint, now - attempt.started, now)
        streak = self._streaks.setdefault(endpoint, Streak())
        endpoint.failures += 1
        if count(streak, outcome, policy) and not is_ejected(endpoint, now):
            ejected = sum(is_ejected(each, now) for each in self.endpoints)
            hosts = len(self.endpoints)
            if may_eject(hosts, hosts - ejected, ejected, policy):
                eject(endpoint, streak, policy, now)
                self.ejections += 1
                self.reconsider()

    # -- upkeep ------------------------------------------------------------------------------------------------------

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """The endpoints are these now. Those that stay keep what was learnt of them and their connections."""
        known = {_identity(endpoint): endpoint for endpoint in self.endpoints}
        self.endpoints = tuple([known.pop(_identity(endpoint), endpoint) for endpoint in endpoints])
        for endpoint in self.endpoints:
            if endpoint not in self._pools:
                self._pools[endpoint] = self._new_pool(endpoint)
        for endpoint in known.values():
            self._pools[endpoint].close()
            if endpoint in self._others:
                self._others[endpoint].close()
            self._streaks.pop(endpoint, None)
        self._balancer.update(self.endpoints)
        self._candidates = self.endpoints
        self.reconsider()

    async def fill(self) -> None:
        """Fill the eager floors, one endpoint after the other."""
        for endpoint in self.endpoints:
            await self._pools[endpoint].fill()

    def sweep(self, now: float) -> int:
        """See to every pool; forget those of endpoints that left once their last connection is gone. How many dials
        that began."""
        begun = 0
        self.starved = []
        for pools in (self._pools, self._others):
            for endpoint, pool in tuple(pools.items()):
                begun += pool.sweep(now)
                if pool.waiting and pool.live >= pool.settings.max_connections:
                    self.starved.append(pool)
                elif pool.patience:
                    pool.patience = 0
                if pool.closed and not pool.live and endpoint not in self.endpoints:
                    del pools[endpoint]
        return begun

    def expel(self, is_good: Callable[[Connection], bool]) -> None:
        """Let connections end that are not good any more."""
        for pool in (*self._pools.values(), *self._others.values()):
            pool.expel(is_good)

    def close(self) -> None:
        """Nothing new; what is leased closes when it comes back."""
        for pool in (*self._pools.values(), *self._others.values()):
            pool.close()

    def connections(self) -> tuple[int, int]:
        """How many carry something, and how many are idle."""
        active = idle = 0
        for pool in (*self._pools.values(), *self._others.values()):
            numbers = pool.statistics()
            active += numbers.leased
            idle += numbers.idle
        return active, idle

    def statistics(self) -> dict[str, object]:
        """What the admin page shows."""
        now = wait.now()
        return {
            "balancer": self.settings.balancer,
            "ejections": self.ejections,
            "budget": self.budget.statistics(),
            "endpoints": [self._describe(endpoint, now) for endpoint in self.endpoints],
        }

    def _describe(self, endpoint: Endpoint, now: float) -> dict[str, object]:
        pool = self._pools[endpoint]
        numbers = pool.statistics()
        return {
            "address": endpoint.name,
            "protocol": "http2" if self._http2 else "http1",
            "tls": endpoint.tls.name.lower(),
            "weight": endpoint.weight,
            "active": endpoint.active,
            "ejected": is_ejected(endpoint, now),
            "held": pool.held_until > now,
            "failures": endpoint.failures,
            "latency_ms": round(endpoint.ewma * 1000, 3),
            "leased": numbers.leased,
            "idle": numbers.idle,
            "waiting": numbers.waiting,
            "dialled": numbers.dialled,
            "dials_failed": numbers.failed,
            "last_failed_dial": self._last_failed_dial(endpoint, now),
            "stale": numbers.stale,
            "overflowed": numbers.overflowed,
            "other_protocol": asdict(self._others[endpoint].statistics()) if endpoint in self._others else None,
        }

    def _last_failed_dial(self, endpoint: Endpoint, now: float) -> dict[str, object] | None:
        """Why, in words, and how long ago: of either protocol's pool, whichever failed later."""
        pools = [pools[endpoint] for pools in (self._pools, self._others) if endpoint in pools]
        dials = [pool.holding.last for pool in pools if pool.holding.last is not None]
        if not dials:
            return None
        last = max(dials, key=lambda dial: dial.at)
        return {"error": last.proxy_error, "details": last.details, "seconds_ago": round(now - last.at, 1)}

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
        endpoint.host,
        labels,
        endpoint.zone,
    )
