"""What a rule of an HTTPRoute or GRPCRoute does to a request besides sending it on.

Source: Gateway API apis/v1/httproute_types.go and its CRD (the rules under x-kubernetes-validations).
"""

# mypy: disable-error-code=explicit-any

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal

from pydantic import Field

from meshd.config.model import Fault, Many, Model, Unsupported, repeats
from meshd.config.references import BackendObjectRef
from meshd.config.scalars import URL_PATH, HeaderName, HeaderValue, Int32, Origin, Port, PreciseHostname


class HeaderEdit(Model):
    """A header field to write."""

    name: HeaderName
    value: HeaderValue


class HeaderModifier(Model):
    """`set` overwrites, `add` appends, `remove` takes away; names compare without case."""

    set: Annotated[Many[HeaderEdit], Field(max_length=16)] = ()
    add: Annotated[Many[HeaderEdit], Field(max_length=16)] = ()
    remove: Annotated[Many[str], Field(max_length=16)] = ()

    def faults(self) -> Iterable[Fault]:
        """Each name once a list."""
        yield from repeats(("set",), (edit.name for edit in self.set), "name")
        yield from repeats(("add",), (edit.name for edit in self.add), "name")
        yield from repeats(("remove",), self.remove)


class PathModifier(Model):
    """A new path: whole, or in the place of the prefix that matched."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: Annotated[str | None, Field(max_length=1024)] = None
    replace_prefix_match: Annotated[str | None, Field(max_length=1024)] = None

    def faults(self) -> Iterable[Fault]:
        """The field must be the type's own, and a path that can be sent: it is put into the request line."""
        yield from union_faults(self, self.type, _PATH_FIELDS)
        for name, value in (
            ("replaceFullPath", self.replace_full_path),
            ("replacePrefixMatch", self.replace_prefix_match),
        ):
            if value and not (value.startswith("/") and re.fullmatch(URL_PATH, value)):
                yield Fault((name,), "expected an absolute path of URL characters, others percent-encoded, no query")


class RequestRedirect(Model):
    """Answer with a redirect. What is left out stays as the request had it."""

    scheme: Literal["http", "https"] | None = None
    hostname: PreciseHostname | None = None
    path: PathModifier | None = None
    port: Port | None = None
    status_code: Literal[301, 302, 303, 307, 308] = 302


class UrlRewrite(Model):
    """Change host or path on the way to the backend."""

    hostname: PreciseHostname | None = None
    path: PathModifier | None = None


class MirrorFraction(Model):
    """A share as numerator over denominator."""

    numerator: Annotated[int, Field(ge=0, le=2**31 - 1)]
    denominator: Annotated[int, Field(ge=1, le=2**31 - 1)] = 100

    def faults(self) -> Iterable[Fault]:
        """Not more than the whole."""
        if self.numerator > self.denominator:
            yield Fault(("numerator",), f"expected at most the denominator, {self.denominator}")


class RequestMirror(Model):
    """Send a copy elsewhere and throw the answer away."""

    backend_ref: BackendObjectRef
    percent: Annotated[int | None, Field(ge=0, le=100)] = None
    fraction: MirrorFraction | None = None

    def faults(self) -> Iterable[Fault]:
        """The share is said once."""
        if self.percent is not None and self.fraction is not None:
            yield Fault(("fraction",), "expected percent or fraction, not both", "remove 'fraction' or 'percent'")

    @property
    def share(self) -> float:
        """The fraction of requests to copy, from 0 to 1."""
        if self.fraction is not None:
            return self.fraction.numerator / self.fraction.denominator
        return 1.0 if self.percent is None else self.percent / 100


_Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"]


