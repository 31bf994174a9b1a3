"""Octets through CONNECT that are not HTTP: carried to the service that CONNECT named, and not looked at.

Rule 1: a service declared to speak HTTP is spoken to in HTTP, unless the first octet that comes through begins neither
a request nor the preface of HTTP/2; one that is declared to speak something else gets a connection before the client
is told that it has one. Rule 2: toward a sidecar nothing but HTTP is carried: it would not know what to do with it.
"""

from random import Random
from typing import Final

from meshd.core import flags
from meshd.core.endpoint import Endpoint, Tls
from meshd.core.errors import Resend, UpstreamError
from meshd.core.exchange import Attempt
from meshd.core.head import RequestHead
from meshd.net import wait
from meshd.proxy.flight import Flight
from meshd.proxy.tunnel import Tunnel
from meshd.routing.split import pick_target
from meshd.snapshot import Plan
from meshd.upstream.cluster import Cluster
from meshd.upstream.connection import Carrier, Connection

BEGINNINGS: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ\r")  # of methods, of HTTP/2's preface, of an empty line
random = Random()  # noqa: S311  # spreads load, keeps no secret
NO_PEER: Final = "a sidecar carries nothing but HTTP: the service is declared to have one"


class Passage:
    """One connection that carries whatever it is."""

    __slots__ = ("_attempt", "_carrier", "_cluster", "_flight")

    _attempt: Attempt
    _carrier: Carrier

    def __init__(self, flight: Flight, cluster: Cluster) -> None:
        self._flight = flight
        self._cluster = cluster
        flight.exchange.cluster = cluster.name

    async def open(self) -> None:
        """Have a connection to the service. Raises `UpstreamError`."""
        now, cluster, exchange = wait.now(), self._cluster, self._flight.exchange
        endpoint = cluster.pick(now, 0, ())
        if endpoint is None:
            raise UpstreamError(503, flags.NO_HEALTHY_UPSTREAM, "no_healthy_upstream", retry=Resend.UNSENT)
        self._attempt = attempt = Attempt(endpoint, now)
        exchange.attempts.append(attempt)
        endpoint.active += 1
        try:
            self._carrier = self._flight.connection = (await _dial(cluster, endpoint)).open()
        except UpstreamError as error:
            attempt.flag, attempt.details, attempt.resend = error.flag, error.details, error.retry
            self._end(error)
            raise

    async def carry(self, early: bytes) -> None:
        """Carry octets both ways to their ends; `early` came from the client already."""
        flight, exchange = self._flight, self._flight.exchange
        stream, rest = flight.down.take_over()
        tunnel = Tunnel(flight, stream, self._carrier.stream)
        try:
            await tunnel.run(early + rest, b"")
        finally:
            exchange.bytes_received, exchange.bytes_sent = tunnel.received, tunnel.sent
            flight.connection = None
            self._end(None)

    def _end(self, error: UpstreamError | None) -> None:
        attempt = self._attempt
        attempt.ended = wait.now()
        attempt.endpoint.active -= 1
        self._cluster.observe(attempt, error)

    def __repr__(self) -> str:
        return f"<Passage to {self._cluster.name}>"


async def _dial(cluster: Cluster, endpoint: Endpoint) -> Connection:
    if endpoint.tls is not Tls.PLAIN:
        raise UpstreamError(501, flags.NO_CLUSTER, NO_PEER)
    return await cluster.dial(endpoint)


def opaque_cluster(plan: Plan, authority: bytes) -> Cluster | None:
    """The cluster of a service that is declared to speak something else than HTTP."""
    return plan.clusters.get(plan.opaque.get(authority, ""))


def cluster_behind(plan: Plan, authority: bytes, flight: Flight) -> Cluster | None:
    """Where octets go that turned out not to be HTTP: as a request would that no rule looks into."""
    table = plan.table(authority)
    route = table.find(RequestHead(b"CONNECT", b"", authority)) if table is not None else None
    if route is None:
        return None
    target = pick_target(route, flight.exchange, random)
    return plan.clusters.get(target.cluster) if target is not None else None
