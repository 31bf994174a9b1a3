"""What became of a request, and what would: in words for people, and in kinds that can be compared."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from meshd.core.decision import Verdict
from meshd.core.flags import DELAY_INJECTED, DENIED, EXTERNAL_AUTHORIZER, FAULT_INJECTED, NO_ROUTE, RATE_LIMITED
from meshd.explain.logged import Logged

Kind: TypeAlias = Literal["passes", "refused", "denied", "limited", "answered", "aborted", "routed"]

TOO_LARGE: Final = "request_payload_too_large"
ANSWERED: Final = "direct_response"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One outcome. Without a kind nobody can tell, and `told` is what would have to be known."""

    kind: Kind | None
    told: str
    delayed: bool = False  # on purpose, before it went on
    route: str = ""

    def is_same(self, other: "Outcome") -> bool:
        """Whether a client could not tell the two apart, whichever rule decided."""
        return (self.kind, self.delayed, self.route) == (other.kind, other.delayed, other.route)


def recorded(logged: Logged) -> Outcome:
    """What a line says became of it."""
    delayed = DELAY_INJECTED in logged.flags
    if logged.flags & {DENIED, EXTERNAL_AUTHORIZER}:
        return Outcome("denied", "denied" + _by(logged))
    if RATE_LIMITED in logged.flags:
        return Outcome("limited", f"limited by {_fact(logged, 'rate_limit')}")
    if FAULT_INJECTED in logged.flags:
        return Outcome("aborted", f"aborted by {_fact(logged, 'fault')}", delayed)
    if logged.details == ANSWERED and logged.inbound:
        return Outcome("answered", "answered by a RequestPolicy")
    after = f", delayed by {_fact(logged, 'fault')}" if delayed else ""
    if logged.inbound:
        return Outcome("passes", f"allowed{_by(logged)}{after}", delayed)
    name = logged.text("route_name")
    return Outcome("routed", (name or f"no route ({NO_ROUTE})") + after, delayed, name)


def told(verdict: Verdict) -> str:
    """A verdict in words."""
    if verdict.policy:
        return f"{'allowed' if verdict.allowed else 'denied'} by {verdict.policy} rule {verdict.rule}"
    if verdict.allowed:
        return "allowed: no ALLOW policy is there"
    return f"denied, nearest {verdict.nearest}: {verdict.failed}" if verdict.nearest else f"denied: {verdict.failed}"


def _by(logged: Logged) -> str:
    policy, rule = logged.text("policy"), logged.line.get("policy_rule")
    return f" by {policy}" + (f" rule {rule}" if isinstance(rule, int) else "") if policy else ""


def _fact(logged: Logged, name: str) -> str:
    value = logged.facts.get(name)
    return value if isinstance(value, str) and value else "a rule that the line does not name"