class Cors(Model):
    """Answer preflights and mark responses for browsers."""

    allow_origins: Annotated[Many[Origin], Field(max_length=64)] = ()
    allow_credentials: bool = False
    allow_methods: Annotated[Many[_Method], Field(max_length=9)] = ()
    allow_headers: Annotated[Many[HeaderName], Field(max_length=64)] = ()
    expose_headers: Annotated[Many[HeaderName], Field(max_length=64)] = ()
    max_age: Annotated[Int32, Field(ge=1)] = 5

    def faults(self) -> Iterable[Fault]:
        """'*' stands alone; nothing stands twice."""
        lists: tuple[tuple[str, Sequence[str]], ...] = (
            ("allowOrigins", self.allow_origins),
            ("allowMethods", self.allow_methods),
            ("allowHeaders", self.allow_headers),
        )
        for name, values in lists:
            yield from repeats((name,), values)
            if "*" in values and len(values) > 1:
                yield Fault((name, values.index("*")), "'*' means all and must stand alone")
        yield from repeats(("exposeHeaders",), self.expose_headers)


class CommonFilter(Model):
    """The filters that HTTPRoute and GRPCRoute share."""

    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: RequestMirror | None = None
    extension_ref: Annotated[object, Unsupported("this proxy has no filters beyond those of the standard")] = None


class HTTPFilter(CommonFilter):
    """One filter of an HTTPRoute: the field named like the type is set, and no other."""

    type: Literal[
        "RequestHeaderModifier",
        "ResponseHeaderModifier",
        "RequestMirror",
        "RequestRedirect",
        "URLRewrite",
        "ExtensionRef",
        "CORS",
        "ExternalAuth",
    ]
    request_redirect: RequestRedirect | None = None
    url_rewrite: UrlRewrite | None = None
    cors: Cors | None = None
    external_auth: Annotated[object, Unsupported("use an AuthorizationPolicy with action CUSTOM")] = None

    def faults(self) -> Iterable[Fault]:
        """Type and field agree."""
        yield from union_faults(self, self.type, _HTTP_FIELDS)


class GRPCFilter(CommonFilter):
    """One filter of a GRPCRoute."""

    type: Literal["ResponseHeaderModifier", "RequestHeaderModifier", "RequestMirror", "ExtensionRef"]

    def faults(self) -> Iterable[Fault]:
        """Type and field agree."""
        yield from union_faults(self, self.type, _GRPC_FIELDS)


_GRPC_FIELDS: Final = {
    "RequestHeaderModifier": "request_header_modifier",
    "ResponseHeaderModifier": "response_header_modifier",
    "RequestMirror": "request_mirror",
    "ExtensionRef": "extension_ref",
}
_HTTP_FIELDS: Final = _GRPC_FIELDS | {
    "RequestRedirect": "request_redirect",
    "URLRewrite": "url_rewrite",
    "CORS": "cors",
    "ExternalAuth": "external_auth",
}
_PATH_FIELDS: Final = {"ReplaceFullPath": "replace_full_path", "ReplacePrefixMatch": "replace_prefix_match"}
_ONCE: Final = ("CORS", "RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite")


def union_faults(model: Model, chosen: str, fields: dict[str, str]) -> Iterable[Fault]:
    """In a union told apart by `type`, the type's own field is set and the others are not."""
    aliases = type(model).model_fields
    for kind, name in fields.items():
        alias = aliases[name].alias or name
        if kind == chosen and not model.has(name):
            yield Fault((alias,), f"required when type is {kind!r}", rule="missing")
        elif kind != chosen and model.has(name):
            yield Fault((alias,), f"only allowed when type is {kind!r}; type is {chosen!r}", f"remove {alias!r}")


def filter_faults(filters: Sequence[HTTPFilter] | Sequence[GRPCFilter]) -> Iterable[Fault]:
    """Filters that would contradict each other."""
    types = [step.type for step in filters]
    for place, kind in enumerate(types):
        if kind in _ONCE and kind in types[:place]:
            yield Fault(("filters", place, "type"), f"a {kind} filter cannot be repeated", rule="duplicate")
    if "RequestRedirect" in types and "URLRewrite" in types:
        place = max(types.index("RequestRedirect"), types.index("URLRewrite"))
        yield Fault(("filters", place, "type"), "RequestRedirect and URLRewrite cannot be used together")
