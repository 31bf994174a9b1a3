"""The smallest change that would alter what becomes of a request. Every idea is put to the engine: what is told here
was seen to happen, and nothing smaller that was tried did the same."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, islice
from typing import Final

from meshd.config.authorization import AuthorizationPolicy
from meshd.config.documents import Document
from meshd.config.errors import ConfigError, Path
from meshd.core.errors import ProtocolError
from meshd.explain.authorization import authorizers, begin_authorization
from meshd.explain.edits import Edit, Edits, edits_for_match, edits_for_rule, edits_of_anything
from meshd.explain.policy_edits import edit_policy, edits_to_hold, without_rule
from meshd.explain.question import Question, Unaskable
from meshd.explain.routes import nearest_authority
from meshd.explain.world import Answer, World
from meshd.identity.spiffe import InvalidSpiffeId

MOST_EDITS: Final = 4  # of one change: nobody calls more the smallest
MOST_QUESTIONS: Final = 400  # put to the engine about the request
MOST_POLICIES: Final = 120  # compiled anew
SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Change:
    """What to do otherwise, and what would come of it."""

    of: str  # "request" or "policy"
    text: str
    size: int
    question: Question  # as it would be asked then
    answer: Answer


def smallest_changes(world: World, question: Question, answer: Answer) -> tuple[Change, ...]:
    """At most a few of the request, then of the policies, each kind as small as was found."""
    return (*request_changes(world, question, answer), *policy_changes(world, question, answer))


# -- of the request ---------------------------------------------------------------------------------------------------


def request_changes(world: World, question: Question, answer: Answer) -> tuple[Change, ...]:
    """The smallest edits of the request that alter its outcome; for one that is denied, that get it through."""
    whole = list(dict.fromkeys(_request_ideas(world, question)))
    ideas = sorted(dict.fromkeys((*_subsets(whole), *_pairs(whole))), key=len)
    found: list[Change] = []
    for edits in islice(ideas, MOST_QUESTIONS):
        if found and len(edits) > found[0].size:
            break
        edited = _edited(question, edits)
        other = _ask(world, edited)
        if other is not None and _is_wanted(answer, other):
            found.append(Change("request", ", ".join(map(str, edits)), len(edits), edited, other))
            if len(found) == SHOWN:
                break
    return tuple(found)


def _request_ideas(world: World, question: Question) -> Iterator[Edits]:
    plan = world.plan(question)
    policies = _policies(world)
    for authorizer in authorizers(plan.chain):
        for entry in (*authorizer.allow, *authorizer.deny):
            document = policies[entry.verdict.policy, entry.verdict.action]
            rule = document.model.spec.rules[entry.verdict.rule]
            yield from edits_for_rule(rule, question, document.model.namespace, world.trust_domain)
    first: Edits = ()
    table = plan.table(_authority(question))
    if table is None and (near := nearest_authority(plan, question.authority)):
        first, table = (Edit("authority", near),), plan.table(near.encode())
    for candidate in table.candidates if table is not None else ():
        if candidate.match.source is not None:
            yield (*first, *edits_for_match(candidate.match.source, question))
    yield from ((edit,) for edit in edits_of_anything(question))


def _policies(world: World) -> dict[tuple[str, str], Document[AuthorizationPolicy]]:
    documents = world.documents.authorization_policies
    return {(f"{each.model.namespace}/{each.model.name}", each.model.spec.action): each for each in documents}


def _authority(question: Question) -> bytes:
    try:
        return question.head().authority
    except ProtocolError:
        return b""


def _subsets(ideas: Iterable[Edits]) -> Iterator[Edits]:
    """Every part of each idea: an idea may hold more than it takes."""
    for idea in ideas:
        for size in range(1, min(len(idea), MOST_EDITS) + 1):
            yield from combinations(idea, size)


def _pairs(ideas: Iterable[Edits]) -> Iterator[Edits]:
    """Any two edits of different things, whichever ideas they are from."""
    singles = dict.fromkeys(edit for idea in ideas for edit in idea)
    for one, two in combinations(singles, 2):
        if (one.aspect, one.name) != (two.aspect, two.name):
            yield one, two


def _edited(question: Question, edits: Edits) -> Question:
    for edit in edits:
        question = edit.apply(question)
    return question


def _ask(world: World, question: Question) -> Answer | None:
    try:
        question.check()
        return world.ask(question)
    except (Unaskable, InvalidSpiffeId):
        return None


def _is_wanted(before: Answer, after: Answer) -> bool:
    """Whether it altered the outcome in the way that somebody who asks hopes for."""
    if after.kind == "malformed" or after.outcome == before.outcome:
        return False
    if not before.allowed:
        return after.allowed
    if before.kind in ("no route", "no backend"):
        return after.kind in ("forwarded", "answered")
    return True


# -- of the policies --------------------------------------------------------------------------------------------------


def policy_changes(world: World, question: Question, answer: Answer) -> tuple[Change, ...]:
    """The smallest edits of an AuthorizationPolicy that turn its verdict."""
    verdict = answer.verdict
    if verdict is None or not question.inbound:
        return ()
    world = _inbound_only(world)
    policies = _policies(world)
    if verdict.policy:
        document = policies[verdict.policy, verdict.action]
        told = _told(document, ("spec", "rules", verdict.rule))
        text = f"remove rule {verdict.rule} of {told}"
        changed = _ask_with(world, question, document, without_rule(document.model, verdict.rule))
        turned = changed is not None and changed.allowed != answer.allowed
        return (Change("policy", text, 1, question, changed),) if turned and changed is not None else ()
    return () if verdict.allowed else _admitting(world, question)


def _admitting(world: World, question: Question) -> tuple[Change, ...]:
    """Edits of the ALLOW rules that let the request in."""
    plan = world.plan(question)
    _, exchange = question.begin(plan)
    begin_authorization(plan, exchange)
    policies = _policies(world)
    ideas = []
    for authorizer in authorizers(plan.chain):
        for entry in authorizer.allow:
            document = policies[entry.verdict.policy, "ALLOW"]
            for whole in edits_to_hold(document.model, entry.verdict.rule, exchange):
                for size in range(1, min(len(whole), MOST_EDITS) + 1):
                    ideas += [(document, edits) for edits in combinations(whole, size)]
    ideas.sort(key=lambda idea: len(idea[1]))
    found: list[Change] = []
    for document, edits in ideas[:MOST_POLICIES]:
        if found and len(edits) > found[0].size:
            break
        changed = _ask_with(world, question, document, edit_policy(document.model, edits))
        if changed is not None and changed.allowed:
            text = " and ".join(map(str, edits)) + f" of {_told(document, edits[0].path)}"
            found.append(Change("policy", text, len(edits), question, changed))
            if len(found) == SHOWN:
                break
    return tuple(found)


def _inbound_only(world: World) -> World:
    """Authorization has nothing to do with what is called from here, and a smaller world compiles faster. Authorizers
    outside are services that are called: with such, nothing is left out."""
    spec = world.proxy.spec
    if spec.extension_providers:
        return world
    proxy = world.proxy.model_copy(update={"spec": spec.model_copy(update={"outbound": ()})})
    return World(proxy, replace(world.documents, services=(), endpoint_slices=(), service_entries=(), http_routes=()))


def _ask_with(
    world: World, question: Question, document: Document[AuthorizationPolicy], policy: AuthorizationPolicy | None
) -> Answer | None:
    try:
        return world.with_policy(document, policy).ask(question)
    except ConfigError:
        return None


def _told(document: Document[AuthorizationPolicy], at: Path) -> str:
    file, line, _ = document.where(at)
    return f"AuthorizationPolicy {document.model.namespace}/{document.model.name} ({file}:{line})"
