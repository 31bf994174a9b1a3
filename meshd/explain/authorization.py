"""Every authorization rule and what it made of a request: the compiled rules that serve traffic, asked one by one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from meshd.config.authorization import AuthorizationPolicy
from meshd.config.documents import Document, Documents
from meshd.core.chain import Chain, RequestStep
from meshd.core.decision import Verdict
from meshd.core.exchange import Exchange
from meshd.filters.authz import Authorizer, Entry
from meshd.snapshot import Plan


@dataclass(frozen=True, slots=True)
class RuleTrace:
    """One rule. `failed` is the first predicate that did not hold, in the alternative that came furthest."""

    policy: str  # namespace/name
    rule: int
    action: str
    enforced: bool  # AUDIT and dry-run rules only take notes
    matched: bool
    decided: bool
    failed: str
    observed: str
    place: str  # file:line


def _owner(step: RequestStep) -> Authorizer | None:
    owner: object = getattr(step, "__self__", None)
    return owner if isinstance(owner, Authorizer) else None


def authorizers(chain: Chain) -> Iterator[Authorizer]:
    """Those whose step is in a chain."""
    for step in chain.on_request:
        if (owner := _owner(step)) is not None:
            yield owner


def begin_authorization(plan: Plan, exchange: Exchange) -> None:
    """Take a request to where its rules are asked: tokens are looked at, and their claims are in its fields."""
    before = plan.gate.before.on_request if plan.gate is not None else ()
    for step in (*before, *plan.chain.on_request):
        if _owner(step) is not None or step(exchange) is not None:
            return


def trace_rules(
    plan: Plan, exchange: Exchange, documents: Documents, verdict: Verdict | None = None
) -> tuple[RuleTrace, ...]:
    """Every rule of the policies that select this workload, as the engine takes them: CUSTOM, DENY, ALLOW. `verdict`
    is that of an authorizer outside, where one has refused."""
    places = {f"{each.model.namespace}/{each.model.name}": each for each in documents.authorization_policies}
    found: list[RuleTrace] = []
    if plan.gate is not None:
        if any(step(exchange) is not None for step in plan.gate.before.on_request):
            return ()  # a token that is not believed: no rule is asked
        for check in plan.gate.checks:
            found += [_trace(each, exchange, places, verdict) for each in check.asking.rules.entries]
    for step in plan.chain.on_request:
        authorizer = _owner(step)
        if authorizer is not None:
            refused = verdict is not None and verdict.action == "CUSTOM"
            decided = verdict if refused else authorizer.decide(exchange)
            normal, exchange.head.path = exchange.head.path, _at_strictest(authorizer, exchange)
            found += _traces(authorizer, exchange, places, decided)
            exchange.head.path = normal
        elif step(exchange) is not None:  # what comes before may validate a token, or end it all
            break
    return tuple(found)


Places: TypeAlias = Mapping[str, Document[AuthorizationPolicy]]  # by namespace/name


def _traces(authorizer: Authorizer, exchange: Exchange, places: Places, verdict: Verdict | None) -> Iterator[RuleTrace]:
    for entries, enforced in (
        (authorizer.deny, True),
        (authorizer.allow, True),
        (authorizer.audit, False),
        (authorizer.shadow, False),
    ):
        for entry in entries:
            yield _trace(entry, exchange, places, verdict, enforced=enforced)


def _at_strictest(authorizer: Authorizer, exchange: Exchange) -> bytes:
    """The reading of the path that decides: one that is denied, else the normal form."""
    head = exchange.head
    found = head.path

    def is_denied() -> bool:
        nonlocal found
        if authorizer.decide_as_read(exchange).allowed:
            return False
        found = head.path
        return True

    head.any_reading(is_denied)
    return found


def _trace(
    entry: Entry, exchange: Exchange, places: Places, verdict: Verdict | None, *, enforced: bool = True
) -> RuleTrace:
    own, failure = entry.verdict, entry.rule.first_failure(exchange)
    document = places.get(own.policy)
    decided = enforced and verdict is not None and _rule_of(own) == _rule_of(verdict)
    failed = observed = ""
    if failure is not None:
        failed = failure[1].name
        observed = failure[1].observed(exchange).decode("utf-8", "backslashreplace") or "nothing"
    place = ""
    if document is not None:
        file, line, _ = document.where(("spec", "rules", own.rule))
        place = f"{file}:{line}"
    return RuleTrace(own.policy, own.rule, own.action, enforced, failure is None, decided, failed, observed, place)


def _rule_of(verdict: Verdict) -> tuple[str, int, str]:
    return verdict.policy, verdict.rule, verdict.action
