"""AuthorizationPolicies that do not do what they look like: that admit nobody, or have rules that never decide."""

from collections.abc import Iterator
from functools import cache
from typing import Final

from meshd.config.authorization import AuthorizationPolicy, Operation, Rule, Source
from meshd.config.documents import Document, Documents
from meshd.config.errors import Path, Problem, field_name
from meshd.config.route_check import warning

# Fields that only a caller with a certificate can satisfy.
BY_CERTIFICATE: Final = ("principals", "namespaces", "service_accounts", "trust_domains")


def check_authorization(documents: Documents) -> Iterator[Problem]:
    """Every policy by itself."""
    admitting = {
        policy.model.namespace
        for policy in documents.authorization_policies
        if policy.model.spec.action == "ALLOW" and policy.model.spec.rules
    }
    for policy in documents.authorization_policies:
        spec = policy.model.spec
        # Beside others that admit somebody it is the usual way to say that nothing is allowed but what they name.
        if spec.action == "ALLOW" and not spec.rules and policy.model.namespace not in admitting:
            expected = "an ALLOW policy without rules admits nobody"
            yield warning(policy, ("spec",), expected, "write '- {}' under 'rules' to admit everybody")
        if spec.action == "AUDIT":
            yield warning(policy, ("spec", "action"), "AUDIT never changes an answer: matches are only recorded")
        for at, ref in spec.targets:
            if ref.kind not in ("Service", "ServiceEntry"):
                expected = f"a sidecar has no {ref.kind}: the policy does not act"
                yield warning(policy, ("spec", *at, "kind"), expected, "use 'selector'")
        yield from _contradictions(policy)
        yield from _shadowed(policy)


def admits_nobody_without_certificates(policy: AuthorizationPolicy) -> bool:
    """Whether an ALLOW policy asks every caller for what only a certificate proves."""
    rules = policy.spec.rules
    return policy.spec.action == "ALLOW" and bool(rules) and all(_needs_certificate(rule) for rule in rules)


def _needs_certificate(rule: Rule) -> bool:
    by_source = bool(rule.from_) and all(
        any(getattr(each.source, name) for name in BY_CERTIFICATE) for each in rule.from_
    )
    keys = ("source.principal", "source.namespace", "source.serviceAccount", "source.trustDomain")
    return by_source or any(condition.values and condition.key in keys for condition in rule.when)


def _contradictions(policy: Document[AuthorizationPolicy]) -> Iterator[Problem]:
    """Sources and operations that ask for a value and forbid it."""
    for place, rule in enumerate(policy.model.spec.rules):
        parts: list[tuple[Path, Source | Operation]] = [
            *((("from", number, "source"), each.source) for number, each in enumerate(rule.from_)),
            *((("to", number, "operation"), each.operation) for number, each in enumerate(rule.to)),
        ]
        for at, part in parts:
            for wanted, unwanted in _contradicting(part):
                where: Path = ("spec", "rules", place, *at)
                expected = f"never matches: {unwanted} forbids all that {wanted} asks for"
                yield warning(policy, (*where, unwanted), expected, f"remove {unwanted!r}")


def _contradicting(part: Source | Operation) -> Iterator[tuple[str, str]]:
    for name, twin, names in _twins(type(part)):
        wanted: tuple[str, ...] = getattr(part, name)
        if wanted and set(wanted) <= set(getattr(part, twin)):
            yield names


@cache
def _twins(model: type[Source | Operation]) -> tuple[tuple[str, str, tuple[str, str]], ...]:
    """Fields with a twin that says what must not be, and how documents spell both."""
    fields = model.model_fields
    pairs = [(name, f"not_{name}") for name in fields if f"not_{name}" in fields]
    return tuple((name, twin, (fields[name].alias or name, fields[twin].alias or twin)) for name, twin in pairs)


def _shadowed(policy: Document[AuthorizationPolicy]) -> Iterator[Problem]:
    """Rules that another of the same policy leaves nothing to decide: an earlier one that says the same, or the one
    that matches anything."""
    rules = policy.model.spec.rules
    anything = next((place for place, rule in enumerate(rules) if _is_anything(rule)), None)
    first: dict[Rule, int] = {}
    for place, rule in enumerate(rules):
        earlier = first.setdefault(rule, place)
        if earlier != place and (anything is None or earlier <= anything or _is_anything(rule)):
            other = earlier
        elif anything is not None and not _is_anything(rule):
            other = anything
        else:
            continue
        why = "matches every request" if _is_anything(rules[other]) else "matches the same requests"
        expected = f"never decides: {field_name(('spec', 'rules', other))} {why}"
        yield warning(policy, ("spec", "rules", place), expected, "remove one of the two")


def _is_anything(rule: Rule) -> bool:
    """No condition at all, or alternatives of which one asks for nothing."""
    sources = not rule.from_ or any(each.source == Source() for each in rule.from_)
    operations = not rule.to or any(each.operation == Operation() for each in rule.to)
    return sources and operations and not rule.when
