"""Which requests a rule of a RateLimitPolicy, RequestPolicy or FaultPolicy takes, and what such a policy attaches to.

The shapes are those of HTTPRoute's matches, so that one vocabulary serves all.
"""

# mypy: disable-error-code=explicit-any

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from meshd.config.http_route import HeaderMatch, Method, PathMatch
from meshd.config.model import Fault, Many, Model, repeats
from meshd.config.references import ServiceTarget, WorkloadSelector


class PolicyMatch(Model):
    """All of its conditions must hold; without any, every request matches."""

    path: PathMatch | None = None
    method: Method | None = None
    headers: Annotated[Many[HeaderMatch], Field(max_length=16)] = ()

    def faults(self) -> Iterator[Fault]:
        """Each name once."""
        yield from repeats(("headers",), (header.name.lower() for header in self.headers), "name")


class Attachment(Model):
    """Targets: calls to these Services (outbound). Selector: calls to these workloads (inbound); without either, calls
    to every workload of the namespace."""

    selector: WorkloadSelector | None = None
    target_refs: Annotated[Many[ServiceTarget], Field(max_length=16)] = ()

    def faults(self) -> Iterator[Fault]:
        """One way to attach."""
        if self.has("selector") and self.has("target_refs"):
            yield Fault(("targetRefs",), "expected selector or targetRefs, not both", "remove 'targetRefs'")
        yield from repeats(("targetRefs",), ((ref.kind, ref.namespace, ref.name, ref.port) for ref in self.target_refs))
