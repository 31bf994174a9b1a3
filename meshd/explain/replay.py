"""Recorded decisions against other documents: which of them would change, and by which rule.

A line of the JSON access log is the record (`logged.py` says what is read of it). Replayed are, in the order of the
engine and by its compiled rules: mutual TLS, tokens, authorizers outside, authorization, rate limits, answers of our
own and faults of what comes in; route, backend, rate limits and faults of what goes out.

Rule 1: what cannot be told is told apart, never as unchanged: a rule that looks at a header that no log keeps, a token
that was not looked at then, an authorizer that was not asked then, the size of a body, chance where it is neither 0 nor
100 %, and a bucket of which nobody knows how full it was. Rule 2: with unchanged documents nothing is ever said to
change. Rule 3: what is taken for granted is said in `limits.py` for limits, in `certainty.py` for tokens; and an
authorizer that was asked then is taken to say the same again.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from meshd.core.flags import DOWNSTREAM_GONE, STREAM_IDLE
from meshd.explain.limits import Request, replay
from meshd.explain.logged import NEEDED, Line, Logged
from meshd.explain.outcome import TOO_LARGE, Outcome
from meshd.explain.sidecar import Replayed, Sidecar, owners
from meshd.explain.world import World
from meshd.filters.rate_limit import RateLimiter
from meshd.identity.spiffe import InvalidSpiffeId
from meshd.snapshot import Plan
from meshd.telemetry.describe import Json

Fate: TypeAlias = Literal["same", "changed", "cannot tell", "skipped", "unreadable"]

NOBODY_DECIDED: Final = frozenset({"LOOP", "DPE", "ED", "INT"})  # but the codec, or a bug
LEFT_EARLY: Final = frozenset({DOWNSTREAM_GONE, STREAM_IDLE})
MOST_GROUPS: Final = 1000
EXAMPLES: Final = 3
SHOWN: Final = ("start_time", "method", "authority", "path", "downstream_peer", "request_id")


@dataclass(slots=True)
class Group:
    """Decisions that change alike."""

    count: int = 0
    examples: list[dict[str, Json]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A line that a limit may stop; what would become of it else."""

    direction: str
    found: Replayed
    example: dict[str, Json]


@dataclass(slots=True)
class Replay:
    """What became of a log so far. `changes` is by direction, what was, and what would be. `limits_before` are the
    owners of the rate limits that were in force when it was written; None when they are those of `world`."""

    world: World
    limits_before: frozenset[str] | None = None
    fates: "Counter[Fate]" = field(default_factory=Counter)
    changes: dict[tuple[str, str, str], Group] = field(default_factory=dict)
    untold: dict[str, int] = field(default_factory=dict)  # by what would have to be known
    first_unreadable: str = ""
    _sidecars: dict[tuple[bool, str], "Sidecar | None"] = field(default_factory=dict)
    _waiting: list[Request[_Waiting]] = field(default_factory=list)

    def add(self, line: Line) -> Fate | None:
        """Replay one decision; None when its fate is known only at the end."""
        wrong = next((name for name in NEEDED if not isinstance(line.get(name), str)), None)
        if wrong is not None:
            self.first_unreadable = self.first_unreadable or f"no field {wrong!r}"
            self.fates["unreadable"] += 1
            return "unreadable"
        fate = self._replay(line)
        if fate is not None:
            self.fates[fate] += 1
        return fate

    def finish(self) -> None:
        """The whole log is here: replay what rate limits have a say in, in the order of time."""
        one = self.world.proxy.spec.workers == 1
        waiting, self._waiting = self._waiting, []
        for of, (passes, rule) in replay(waiting, since=self.limits_before, workers=1 if one else 2):
            after = of.found.after
            if of.found.arrives and passes is False:
                after = Outcome("limited", f"limited by {rule}")
            elif of.found.arrives and passes is None:
                after = Outcome(None, f"how full the bucket of {rule} was")
            self.fates[self._compare(of.direction, of.found.before, after, of.example)] += 1

    def _replay(self, line: Line) -> Fate | None:
        sidecar = self._sidecar(inbound=line["direction"] == "inbound", listener=str(line.get("listener") or ""))
        if line["method"] in ("-", "CONNECT") or sidecar is None:
            return "skipped"
        try:
            logged = Logged(line, sidecar.plan)
        except InvalidSpiffeId:
            return "skipped"
        if _was_undecided(logged):
            return "skipped"
        direction = "inbound" if logged.inbound else "outbound"
        found = sidecar.replay(logged)
        example = {name: line.get(name) for name in SHOWN}
        if not found.draws:
            return self._compare(direction, found.before, found.after, example)
        if logged.at is None:
            return self._compare(direction, found.before, Outcome(None, "when it came"), example)
        waiting = _Waiting(direction, found, example)
        self._waiting.append(Request(logged.at, found.draws, found.arrives, waiting))
        return None

    def _compare(self, direction: str, before: Outcome, after: Outcome, example: dict[str, Json]) -> Fate:
        if after.kind is None:
            self.untold[after.told] = self.untold.get(after.told, 0) + 1
            return "cannot tell"
        if before.is_same(after):
            return "same"
        self._note((direction, before.told, after.told), example)
        return "changed"

    def _sidecar(self, *, inbound: bool, listener: str) -> "Sidecar | None":
        key = (inbound, listener)
        if key not in self._sidecars:
            plans = [plan for plan in self.world.snapshot.plans.values() if plan.inbound == inbound]
            named = [plan for plan in plans if plan.name == listener] or plans
            self._sidecars[key] = Sidecar(named[0]) if named else None
        return self._sidecars[key]

    def _note(self, key: tuple[str, str, str], example: dict[str, Json]) -> None:
        if key not in self.changes and len(self.changes) >= MOST_GROUPS:
            key = (key[0], "anything", "something else")
        group = self.changes.setdefault(key, Group())
        group.count += 1
        if len(group.examples) < EXAMPLES:
            group.examples.append(example)

    def as_json(self) -> dict[str, Json]:
        """Plain data, the greatest changes first."""
        ordered = sorted(self.changes.items(), key=lambda item: -item[1].count)
        return {
            "decisions": sum(self.fates.values()),
            "changed": self.fates["changed"],
            "same": self.fates["same"],
            "cannot_tell": self.fates["cannot tell"],
            "skipped": self.fates["skipped"],
            "unreadable": self.fates["unreadable"],
            "changes": [
                {
                    "direction": direction,
                    "before": before,
                    "after": after,
                    "count": group.count,
                    "examples": [*group.examples],
                }
                for (direction, before, after), group in ordered
            ],
            "cannot_tell_without": dict(self.untold),
        }


def _was_undecided(logged: Logged) -> bool:
    """Whether it ended before any policy had a say: malformed, or its client left while an authorizer was asked."""
    if logged.flags & NOBODY_DECIDED and logged.details != TOO_LARGE:
        return True
    return bool(logged.flags & LEFT_EARLY) and not logged.line.get("attempts")


def limits_of(plans: Iterable[Plan]) -> frozenset[str]:
    """The owners of every rate limit in force."""
    chains = [plan.chain for plan in plans]
    tables = [table for plan in plans for table in (*plan.services.values(), plan.fixed) if table is not None]
    chains += [route.chain for table in tables for route in table.routes]
    limiters = (limiter for chain in chains for limiter in owners(chain, RateLimiter))
    return frozenset(limit.owner for limiter in limiters for limit in limiter.limits)
