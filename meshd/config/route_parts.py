"""What rules of HTTPRoute and GRPCRoute have in common besides filters: the route's head, and session persistence.

Source: Gateway API apis/v1/shared_types.go and sessionpersistence_types.go.
"""

# mypy: disable-error-code=explicit-any

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import Field

from meshd.config.model import Fault, Many, Model, Unsupported
from meshd.config.references import ParentRef, parent_faults
from meshd.config.scalars import GatewayDuration, HeaderName, Hostname, SectionName

MAX_MATCHES = 128  # of all rules of a route together, by the standard


class RouteSpec(Model):
    """What every route says: where it attaches."""

    parent_refs: Annotated[Many[ParentRef], Field(max_length=32)] = ()
    use_default_gateways: Annotated[object, Unsupported("a sidecar has no gateways; name a Service in parentRefs")] = (
        None
    )

    def faults(self) -> Iterable[Fault]:
        """Parents are told apart."""
        return parent_faults(self.parent_refs)


class HostRouteSpec(RouteSpec):
    """A route that may be limited to hosts. With a Service as parent, hosts are not looked at (GAMMA)."""

    hostnames: Annotated[Many[Hostname], Field(max_length=16)] = ()


class SessionCookie(Model):
    """The cookie that keeps a session at one endpoint."""

    name: HeaderName | None = None
    lifetime_type: Literal["Permanent", "Session"] = "Session"
    path: Annotated[str, Field(max_length=1024)] = "/"

    def faults(self) -> Iterable[Fault]:
        """The path is written into a header field."""
        if self.path and not (self.path.startswith("/") and re.fullmatch(r"[!-:<-~]+", self.path)):
            yield Fault(("path",), "expected an absolute path of visible characters, without ';'")


class SessionHeader(Model):
    """The header that keeps a session at one endpoint."""

    name: HeaderName


class SessionCookieConfig(Model):
    """How long the cookie stays, as releases up to 1.4 of the standard write it."""

    lifetime_type: Literal["Permanent", "Session"] = "Session"


class SessionPersistence(Model):
    """Requests of one session go to one endpoint while it lives.

    Of two dialects: releases up to 1.4 of the standard name cookie or header by `sessionName`, what follows them by
    `cookie.name` and `header.name`.
    """

    session_name: Annotated[HeaderName | None, Field(max_length=128)] = None
    absolute_timeout: GatewayDuration | None = None
    idle_timeout: Annotated[object, Unsupported("the token of a session has one end; set absoluteTimeout")] = None
    type: Literal["Cookie", "Header"] = "Cookie"
    cookie_config: SessionCookieConfig | None = None
    cookie: SessionCookie | None = None
    header: SessionHeader | None = None

    @property
    def name(self) -> str | None:
        """Of the cookie or header; None when it is left to us."""
        of_type = self.cookie if self.type == "Cookie" else self.header
        return (of_type.name if of_type is not None else None) or self.session_name

    @property
    def is_permanent(self) -> bool:
        """Whether the cookie stays after the browser was closed."""
        configs = (self.cookie, self.cookie_config)
        return any(config is not None and config.lifetime_type == "Permanent" for config in configs)

    def faults(self) -> Iterable[Fault]:
        """Type and field agree; a cookie that stays needs an end."""
        older = {"Cookie": ("session_name", "cookie_config"), "Header": ("session_name",)}[self.type]
        for kind, name in (("Cookie", "cookie"), ("Header", "header")):
            if self.type == kind and not self.has(name, *older):
                yield Fault((name,), f"required when type is {kind!r}", rule="missing")
            elif self.type != kind and self.has(name):
                yield Fault((name,), f"only allowed when type is {kind!r}; type is {self.type!r}", f"remove {name!r}")
            elif self.has(name) and self.has("session_name", "cookie_config"):
                expected = "cannot be combined with sessionName and cookieConfig, the older form of the same"
                yield Fault((name,), expected, f"remove {name!r}")
        if self.type == "Header" and self.has("cookie_config"):
            yield Fault(
                ("cookieConfig",), "only allowed when type is 'Cookie'; type is 'Header'", "remove 'cookieConfig'"
            )
        if self.is_permanent and self.absolute_timeout is None:
            yield Fault(("absoluteTimeout",), "required when the cookie's lifetimeType is 'Permanent'", rule="missing")


def rule_faults(names: Sequence[SectionName | None], matches: int) -> Iterable[Fault]:
    """Names of rules are unique, and there are not too many matches."""
    first: dict[str, int] = {}
    for place, name in enumerate(names):
        if name is not None and first.setdefault(name, place) != place:
            expected = f"expected each rule name once; rule {first[name]} has it already"
            yield Fault(("rules", place, "name"), expected, rule="duplicate")
    if matches > MAX_MATCHES:
        yield Fault(("rules",), f"expected at most {MAX_MATCHES} matches in all rules together, there are {matches}")
