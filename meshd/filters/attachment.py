"""Which policies of meshd.dev hold for a service that is called, or for the workload that is called here."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from meshd.config.policy_match import Attachment, PolicyMatch
from meshd.core.head import RequestHead
from meshd.filters.base import Scope

Matches = Callable[[RequestHead], bool]
CompileMatch = Callable[[PolicyMatch], Matches]  # the room of routes knows how; the compiler hands it over


class Attached(Protocol):
    """A document with rules, attached by targets or by selector."""

    @property
    def name(self) -> str:
        """Of the document."""

    @property
    def namespace(self) -> str:
        """Of the document; also of targets that do not say theirs."""

    @property
    def spec(self) -> Attachment:
        """Where it is attached, and its rules."""


P = TypeVar("P", bound=Attached)


def of_service(policies: Iterable[P], kind: str, namespace: str, name: str, port: int) -> list[P]:
    """Those with a target that means this port of this Service or ServiceEntry, by their names."""
    found = []
    for policy in policies:
        for ref in policy.spec.target_refs:
            same = ref.kind == kind and (ref.namespace or policy.namespace) == namespace
            if same and ref.name == name and ref.port in (None, port):
                found.append(policy)
                break
    return sorted(found, key=title)


def of_workload(policies: Iterable[P], scope: Scope) -> list[P]:
    """Those of the workload's namespace that select it, by their names; without a selector they select all."""
    found = []
    for policy in policies:
        spec = policy.spec
        if policy.namespace != scope.namespace or spec.target_refs:
            continue
        if spec.selector is None or spec.selector.selects(dict(scope.labels)):
            found.append(policy)
    return sorted(found, key=title)


def title(policy: Attached) -> str:
    """How facts and details call a policy."""
    return f"{policy.namespace}/{policy.name}"
