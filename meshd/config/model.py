"""What every document model shares: strictness, metadata, and the marks that validation reads after pydantic is done.

Rule 1: unknown fields are errors, types are never coerced, models are frozen.
Rule 2: what concerns one field is said by its type; what concerns several is said by `faults()`, which reports it all.
Rule 3: a field that a standard has and this product has not is declared and marked `Unsupported`, so that setting it
is an error that says so. Only a field left out means its default: null is an error unless marked `Nullable`.
Rule 4: models build their validators on first use (`defer_build`), for most processes read few of the kinds.
"""

# mypy: disable-error-code=explicit-any
# Pydantic's class machinery is typed with Any; every file that declares models carries the line above for that alone.

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from meshd.config.errors import Path, Rule

T = TypeVar("T")

# Strict mode wants tuples; a list is as good.
Many: TypeAlias = Annotated[tuple[T, ...], Field(strict=False)]


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Marks a field of a standard that a document must not set. `why` ends the sentence "is not supported: "."""

    why: str


@dataclass(frozen=True, slots=True)
class Nullable:
    """Marks a field where null is a value of its own."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A mistake that shows when fields are seen together. `at` is the path below the model, as documents spell it."""

    at: Path
    expected: str
    suggestion: str = ""
    rule: Rule = "value"


class Model(BaseModel):
    """A part of a document."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        defer_build=True,
        allow_inf_nan=False,
    )

    def faults(self) -> Iterable[Fault]:
        """What is wrong between the fields of this model; nothing, unless a model knows better."""
        return ()

    def has(self, *names: str) -> bool:
        """Whether the document sets any of these fields (by their Python names)."""
        return not self.model_fields_set.isdisjoint(names)


DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

Labels: TypeAlias = dict[str, str]


class Metadata(Model):
    """Kubernetes ObjectMeta. What a cluster adds is accepted and of no effect."""

    name: Annotated[str, Field(min_length=1, max_length=253, pattern=DNS_NAME)]
    namespace: Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)] = "default"
    labels: Labels = Field(default_factory=dict)
    annotations: Labels = Field(default_factory=dict)
    creation_timestamp: Annotated[str | None, Nullable()] = None
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    generate_name: str = ""
    self_link: str = ""
    deletion_timestamp: Annotated[str | None, Nullable()] = None
    deletion_grace_period_seconds: Annotated[int | None, Nullable()] = None
    finalizers: Many[str] = ()
    owner_references: object = None
    managed_fields: object = None


class Resource(Model):
    """A document: one kind of one version, with a name in a namespace."""

    api_version: str
    kind: str
    metadata: Metadata

    @property
    def name(self) -> str:
        """The name, unique for its kind in its namespace."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """The namespace, "default" when the document does not say."""
        return self.metadata.namespace


class ClusterResource(Resource):
    """A kind that Kubernetes serves: its controllers write a `status`, which means nothing here."""

    status: Annotated[object, Nullable()] = Field(default=None, exclude=True, repr=False)


def repeats(at: Path, names: Iterable[object], key: str = "") -> Iterable[Fault]:
    """A fault for each name of a list that stood in it before; `key` is the field of an entry that holds the name."""
    first: dict[object, int] = {}
    for place, name in enumerate(names):
        if name in first:
            expected = f"expected each {key or 'entry'} once; entry {first[name]} has it already"
            yield Fault((*at, place, key) if key else (*at, place), expected, rule="duplicate")
        else:
            first[name] = place


def exclusive(model: Model, *names: str, needed: bool = False) -> Iterable[Fault]:
    """A fault when more than one of these fields is set, or, if needed, none."""
    fields = type(model).model_fields
    listed = ", ".join(fields[name].alias or name for name in names)
    present = [fields[name].alias or name for name in names if name in model.model_fields_set]
    if len(present) > 1:
        yield Fault((present[1],), f"expected only one of {listed}", f"remove {present[1]!r} or {present[0]!r}")
    elif needed and not present:
        yield Fault((), f"expected one of {listed}", rule="missing")
