"""Whether a request may go on, and where to: policies, route and split, before anything is waited for.

`meshd explain`, `meshd test` and `meshd simulate` ask the same function that serves traffic.
"""

from random import Random

from meshd.core.exchange import Exchange
from meshd.core.reply import Reply
from meshd.core.route import Route, Target
from meshd.proxy.rescue import LOOPED, NO_BACKEND, NO_ROUTE, NO_WEIGHT
from meshd.routing.split import pick_target
from meshd.snapshot import Plan
from meshd.upstream.cluster import Cluster

random = Random()  # noqa: S311  # spreads load, keeps no secret


def admit(exchange: Exchange, plan: Plan) -> tuple[Reply | None, Target | None, Cluster | None]:
    """Policies, route and split, in that order and without waiting. Pure but for what it notes on the exchange."""
    if not exchange.request_id:
        return LOOPED, None, None
    if exchange.refusal is not None:
        return exchange.refusal, None, None
    for step in plan.chain.on_request:
        if (reply := step(exchange)) is not None:
            return reply, None, None
    head = exchange.head
    table = plan.table(head.authority)
    route = table.find(head) if table is not None else None
    if route is None:
        return NO_ROUTE, None, None
    exchange.route = route
    for step in route.chain.on_request:
        if (reply := step(exchange)) is not None:
            return reply, None, None
    target = pick_target(route, exchange, random)
    cluster = plan.clusters.get(target.cluster) if target is not None else None
    if target is None or cluster is None:
        return _unserved(route, plan), None, None
    exchange.cluster = target.cluster
    for step in target.chain.on_request:
        if (reply := step(exchange)) is not None:
            return reply, None, None
    return None, target, cluster


def _unserved(route: Route, plan: Plan) -> Reply:
    """Why a route has no backend for a request: the one drawn is none, or none may be drawn of those there are."""
    drained = not route.total_weight and any(target.cluster in plan.clusters for target in route.targets)
    return NO_WEIGHT if drained else NO_BACKEND
