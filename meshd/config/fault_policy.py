"""FaultPolicy: delays and errors made on purpose, to see what callers do."""

# mypy: disable-error-code=explicit-any

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from meshd.config.model import Fault, Many, Model, Resource, exclusive
from meshd.config.policy_match import Attachment, PolicyMatch
from meshd.config.route_parts import rule_faults
from meshd.config.scalars import HeaderName, LongDuration, Percent, SectionName


class Delay(Model):
    """Hold a share of the requests for a fixed time."""

    fixed: LongDuration
    percentage: Percent = 100.0


class Abort(Model):
    """Answer a share of the requests with an error, without asking the backend."""

    status: Annotated[int | None, Field(ge=200, le=599)] = None
    grpc_status: Annotated[int | None, Field(ge=0, le=16)] = None
    percentage: Percent = 100.0

    def faults(self) -> Iterator[Fault]:
        """One status."""
        yield from exclusive(self, "status", "grpc_status", needed=True)


class FaultRule(Model):
    """The first rule that matches acts. With `header`, only requests that carry this field are touched: a trigger that
    testers send and users do not."""

    name: SectionName | None = None
    match: PolicyMatch | None = None
    header: HeaderName | None = None
    delay: Delay | None = None
    abort: Abort | None = None

    def faults(self) -> Iterator[Fault]:
        """A rule does something."""
        if self.delay is None and self.abort is None:
            yield Fault((), "expected delay, abort or both", rule="missing")


class FaultPolicySpec(Attachment):
    """Rules, in order."""

    rules: Annotated[Many[FaultRule], Field(min_length=1, max_length=64)]

    def faults(self) -> Iterator[Fault]:
        """Rules are told apart."""
        yield from super().faults()
        yield from rule_faults([rule.name for rule in self.rules], 0)


class FaultPolicy(Resource):
    """Delays and errors made on purpose."""

    spec: FaultPolicySpec
