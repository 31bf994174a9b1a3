"""Clients that take nothing of their response give way when others need the connection that they hold.

Theory of operation: while a client does not take what we write, the connection to the app is held for it, and an
endpoint has only so many. As long as there are enough, nothing happens: a client may be as slow as it likes. When
requests wait in line because all of an endpoint's connections are leased, then as many as wait there are freed: those
whose clients have taken nothing for longest, and at least for `PATIENCE`. Somebody who reads slowly but steadily is
taken for blocked only while one piece of the body waits, so he goes last. Rule 1: nobody is cut whom nobody waits for.
Rule 2: the line may be longer by as many as can be freed, so that a crowd which fills it at once shuts nobody out.
"""

from collections.abc import Iterable
from heapq import nsmallest
from typing import Final

from meshd.core.endpoint import Endpoint
from meshd.proxy.cut import Cut
from meshd.proxy.flight import Flight
from meshd.upstream.connection import Connection
from meshd.upstream.pool import Pool

PATIENCE: Final = 0.25  # seconds


def relieve(pools: Iterable[Pool[Connection]], under_way: Iterable[Flight], now: float) -> int:
    """Free connections of the pools in whose lines somebody waits; how many exchanges were cut for it."""
    starved = {pool.endpoint: pool for pool in pools}
    blocked: dict[Endpoint, list[Flight]] = {endpoint: [] for endpoint in starved}
    for flight in under_way:
        if flight.writing_since and now - flight.writing_since >= PATIENCE and flight.cause is None:
            held = blocked.get(flight.exchange.attempts[-1].endpoint) if flight.exchange.attempts else None
            if held is not None:
                held.append(flight)
    cut = 0
    for endpoint, pool in starved.items():
        flights = blocked[endpoint]
        pool.patience = len(flights)
        for flight in nsmallest(pool.waiting, flights, key=lambda flight: flight.writing_since):
            flight.cut(Cut.SLOW)
            cut += 1
    return cut
