"""One listener of the sidecar whose log is replayed: what would become of a logged request there but for rate limits,
as far as that can be told, and which limits have a say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from meshd.core.chain import Chain
from meshd.core.flags import NO_ROUTE
from meshd.core.matches import Matches
from meshd.core.route import Route
from meshd.explain.certainty import Maybe, authenticates, authorizer_names, decide, first_of, looks, missing_for, sees
from meshd.explain.limits import Draw
from meshd.explain.logged import Logged, text_of
from meshd.explain.outcome import ANSWERED, TOO_LARGE, Outcome, recorded, told
from meshd.filters.authz import Authorizer
from meshd.filters.ext_authz import Check
from meshd.filters.fault import FaultInjector, FaultPlan
from meshd.filters.jwt import Authenticator
from meshd.filters.rate_limit import RateLimiter
from meshd.filters.request import GuardRule, RequestGuard
from meshd.net.tls import Mode
from meshd.routing.table import RouteTable
from meshd.snapshot import Plan

S = TypeVar("S")
GOOD_ANSWERS: Final = ("200", "0")  # of an authorizer, over HTTP and by gRPC
PASSES: Final = Outcome("passes", "allowed: no policy stands against it")
CHANCE: Final = Outcome(None, "chance")
SIZE: Final = Outcome(None, "the size of its body")


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was, what would be but for limits, and the limits that have a say. `arrives`: it comes to them for
    certain."""

    before: Outcome
    after: Outcome
    draws: tuple[Draw, ...] = ()
    arrives: bool = True


class Sidecar:
    """Ready to be asked many times."""

    __slots__ = ("_authorizers", "plan")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._authorizers = [(each, authorizer_names(each)) for each in owners(plan.chain, Authorizer)]

    def replay(self, logged: Logged) -> Replayed:
        """By every policy but those that limit."""
        return self._inbound(logged) if logged.inbound else self._outbound(logged)

    # -- toward the app ----------------------------------------------------------------------------------------------

    def _inbound(self, logged: Logged) -> Replayed:
        before, admitted = recorded(logged), self._admit(logged)
        if admitted.kind not in (None, "passes"):
            return Replayed(before, admitted)
        return _behind(self.plan.chain, logged, before, admitted)

    def _admit(self, logged: Logged) -> Outcome:
        """Mutual TLS, tokens, authorizers outside, authorization."""
        plan = self.plan
        if plan.mode is Mode.STRICT and not logged.text("downstream_peer"):
            return Outcome("refused", "refused: PeerAuthentication is STRICT")
        before = plan.gate.before if plan.gate is not None else Chain()
        for authenticator in owners(before + plan.chain, Authenticator):
            passes, why = authenticates(authenticator, logged)
            if not passes:
                return Outcome(None, why) if passes is None else Outcome("denied", f"denied: {why}")
            logged.believe()
        for check in plan.gate.checks if plan.gate is not None else ():
            if (outcome := _asked(check, logged)) is not None:
                return outcome
        admitted = PASSES
        for authorizer, names in self._authorizers:
            verdict = authorizer.decide(logged.exchange)
            allowed: bool | None = verdict.allowed
            if any(missing_for(name, logged) for name in names):
                allowed, verdict = decide(authorizer, logged)
            if allowed is None:
                return _missing(logged)
            admitted = Outcome("passes" if allowed else "denied", told(verdict))
            if not allowed:
                break
        return admitted

    # -- toward services ---------------------------------------------------------------------------------------------

    def _outbound(self, logged: Logged) -> Replayed:
        before, was = recorded(logged), logged.text("route_name")
        table = self.plan.table(logged.head.authority)
        routes = possible_routes(table, logged) if table is not None else [None]
        names = [route.name if route is not None else "" for route in routes]
        if len(routes) > 1:
            others = " or ".join(name or f"no route ({NO_ROUTE})" for name in names)
            after = _missing(logged) if was in names else Outcome("routed", others, route=others)
            draws = [draw for route in routes if route is not None for draw in _draws(route.chain, logged)[0]]
            return Replayed(before, after, tuple(replace(draw, certain=False) for draw in draws), arrives=False)
        [route], [name] = routes, names
        if route is None:
            return Replayed(before, Outcome("routed", f"no route ({NO_ROUTE})"))
        cluster = logged.text("upstream_cluster")
        after = Outcome("routed", name, route=name)
        if cluster and not any(each.weight and each.cluster == cluster for each in route.targets):
            if was == name:
                before = replace(before, told=f"{was} to {cluster}")
            after = Outcome("routed", f"{name} without {cluster}" if was == name else name, route=f"{name} without it")
        return _behind(route.chain, logged, before, after)


def owners(chain: Chain, kind: type[S]) -> Iterator[S]:
    """Those of one kind whose steps are in a chain."""
    for step in chain.on_request:
        owner: object = getattr(step, "__self__", None)
        if isinstance(owner, kind):
            yield owner


def _missing(logged: Logged) -> Outcome:
    """It depends on what the line does not hold."""
    return Outcome(None, ", ".join(sorted(logged.head.missed)))


