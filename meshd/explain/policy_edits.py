"""What could be different in a policy: a value more or less in a list, or a rule less."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, TypeAlias

from meshd.config.authorization import AuthorizationPolicy, Condition
from meshd.config.model import Model
from meshd.core.exchange import Exchange
from meshd.filters.attributes import (
    look_account,
    look_address,
    look_authority,
    look_client,
    look_method,
    look_namespace,
    look_principal,
    look_trust_domain,
)
from meshd.filters.strings import compile_strings

Look: TypeAlias = Callable[[Exchange], bytes]

# What a field of a rule is compared with. Ports and claims of tokens are not here: they are not the caller's to change.
LOOKS: Final[Mapping[str, Look]] = {
    "principals": look_principal,
    "namespaces": look_namespace,
    "serviceAccounts": look_account,
    "trustDomains": look_trust_domain,
    "ipBlocks": look_address,
    "remoteIpBlocks": look_client,
    "hosts": look_authority,
    "methods": look_method,
    "paths": lambda exchange: exchange.head.path,
}
KEYS: Final[Mapping[str, Look]] = {
    "source.principal": look_principal,
    "source.namespace": look_namespace,
    "source.serviceAccount": look_account,
    "source.trustDomain": look_trust_domain,
    "source.ip": look_address,
    "remote.ip": look_client,
}


@dataclass(frozen=True, slots=True)
class PolicyEdit:
    """A value more or less in one list of a policy's rule, by the path that documents spell."""

    path: tuple[str | int, ...]
    value: str
    removes: bool = False

    def __str__(self) -> str:
        verb = "remove" if self.removes else "add"
        return f'{verb} "{self.value}" {"from" if self.removes else "to"} {self.field}'

    @property
    def field(self) -> str:
        """The path as people write it."""
        return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path).lstrip(".")


Plain: TypeAlias = "Mapping[str, Plain] | Sequence[Plain] | str | int | float | bool | None"


def edit_policy(policy: AuthorizationPolicy, edits: Sequence[PolicyEdit]) -> AuthorizationPolicy:
    """The policy with these edits. Raises ValueError when it is none any more."""
    data: Plain = policy.model_dump(by_alias=True, exclude_unset=True)
    for edit in edits:
        data = _edited(data, edit.path, edit)
    return AuthorizationPolicy.model_validate(data)


def without_rule(policy: AuthorizationPolicy, rule: int) -> AuthorizationPolicy | None:
    """The policy without one rule; None when nothing is left of it."""
    rules = policy.spec.rules[:rule] + policy.spec.rules[rule + 1 :]
    if not rules and policy.spec.action != "ALLOW":
        return None
    return policy.model_copy(update={"spec": policy.spec.model_copy(update={"rules": rules})})


def _edited(data: Plain, path: Sequence[str | int], edit: PolicyEdit) -> Plain:
    if not path:
        values = [each for each in data if each != edit.value] if isinstance(data, (list, tuple)) else []
        return values if edit.removes else [*values, edit.value]
    step = path[0]
    if isinstance(data, Mapping) and isinstance(step, str):
        return {**data, step: _edited(data.get(step), path[1:], edit)}
    assert isinstance(data, (list, tuple)) and isinstance(step, int)  # noqa: PT018  # the path was read from this very policy
    return [_edited(each, path[1:], edit) if place == step else each for place, each in enumerate(data)]


# -- what a rule lacks ------------------------------------------------------------------------------------------------


def edits_to_hold(policy: AuthorizationPolicy, rule: int, exchange: Exchange) -> Iterator[tuple[PolicyEdit, ...]]:
    """For each pair of a source and an operation of a rule, edits of which some may make it hold for this exchange."""
    model = policy.spec.rules[rule]
    at = ("spec", "rules", rule)
    sources = [_edits((*at, "from", n, "source"), each.source, exchange) for n, each in enumerate(model.from_)]
    operations = [_edits((*at, "to", n, "operation"), each.operation, exchange) for n, each in enumerate(model.to)]
    when = [edit for n, each in enumerate(model.when) for edit in _of_condition((*at, "when", n), each, exchange)]
    for source, operation in product(sources or [[]], operations or [[]]):
        yield (*source, *operation, *when)


def _edits(at: tuple[str | int, ...], model: Model, exchange: Exchange) -> list[PolicyEdit]:
    found: list[PolicyEdit] = []
    for name in type(model).model_fields:
        field = type(model).model_fields[name].alias or name
        values: tuple[str, ...] = getattr(model, name)
        unwanted = field.startswith("not")
        look = LOOKS.get(field[3].lower() + field[4:] if unwanted else field)
        if values and look is not None:
            found += _change((*at, field), values, look(exchange).decode("utf-8", "replace"), unwanted=unwanted)
    return found


def _of_condition(at: tuple[str | int, ...], condition: Condition, exchange: Exchange) -> Iterator[PolicyEdit]:
    key = condition.key
    if key.startswith("request.headers["):
        seen = exchange.head.get(key[len("request.headers[") : -1].lower().encode()) or b""
    elif key in KEYS:
        seen = KEYS[key](exchange)
    else:
        return
    text = seen.decode("utf-8", "replace")
    yield from _change((*at, "values"), condition.values, text, unwanted=False)
    yield from _change((*at, "notValues"), condition.not_values, text, unwanted=True)


def _change(at: tuple[str | int, ...], values: tuple[str, ...], seen: str, *, unwanted: bool) -> Iterator[PolicyEdit]:
    if unwanted:
        for value in values:
            if compile_strings((value,))(seen.encode()):
                yield PolicyEdit(at, value, removes=True)
    elif values and seen and seen not in values:
        yield PolicyEdit(at, seen)
