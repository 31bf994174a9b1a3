"""Which side of a split a request takes: by weight, at random or always the same for the same key."""

from random import Random
from zlib import crc32

from meshd.core.exchange import Exchange
from meshd.core.route import Route, Target


def pick_target(route: Route, exchange: Exchange, random: Random) -> Target | None:
    """One target in proportion to its weight; None when there is none, or all weigh nothing."""
    targets = route.targets
    if len(targets) == 1:
        return targets[0] if targets[0].weight else None
    if not route.total_weight:
        return None
    if exchange.asked is not None and exchange.asked.cluster:
        for target in targets:
            if target.cluster == exchange.asked.cluster and target.weight:
                return target
    if route.sticky and (key := sticky_key(route.sticky, exchange)) is not None:
        point = crc32(key) * route.total_weight >> 32
    else:
        point = int(random.random() * route.total_weight)
    for target in targets:
        point -= target.weight
        if point < 0:
            return target
    raise AssertionError("weights that do not add up to their total")


def sticky_key(sticky: str, exchange: Exchange) -> bytes | None:
    """What the same choice is made for; None when the request does not have it. `key:` stands before the key itself."""
    kind, _, name = sticky.partition(":")
    if kind == "request-id":
        return exchange.request_id or None
    if kind == "principal":
        return exchange.peer.principal or None
    if kind == "header":
        return exchange.head.get(name.lower().encode())
    if kind == "cookie":
        return exchange.head.cookie(name.encode())
    return name.encode()
