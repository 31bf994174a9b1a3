"""HTTPRoute: which request goes where.

Source: Gateway API apis/v1/httproute_types.go, experimental channel. `matches: []` means what leaving it out means.
"""

# mypy: disable-error-code=explicit-any

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from meshd.config.model import ClusterResource, Fault, Many, Model, repeats
from meshd.config.references import BackendRef
from meshd.config.route_filters import HTTPFilter, filter_faults
from meshd.config.route_parts import HostRouteSpec, SessionPersistence, rule_faults
from meshd.config.scalars import URL_PATH, GatewayDuration, HeaderName, HeaderValue, SectionName
from meshd.core.regex import regex_fault

Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]

# What would make two spellings of one path match differently (x-kubernetes-validations of HTTPPathMatch).
_FORBIDDEN_IN_PATH: Final = ("//", "/./", "/../", "%2f", "%2F", "#")
_FORBIDDEN_AT_END: Final = ("/..", "/.")
_URL_PATH: Final = re.compile(URL_PATH)


class PathMatch(Model):
    """A path, exactly, by prefix (whole segments) or by a regular expression over all of it."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: Annotated[str, Field(max_length=1024)] = "/"

    def faults(self) -> Iterator[Fault]:
        """Only one spelling of each path."""
        at = ("value",)
        if self.type == "RegularExpression":
            wrong = regex_fault(self.value)
            if wrong:
                yield Fault(at, wrong)
            return
        if not self.value.startswith("/"):
            yield Fault(at, "expected an absolute path", f"did you mean {'/' + self.value!r}?")
        for part in _FORBIDDEN_IN_PATH:
            if part in self.value:
                yield Fault(at, f"a path to match must not contain {part!r}")
        for end in _FORBIDDEN_AT_END:
            if self.value.endswith(end):
                yield Fault(at, f"a path to match must not end with {end!r}")
        if not _URL_PATH.fullmatch(self.value):
            yield Fault(at, "expected only URL path characters, others percent-encoded")


class HeaderMatch(Model):
    """A header field, exactly or by a regular expression over all of its value."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    name: HeaderName
    value: HeaderValue

    def faults(self) -> Iterator[Fault]:
        """A regular expression must be one."""
        wrong = regex_fault(self.value) if self.type == "RegularExpression" else ""
        if wrong:
            yield Fault(("value",), wrong)


class QueryParamMatch(Model):
    """A query parameter, exactly or by a regular expression over all of its value."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    name: HeaderName
    value: Annotated[str, Field(min_length=1, max_length=1024)]

    def faults(self) -> Iterator[Fault]:
        """A regular expression must be one."""
        wrong = regex_fault(self.value) if self.type == "RegularExpression" else ""
        if wrong:
            yield Fault(("value",), wrong)


class HTTPMatch(Model):
    """All of its conditions must hold."""

    path: PathMatch = Field(default_factory=PathMatch)
    headers: Annotated[Many[HeaderMatch], Field(max_length=16)] = ()
    query_params: Annotated[Many[QueryParamMatch], Field(max_length=16)] = ()
    method: Method | None = None

    def faults(self) -> Iterator[Fault]:
        """Each name once."""
        yield from repeats(("headers",), (header.name for header in self.headers), "name")
        yield from repeats(("queryParams",), (param.name for param in self.query_params), "name")


class HTTPBackendRef(BackendRef):
    """Where a share of the traffic goes, and what is done to that share alone."""

    filters: Annotated[Many[HTTPFilter], Field(max_length=16)] = ()

    def faults(self) -> Iterator[Fault]:
        """The reference holds, and the filters agree."""
        yield from super().faults()
        yield from filter_faults(self.filters)


class Timeouts(Model):
    """Seconds; 0 means none. `request` covers all attempts, `backendRequest` one."""

    request: GatewayDuration | None = None
    backend_request: GatewayDuration | None = None

    def faults(self) -> Iterator[Fault]:
        """One attempt cannot last longer than all."""
        if self.request and self.backend_request is not None and self.backend_request > self.request:
            yield Fault(("backendRequest",), "expected a time no longer than that of 'request'")


class HTTPRetry(Model):
    """When to try again."""

    codes: Many[Annotated[int, Field(ge=400, le=599)]] = ()
    attempts: Annotated[int | None, Field(ge=0)] = None  # 0: none; the newest CRD has no word for that
    backoff: GatewayDuration | None = None

    def faults(self) -> Iterator[Fault]:
        """Each code once."""
        yield from repeats(("codes",), self.codes)


class HTTPRule(Model):
    """What to do with requests that any of the matches takes."""

    name: SectionName | None = None
    matches: Annotated[Many[HTTPMatch], Field(max_length=64)] = Field(default_factory=lambda: (HTTPMatch(),))
    filters: Annotated[Many[HTTPFilter], Field(max_length=16)] = ()
    backend_refs: Annotated[Many[HTTPBackendRef], Field(max_length=16)] = ()
    timeouts: Timeouts | None = None
    retry: HTTPRetry | None = None
    session_persistence: SessionPersistence | None = None

    def faults(self) -> Iterator[Fault]:
        """Filters agree with each other, with the backends and with the matches."""
        yield from filter_faults(self.filters)
        if self.backend_refs and any(step.request_redirect for step in self.filters):
            yield Fault(("backendRefs",), "a rule with a RequestRedirect filter answers itself", "remove 'backendRefs'")
        if self._one_prefix():
            return
        for place, step in enumerate(self.filters):
            yield from self._prefix_faults(step, ("filters", place))
        for index, backend in enumerate(self.backend_refs):
            for place, step in enumerate(backend.filters):
                yield from self._prefix_faults(step, ("backendRefs", index, "filters", place))

    def _one_prefix(self) -> bool:
        return len(self.matches) == 1 and self.matches[0].path.type == "PathPrefix"

    def _prefix_faults(self, step: HTTPFilter, at: tuple[str | int, ...]) -> Iterable[Fault]:
        for name, part in (("requestRedirect", step.request_redirect), ("urlRewrite", step.url_rewrite)):
            if part and part.path and part.path.type == "ReplacePrefixMatch":
                yield Fault((*at, name, "path", "type"), "needs a rule with exactly one match, of type PathPrefix")


class HTTPRouteSpec(HostRouteSpec):
    """Rules, the most specific match first whatever their order."""

    rules: Annotated[Many[HTTPRule], Field(min_length=1, max_length=16)] = Field(default_factory=lambda: (HTTPRule(),))

    def faults(self) -> Iterator[Fault]:
        """Parents and rules are told apart."""
        yield from super().faults()
        yield from rule_faults([rule.name for rule in self.rules], sum(len(rule.matches) for rule in self.rules))


class HTTPRoute(ClusterResource):
    """Which HTTP request goes where."""

    spec: HTTPRouteSpec
