"""FaultPolicy: delays and errors made on purpose, so that callers can be seen to cope.

The first rule of a policy that takes the request acts; several policies each do. Delay and abort are drawn apart, each
with its own share; a request that gets both is held first, as in Envoy. The delay is a number on the exchange, which
the forwarder waits out before anything is sent; it takes nothing from the route's time-out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from meshd.config.fault_policy import Abort, FaultPolicy, FaultRule
from meshd.core import flags, proxy_errors
from meshd.core.chain import EMPTY_CHAIN, Chain
from meshd.core.exchange import Exchange
from meshd.core.matches import Matches
from meshd.core.reply import Reply
from meshd.filters.attachment import CompileMatch, title

# What a caller that does not speak gRPC gets for an injected gRPC status (the inverse of grpc's http mapping).
HTTP_OF_GRPC = (200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401)
ABORTED = b"fault injected"


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """One rule, ready to act. Shares are of 100."""

    name: str
    matches: Matches | None
    header: bytes  # only requests with this field are touched; empty for all
    delay: float  # seconds
    delay_share: float
    abort: Reply | None
    abort_share: float

    def takes(self, exchange: Exchange) -> bool:
        """Whether it is this rule that acts."""
        head = exchange.head
        if self.header and not head.values(self.header):
            return False
        return self.matches is None or self.matches.may(head)


def fault_chain(policies: Iterable[FaultPolicy], compile_match: CompileMatch, random: Random) -> Chain:
    """A step for each policy, in the order given."""
    steps = tuple(FaultInjector(_rules(policy, compile_match), random).step for policy in policies)
    return Chain(steps) if steps else EMPTY_CHAIN


def _rules(policy: FaultPolicy, compile_match: CompileMatch) -> tuple[FaultPlan, ...]:
    return tuple(
        _rule(rule, f"{title(policy)} rule {rule.name or place}", compile_match)
        for place, rule in enumerate(policy.spec.rules)
    )


def _rule(rule: FaultRule, name: str, compile_match: CompileMatch) -> FaultPlan:
    delay, abort = rule.delay, rule.abort
    return FaultPlan(
        name=name,
        matches=compile_match(rule.match) if rule.match is not None else None,
        header=rule.header.lower().encode() if rule.header is not None else b"",
        delay=delay.fixed if delay is not None else 0.0,
        delay_share=delay.percentage if delay is not None else 0.0,
        abort=_abort(abort) if abort is not None else None,
        abort_share=abort.percentage if abort is not None else 0.0,
    )


def _abort(abort: Abort) -> Reply:
    """A gRPC status is told to callers that speak gRPC, and in HTTP's words to others."""
    grpc = abort.grpc_status
    status = abort.status if abort.status is not None else HTTP_OF_GRPC[grpc or 0]
    return Reply(
        status,
        flags.FAULT_INJECTED,
        "fault_filter_abort",
        proxy_errors.PROXY_INTERNAL_RESPONSE,
        body=ABORTED,
        grpc_status=grpc,
    )


class FaultInjector:
    """The rules of one policy."""

    __slots__ = ("_random", "rules")

    def __init__(self, rules: tuple[FaultPlan, ...], random: Random) -> None:
        self.rules = rules
        self._random = random

    def step(self, exchange: Exchange) -> Reply | None:
        """Let the first rule that takes the request act."""
        for rule in self.rules:
            if rule.takes(exchange):
                return _act(rule, exchange, self._random)
        return None

    def __repr__(self) -> str:
        return f"<FaultInjector of {len(self.rules)} rules>"


def _act(rule: FaultPlan, exchange: Exchange, random: Random) -> Reply | None:
    if rule.delay and random.random() * 100 < rule.delay_share:
        exchange.delay += rule.delay
        exchange.flag(flags.DELAY_INJECTED)
        exchange.note("fault", rule.name)
    if rule.abort is not None and random.random() * 100 < rule.abort_share:
        exchange.note("fault", rule.name)
        return rule.abort
    return None
