"""How documents point at each other: parents and backends of routes, targets of policies, selectors of workloads.

Sources: Gateway API apis/v1/shared_types.go and object_reference_types.go; istio/api type/v1beta1/selector.proto.
"""

# mypy: disable-error-code=explicit-any

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import Field

from meshd.config.errors import Path
from meshd.config.model import Fault, Labels, Model
from meshd.config.scalars import Group, KindName, Namespace, ObjectName, Port, SectionName

GATEWAY_GROUP = "gateway.networking.k8s.io"
ISTIO_NETWORKING_GROUP = "networking.istio.io"
OUR_GROUP = "meshd.dev"


class ParentRef(Model):
    """What a route attaches to. In a mesh that is a Service; for one, `sectionName` is the name of a port."""

    group: Group = GATEWAY_GROUP
    kind: KindName = "Gateway"
    namespace: Namespace | None = None
    name: ObjectName
    section_name: SectionName | None = None
    port: Port | None = None

    @property
    def is_service(self) -> bool:
        """A parent of the mesh, not a Gateway."""
        return self.kind == "Service" and self.group == ""

    @property
    def is_service_entry(self) -> bool:
        """A service outside the cluster as a parent."""
        return self.kind == "ServiceEntry" and self.group == ISTIO_NETWORKING_GROUP


def parent_faults(refs: Sequence[ParentRef]) -> Iterable[Fault]:
    """Two references to one parent must both name what part of it they mean, and not the same part."""
    first: dict[tuple[str, str, str, str], list[int]] = {}
    for place, ref in enumerate(refs):
        key = (ref.group, ref.kind, ref.namespace or "", ref.name)
        for other in (refs[index] for index in first.get(key, ())):
            at = ("parentRefs", place)
            if (ref.section_name is None) != (other.section_name is None) or (ref.port is None) != (other.port is None):
                yield Fault(at, "expected sectionName or port in every reference to the same parent", rule="missing")
                break
            if (ref.section_name, ref.port) == (other.section_name, other.port):
                yield Fault(at, "expected another sectionName or port than the reference before", rule="duplicate")
                break
        first.setdefault(key, []).append(place)


class BackendObjectRef(Model):
    """Where traffic goes, without a weight."""

    group: Group = ""
    kind: KindName = "Service"
    name: ObjectName
    namespace: Namespace | None = None
    port: Port | None = None

    @property
    def is_service(self) -> bool:
        """A Service, the only kind every route accepts."""
        return self.kind == "Service" and self.group == ""

    def faults(self) -> Iterable[Fault]:
        """A Service is not an address without its port."""
        if self.is_service and self.port is None:
            yield Fault(("port",), "required: a Service is reached at one of its ports", rule="missing")


class BackendRef(BackendObjectRef):
    """Where a share of the traffic goes. A weight of 0 takes none."""

    weight: Annotated[int, Field(ge=0, le=1_000_000)] = 1


class PolicyTargetRef(Model):
    """What an Istio policy attaches to."""

    group: Group = ""
    kind: KindName
    name: ObjectName
    namespace: str = ""

    def faults(self) -> Iterable[Fault]:
        """A policy speaks for its own namespace only."""
        if self.namespace:
            yield Fault(("namespace",), "a policy can only target its own namespace", "remove 'namespace'")


class ServiceTarget(Model):
    """The Service or ServiceEntry that a policy of meshd.dev attaches to, by the name of its document, not its host."""

    group: Group = ""
    kind: Literal["Service", "ServiceEntry"] = "Service"
    name: ObjectName
    namespace: Namespace | None = None
    port: Port | None = None

    def faults(self) -> Iterable[Fault]:
        """The group, when written, must be the kind's own."""
        group = "" if self.kind == "Service" else ISTIO_NETWORKING_GROUP
        if self.has("group") and self.group != group:
            yield Fault(("group",), f"the group of {self.kind} is {group!r}")


class WorkloadSelector(Model):
    """Workloads that carry all of these labels; without labels, every workload of the namespace."""

    match_labels: Annotated[Labels, Field(max_length=4096)] = Field(default_factory=dict)

    def faults(self) -> Iterable[Fault]:
        """Istio's limits: no wildcards, no empty keys, values of at most 63 characters."""
        for key, value in self.match_labels.items():
            if not key or "*" in key or "*" in value:
                yield Fault(("matchLabels", key), "labels match exactly: '*' and empty keys are not allowed")
            elif len(value) > 63:
                yield Fault(("matchLabels", key), "expected at most 63 characters")

    def selects(self, labels: Labels) -> bool:
        """Whether a workload with these labels is meant."""
        return all(labels.get(key) == value for key, value in self.match_labels.items())


def listed_targets(
    one: PolicyTargetRef | None, several: Sequence[PolicyTargetRef]
) -> Sequence[tuple[Path, PolicyTargetRef]]:
    """Targets with the path of each, as an Istio policy spells it: targetRef, or targetRefs."""
    single: list[tuple[Path, PolicyTargetRef]] = [(("targetRef",), one)] if one is not None else []
    return [*single, *((("targetRefs", place), ref) for place, ref in enumerate(several))]


def attachment_faults(model: Model) -> Iterable[Fault]:
    """An Istio policy selects workloads or names targets, one way at a time."""
    chosen = [name for name in ("selector", "target_ref", "target_refs") if model.has(name)]
    if len(chosen) > 1:
        second = type(model).model_fields[chosen[1]].alias or chosen[1]
        yield Fault((second,), "expected only one of selector, targetRef, targetRefs", f"remove {second!r}")
