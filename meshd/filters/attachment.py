"""Which policies of meshd.dev hold for a service that is called, or for the workload that is called here."""

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from meshd.config.policy_match import Attachment, PolicyMatch
from meshd.config.references import ServiceTarget
from meshd.core.matches import Matches
from meshd.filters.base import Scope

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


class TargetingSpec(Protocol):
    """A spec that names services."""

    @property
    def target_refs(self) -> Sequence[ServiceTarget]:
        """The services it is about."""


class Targeting(Protocol):
    """A document that is attached to services by naming them."""

    @property
    def namespace(self) -> str:
        """Of the document; also of targets that do not say theirs."""

    @property
    def spec(self) -> TargetingSpec:
        """Where it is attached, and what it says."""


P = TypeVar("P", bound=Attached)
T = TypeVar("T", bound=Targeting)


class TargetIndex(Generic[T]):
    """Policies by the services they name, so that a service looks at its own alone."""

    __slots__ = ("_by_target",)

    def __init__(self, policies: Iterable[T] = ()) -> None:
        self._by_target: dict[tuple[str, str, str], list[T]] = {}
        for policy in policies:
            self.add(policy)

    def add(self, policy: T) -> None:
        """One more, after those that are there."""
        for ref in policy.spec.target_refs:
            found = self._by_target.setdefault((ref.kind, ref.namespace or policy.namespace, ref.name), [])
            if not found or found[-1] is not policy:  # it may name several ports of one service
                found.append(policy)

    def find(self, kind: str, namespace: str, name: str) -> Sequence[T]:
        """Those that name this service, whichever of its ports, in the order they were added."""
        return self._by_target.get((kind, namespace, name), ())

    def __repr__(self) -> str:
        return f"<TargetIndex of {len(self._by_target)} services>"


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
