"""GRPCRoute: which call goes where.

Source: Gateway API apis/v1/grpcroute_types.go, experimental channel.
"""

# mypy: disable-error-code=explicit-any

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from meshd.config.model import ClusterResource, Fault, Many, Model, repeats
from meshd.config.references import BackendRef
from meshd.config.route_filters import GRPCFilter, filter_faults
from meshd.config.route_parts import HostRouteSpec, SessionPersistence, rule_faults
from meshd.config.scalars import HeaderName, SectionName
from meshd.core.regex import regex_fault

_SERVICE: Final = re.compile(r"\.?[a-zA-Z_][a-zA-Z_0-9]*(\.[a-zA-Z_][a-zA-Z_0-9]*)*\Z")
_METHOD: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9]*\Z")


class GRPCMethodMatch(Model):
    """A service, a method, or both; what is left out matches any."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    service: Annotated[str | None, Field(max_length=1024)] = None
    method: Annotated[str | None, Field(max_length=1024)] = None

    def faults(self) -> Iterator[Fault]:
        """There is something to match, and it can match."""
        if self.service is None and self.method is None:
            yield Fault((), "expected service, method or both", rule="missing")
        for name, value, pattern in (("service", self.service, _SERVICE), ("method", self.method, _METHOD)):
            if value is None:
                continue
            if self.type == "RegularExpression":
                wrong = regex_fault(value) or regex_fault(f"(?:{value})")  # as it will stand in the path: no open \\Q
            else:
                wrong = "" if pattern.match(value) else f"expected the name of a gRPC {name}"
            if wrong:
                yield Fault((name,), wrong)


class GRPCHeaderMatch(Model):
    """A metadata entry, exactly or by a regular expression over all of its value."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    name: HeaderName
    value: Annotated[str, Field(min_length=1, max_length=4096)]

    def faults(self) -> Iterator[Fault]:
        """A regular expression must be one."""
        wrong = regex_fault(self.value) if self.type == "RegularExpression" else ""
        if wrong:
            yield Fault(("value",), wrong)


class GRPCMatch(Model):
    """All of its conditions must hold."""

    method: GRPCMethodMatch | None = None
    headers: Annotated[Many[GRPCHeaderMatch], Field(max_length=16)] = ()

    def faults(self) -> Iterator[Fault]:
        """Each name once."""
        yield from repeats(("headers",), (header.name for header in self.headers), "name")


class GRPCBackendRef(BackendRef):
    """Where a share of the calls goes, and what is done to that share alone."""

    filters: Annotated[Many[GRPCFilter], Field(max_length=16)] = ()

    def faults(self) -> Iterator[Fault]:
        """The reference holds, and the filters agree."""
        yield from super().faults()
        yield from filter_faults(self.filters)


class GRPCRule(Model):
    """What to do with calls that any of the matches takes; without matches, with every call."""

    name: SectionName | None = None
    matches: Annotated[Many[GRPCMatch], Field(max_length=64)] = ()
    filters: Annotated[Many[GRPCFilter], Field(max_length=16)] = ()
    backend_refs: Annotated[Many[GRPCBackendRef], Field(max_length=16)] = ()
    session_persistence: SessionPersistence | None = None

    def faults(self) -> Iterator[Fault]:
        """Filters agree with each other."""
        yield from filter_faults(self.filters)


class GRPCRouteSpec(HostRouteSpec):
    """Rules, the most specific match first whatever their order."""

    rules: Annotated[Many[GRPCRule], Field(max_length=16)] = ()

    def faults(self) -> Iterator[Fault]:
        """Parents and rules are told apart."""
        yield from super().faults()
        yield from rule_faults([rule.name for rule in self.rules], sum(len(rule.matches) for rule in self.rules))


class GRPCRoute(ClusterResource):
    """Which gRPC call goes where."""

    spec: GRPCRouteSpec
