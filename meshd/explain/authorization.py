"""Every authorization rule and what it made of a request: the compiled rules that serve traffic, asked one by one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from meshd.config.authorization import AuthorizationPolicy
from meshd.config.documents import Document, Documents
from meshd.core.chain import Chain, RequestStep
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


def trace_rules(plan: Plan, exchange: Exchange, documents: Documents) -> tuple[RuleTrace, ...]:
    """Every rule of the policies that select this workload, as the engine takes them: CUSTOM, DENY, ALLOW."""
    places = {_name(document): document for document in documents.authorization_policies}
    found: list[RuleTrace] = []
    steps = plan.chain.on_request
    if plan.gate is not None:
        steps = (*plan.gate.before.on_request, *steps)
    for step in steps:
        authorizer = _owner(step)
        if authorizer is not None:
            found += _traces(authorizer, exchange, places)
        elif step(exchange) is not None:  # what comes before may validate a token, or end it all
            break
    custom = (
        [entry for check in plan.gate.checks for entry in check.asking.rules.entries] if plan.gate is not None else []
    )
    asked = [_trace(each, exchange, places.get(each.verdict.policy), enforced=True, decided=False) for each in custom]
    return (*asked, *found)


def _traces(
    authorizer: Authorizer, exchange: Exchange, places: Mapping[str, Document[AuthorizationPolicy]]
) -> Iterator[RuleTrace]:
    verdict = authorizer.decide(exchange)
    decider = (verdict.policy, verdict.rule, verdict.action)
    for entries, enforced in (
        (authorizer.deny, True),
        (authorizer.allow, True),
        (authorizer.audit, False),
        (authorizer.shadow, False),
    ):
        for entry in entries:
            own = entry.verdict
            decided = enforced and (own.policy, own.rule, own.action) == decider
            yield _trace(entry, exchange, places.get(own.policy), enforced=enforced, decided=decided)


def _trace(
    entry: Entry, exchange: Exchange, document: Document[AuthorizationPolicy] | None, *, enforced: bool, decided: bool
) -> RuleTrace:
    own, failure = entry.verdict, entry.rule.first_failure(exchange)
    failed = observed = ""
    if failure is not None:
        failed = failure[1].name
        observed = failure[1].observed(exchange).decode("utf-8", "backslashreplace") or "nothing"
    place = ""
    if document is not None:
        file, line, _ = document.where(("spec", "rules", own.rule))
        place = f"{file}:{line}"
    return RuleTrace(own.policy, own.rule, own.action, enforced, failure is None, decided, failed, observed, place)


def _name(document: Document[AuthorizationPolicy]) -> str:
    return f"{document.model.namespace}/{document.model.name}"
