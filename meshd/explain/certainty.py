"""Whether a rule takes a request of which not everything is known: yes, no, or None, for either may be.

A check that looks at something that is missing may come out either way; whatever it is part of is certain only if that
makes no difference. What was missing is noted on the head of the request.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias, TypeVar

from meshd.core.decision import ALLOWED_BY_DEFAULT, Verdict
from meshd.explain.logged import KNOWN, Logged
from meshd.filters.authz import Authorizer, Entry
from meshd.filters.authz_rules import Check, CompiledRule, claim_path
from meshd.filters.jwt import Authenticator, path_key

A = TypeVar("A")
T = TypeVar("T")
Maybe: TypeAlias = bool | None

_HEADER: Final = re.compile(r"request\.headers\[([^\]]+)\]")
_OF_LINE: Final = frozenset(("host", ":authority", ":method", ":path"))  # fields that are parts of the request line
_ADDRESSES: Final = ("ipBlocks", "notIpBlocks", "remoteIpBlocks", "notRemoteIpBlocks", "source.ip", "remote.ip")
_TOKENS: Final = ("requestPrincipals", "notRequestPrincipals", "request.auth.principal")


def all_of(parts: Iterable[Maybe]) -> Maybe:
    """Whether all hold."""
    found: Maybe = True
    for part in parts:
        if part is False:
            return False
        if part is None:
            found = None
    return found


def any_of(parts: Iterable[Maybe]) -> Maybe:
    """Whether one holds."""
    found: Maybe = False
    for part in parts:
        if part:
            return True
        if part is None:
            found = None
    return found


def sees(logged: Logged, test: Callable[[A], object], about: A) -> Maybe:
    """The answer of a test, unless it asked for what is missing."""
    found, certain = looks(logged, test, about)
    return bool(found) if certain else None


def looks(logged: Logged, look: Callable[[A], T], about: A) -> tuple[T, bool]:
    """What a look at the request finds, and whether nothing was missing for it."""
    head = logged.head
    before, head.missed = head.missed, set()
    found = look(about)
    certain = not head.missed
    head.missed |= before
    return found, certain


# -- authorization -----------------------------------------------------------------------------------------------------


def rule_holds(rule: CompiledRule, logged: Logged) -> Maybe:
    """Whether a rule matches."""
    parts = [all_of(_holds(check, logged) for check in rule.conditions)]
    parts += [
        any_of(all_of(_holds(check, logged) for check in checks) for checks in alternatives)
        for alternatives in (rule.operations, rule.sources)
        if alternatives
    ]
    return all_of(parts)


def _holds(check: Check, logged: Logged) -> Maybe:
    missing = missing_for(check.name, logged)
    if missing:
        logged.head.missed.add(missing)
        return None
    return check.holds(logged.exchange)


def missing_for(name: str, logged: Logged) -> str:
    """What the check of this name looks at and the line does not hold; nothing when all is there."""
    header = _HEADER.match(name)
    if header is not None:
        field = header[1].lower()
        return "" if field.encode() in KNOWN or field in _OF_LINE else field
    if name.startswith("request.auth.") and not name.startswith(_TOKENS) and logged.exchange.token is not None:
        key = name.partition(" ")[0]
        path, claims = claim_path(key), logged.claims or {}
        return "" if path == ("aud",) or path_key(path) in claims else key
    peer = logged.exchange.peer
    if name.startswith(_ADDRESSES):
        return "" if peer.address else "the client's address"
    return "the address of the listener" if name.startswith("destination.ip") and not peer.local_address else ""


def first_of(entries: Sequence[Entry], logged: Logged) -> tuple[Entry | None, bool]:
    """The first entry that matches for certain on some reading, and whether another may."""
    first: Entry | None = None
    maybe = False

    def is_settled() -> bool:
        nonlocal first, maybe
        certain, may = _first_of(entries, logged)
        first, maybe = first or certain, maybe or may
        return first is not None

    logged.head.any_reading(is_settled)
    return first, maybe


def _first_of(entries: Sequence[Entry], logged: Logged) -> tuple[Entry | None, bool]:
    first, maybe = None, False
    for entry in entries:
        found = rule_holds(entry.rule, logged)
        if found:
            first = first or entry
        maybe = maybe or found is None
    return first, maybe


def decide(authorizer: Authorizer, logged: Logged) -> tuple[Maybe, Verdict]:
    """Whether it allows every reading of the request, and the verdict that says so."""
    found: tuple[Maybe, Verdict] = True, ALLOWED_BY_DEFAULT

    def is_settled() -> bool:
        nonlocal found
        allowed, verdict = _decide(authorizer, logged)
        found = all_of((found[0], allowed)), verdict
        return allowed is False

    logged.head.any_reading(is_settled)
    return found


def _decide(authorizer: Authorizer, logged: Logged) -> tuple[Maybe, Verdict]:
    denied, may_deny = _first_of(authorizer.deny, logged)
    if denied is not None:
        return False, denied.verdict
    allowed, may_allow = _first_of(authorizer.allow, logged)
    if allowed is not None or not authorizer.has_allow:
        return None if may_deny else True, allowed.verdict if allowed is not None else ALLOWED_BY_DEFAULT
    return None if may_allow else False, authorizer.decide_as_read(logged.exchange)


def authorizer_names(authorizer: Authorizer) -> frozenset[str]:
    """Of all checks of an authorizer, those that may look at what a line does not hold."""
    found = set()
    for entry in (*authorizer.deny, *authorizer.allow):
        rule = entry.rule
        groups = (*rule.sources, *rule.operations, rule.conditions)
        found |= {check.name for checks in groups for check in checks}
    return frozenset(name for name in found if name.startswith(("request.", "destination.ip", *_ADDRESSES)))


# -- tokens ------------------------------------------------------------------------------------------------------------


def authenticates(authenticator: Authenticator, logged: Logged) -> tuple[Maybe, str]:
    """Whether a request passes, and what its token is said to lack, or what is missing.

    A token that was believed is taken to be good still where its issuer and audience are believed: no log keeps it.
    """
    if not logged.token_is_known:
        return None, "whether it has a good token"
    if logged.claims is None:
        return not authenticator.required, "no token"
    [name], audiences = logged.claims["iss"], set(logged.claims.get("aud", ()))
    issuers = [each for each in authenticator.issuers if each.name == name]
    if not issuers:
        return None, "whether a token of another issuer is looked for where it stood"
    good = any(not each.audiences or audiences.intersection(each.audiences) for each in issuers)
    return good, "a token for another audience"