def _asked(check: Check, logged: Logged) -> Outcome | None:
    """What an authorizer outside makes of it; None when it passes. One that was asked then says the same again."""
    asking = check.asking
    entry, may_ask = first_of(asking.rules.entries, logged)
    if entry is None and not may_ask:
        return None
    name, _, said = text_of(logged.facts, "ext_authz").rpartition(" ")
    if name == asking.name and (said in GOOD_ANSWERS or (said == "failed" and asking.fail_open)):
        return None
    if name != asking.name or entry is None:
        return Outcome(None, f"the answer of {asking.name}")
    return Outcome("denied", f"denied by {entry.verdict.policy} rule {entry.verdict.rule}: {name} {said}")


def possible_routes(table: RouteTable, logged: Logged) -> list[Route | None]:
    """The route that takes it; several, in the order of precedence, where that depends on what is missing."""
    head = logged.head
    found = table.find(head)
    if not head.missed:
        return [found]
    routes: list[Route | None] = []
    for candidate in table.candidates:
        holds = sees(logged, RouteTable([candidate]).find, head)
        if holds is not False and candidate.route not in routes:
            routes.append(candidate.route)
        if holds:
            return routes
    return [*routes, None]


# -- behind admission and route ----------------------------------------------------------------------------------------


def _behind(chain: Chain, logged: Logged, before: Outcome, so_far: Outcome) -> Replayed:
    """The policies that come after: limits, then answers of our own, then faults."""
    draws, are_all = _draws(chain, logged)
    arrives = so_far.kind is not None
    if not are_all:
        return Replayed(before, _missing(logged) if arrives else so_far, draws, arrives=False)
    after = _answered(chain, logged, so_far) if arrives else so_far
    if after is so_far and arrives:
        after = _faulted(chain, logged, so_far)
    return Replayed(before, after, draws, arrives)


def _draws(chain: Chain, logged: Logged) -> tuple[tuple[Draw, ...], bool]:
    """The limits that take it, and whether these are all: of one whose key is missing nobody knows the bucket."""
    found: list[Draw] = []
    are_all = True
    for limiter in owners(chain, RateLimiter):
        for limit in limiter.limits:
            takes = _takes(limit.matches, logged)
            if takes is False:
                continue
            keys: Sequence[bytes] = (b"",)
            certain = True
            if limit.look is not None:
                keys, certain = looks(logged, limit.look, logged.exchange)
            if certain:
                found += [Draw(limit, (limit.owner, who), takes is True) for who in dict.fromkeys(keys)]
            are_all = are_all and certain
    return tuple(found), are_all


def _takes(matches: Matches | None, logged: Logged) -> Maybe:
    return True if matches is None else sees(logged, matches.may, logged.head)


def _answered(chain: Chain, logged: Logged, so_far: Outcome) -> Outcome:
    """What RequestPolicies make of it."""
    for guard in owners(chain, RequestGuard):
        for rule in guard.rules:
            takes = _takes(rule.matches, logged)
            if takes is None:
                return _missing(logged)
            if takes:
                outcome = _guarded(rule, logged)
                if outcome is not None:
                    return outcome
                if rule.matches is None or sees(logged, rule.matches.must, logged.head) is not False:
                    break
    return SIZE if logged.details == TOO_LARGE else so_far


def _guarded(rule: GuardRule, logged: Logged) -> Outcome | None:
    """What one rule makes of what it takes; None when it goes on."""
    if rule.reply is not None:
        if logged.details == ANSWERED and not logged.inbound:
            name = logged.text("route_name")  # which answered then, or its own filters did
            return Outcome("routed", name, route=name)
        return Outcome("answered", f"answered with {rule.reply.status} by a RequestPolicy")
    for size, most in (("bytes_received", rule.max_request), ("bytes_sent", rule.max_response)):
        octets = logged.line.get(size)
        if not isinstance(octets, int) or octets > most:
            return SIZE
    return None


def _faulted(chain: Chain, logged: Logged, so_far: Outcome) -> Outcome:
    """What FaultPolicies make of it."""
    for injector in owners(chain, FaultInjector):
        for rule in injector.rules:
            takes = sees(logged, rule.takes, logged.exchange)
            if takes is None:
                return _missing(logged)
            if takes:
                so_far = _acted(rule, so_far)
                if so_far.kind in (None, "aborted"):
                    return so_far
                break
    return so_far


def _acted(rule: FaultPlan, so_far: Outcome) -> Outcome:
    """A share of all is certain, and so is one of none; the rest is chance."""
    delay = rule.delay_share if rule.delay else 0.0
    abort = rule.abort_share if rule.abort is not None else 0.0
    if 0 < delay < 100 or 0 < abort < 100:
        return CHANCE
    if abort:
        return Outcome("aborted", f"aborted by {rule.name}", so_far.delayed or delay > 0)
    if delay:
        return replace(so_far, told=f"{so_far.told}, delayed by {rule.name}", delayed=True)
    return so_far
