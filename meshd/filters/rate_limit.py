"""RateLimitPolicy: how many requests, for whom. All rules that take a request must have room for it.

A bucket belongs to one rule, at one port of one service or of this workload, and, by the rule's key, to one caller
identity or one value of a header. Callers without an identity share one bucket, and so do requests without the header:
leaving it out is no way around the limit, and neither is repeating it: each of its values must have room. A rule that
is written anew with other numbers begins with full buckets. The buckets are those of the sidecar as a whole, whichever
worker a request comes to (`buckets.py`).

A denial says when to come back: Retry-After (RFC 9110 section 10.2.3), and RateLimit with RateLimit-Policy as the draft
ietf-httpapi-ratelimit-headers writes them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from meshd.config.rate_limit_policy import SECONDS, RateLimitPolicy, RateLimitRule
from meshd.core import flags, proxy_errors
from meshd.core.chain import EMPTY_CHAIN, Chain
from meshd.core.exchange import Exchange
from meshd.core.matches import Matches
from meshd.core.reply import Reply
from meshd.filters.attachment import CompileMatch, title
from meshd.filters.buckets import Buckets, Rate, bucket_key
from meshd.http.render import quote

Look = Callable[[Exchange], Sequence[bytes]]  # who shares a bucket with this request; several by a repeated header
LIMITED = b"rate limit exceeded"


@dataclass(frozen=True, slots=True)
class Limit:
    """One rule, ready to act."""

    name: str
    owner: str  # what the keys of its buckets begin with
    matches: Matches | None
    look: Look | None
    everybody: int  # the key when all share one bucket
    rate: Rate
    policy: bytes  # RateLimit-Policy
    label: bytes  # the name in RateLimit

    def keys(self, exchange: Exchange) -> Iterable[int]:
        """Of the buckets that this request draws from."""
        if self.look is None:
            return (self.everybody,)
        return [bucket_key(self.owner, each) for each in dict.fromkeys(self.look(exchange))]


def rate_limit_chain(
    policies: Iterable[RateLimitPolicy], where: str, compile_match: CompileMatch, buckets: Buckets
) -> Chain:
    """One step for all rules; none without any. `where` tells the ports apart that a policy is attached to."""
    limits = tuple(
        _limit(rule, f"{title(policy)} rule {rule.name or place}", where, compile_match)
        for policy in policies
        for place, rule in enumerate(policy.spec.rules)
    )
    return Chain((RateLimiter(limits, buckets).step,)) if limits else EMPTY_CHAIN


class RateLimiter:
    """The rules of one port of a service or a workload."""

    __slots__ = ("_buckets", "limits")

    def __init__(self, limits: tuple[Limit, ...], buckets: Buckets) -> None:
        self.limits = limits
        self._buckets = buckets

    def step(self, exchange: Exchange) -> Reply | None:
        """Take a token of each rule that takes the request, or none."""
        now, buckets = exchange.started, self._buckets
        taken: list[tuple[Limit, int]] = []
        for limit in self.limits:
            if limit.matches is not None and not limit.matches.may(exchange.head):
                continue
            for key in limit.keys(exchange):
                shortage = buckets.take(key, limit.rate, now)
                if shortage:
                    for other, its_key in taken:
                        buckets.give_back(its_key, other.rate, now)
                    exchange.note("rate_limit", limit.name)
                    return _denial(limit, shortage)
                taken.append((limit, key))
        return None

    def __repr__(self) -> str:
        return f"<RateLimiter of {len(self.limits)} rules>"


def _limit(rule: RateLimitRule, name: str, where: str, compile_match: CompileMatch) -> Limit:
    burst = rule.burst or rule.requests
    owner = f"{where} {name}: {rule.requests} a {rule.per}, {burst} at once, by {rule.key}"
    label = quote(name.rpartition(" ")[2].encode())
    return Limit(
        name=name,
        owner=owner,
        matches=compile_match(rule.match) if rule.match is not None else None,
        look=_look(rule),
        everybody=bucket_key(owner, b""),
        rate=Rate(1 / rule.rate, burst),
        policy=b"%b;q=%d;w=%d" % (label, rule.requests, SECONDS[rule.per]),
        label=label,
    )


def _look(rule: RateLimitRule) -> Look | None:
    if rule.key == "identity":
        return lambda exchange: (exchange.peer.principal,)
    if rule.header:
        name = rule.header.encode()
        return lambda exchange: exchange.head.values(name) or (b"",)
    return None


def _denial(limit: Limit, shortage: float) -> Reply:
    seconds = ceil(shortage)
    return Reply(
        429,
        flags.RATE_LIMITED,
        f"local_rate_limited[{limit.name}]",
        proxy_errors.HTTP_REQUEST_DENIED,  # RFC 9209 2.3.17: a policy refuses; 2.3.12 is about connections
        headers=(
            (b"retry-after", b"%d" % seconds),
            (b"ratelimit-policy", limit.policy),
            (b"ratelimit", b"%b;r=0;t=%d" % (limit.label, seconds)),
        ),
        body=LIMITED,
    )
