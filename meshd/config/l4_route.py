"""TCPRoute and TLSRoute: connections that are passed on as they are, the latter by the name in the ClientHello.

Source: Gateway API apis/v1/{tcproute,tlsroute}_types.go; the v1alpha2 forms allowed several rules and no host names.
"""

# mypy: disable-error-code=explicit-any

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from meshd.config.address import ip_version
from meshd.config.model import ClusterResource, Fault, Many, Model
from meshd.config.references import BackendRef
from meshd.config.route_parts import RouteSpec, rule_faults
from meshd.config.scalars import Hostname, SectionName


class L4Rule(Model):
    """Where connections go, by weight."""

    name: SectionName | None = None
    backend_refs: Annotated[Many[BackendRef], Field(min_length=1, max_length=16)]


class TCPRouteSpec(RouteSpec):
    """One rule: nothing tells TCP connections apart."""

    rules: Annotated[Many[L4Rule], Field(min_length=1, max_length=1)]


class TCPRouteAlphaSpec(TCPRouteSpec):
    """The older form, with up to sixteen rules, of which the first takes every connection."""

    rules: Annotated[Many[L4Rule], Field(min_length=1, max_length=16)]

    def faults(self) -> Iterator[Fault]:
        """Parents and rules are told apart."""
        yield from super().faults()
        yield from rule_faults([rule.name for rule in self.rules], 0)


class TCPRoute(ClusterResource):
    """Which TCP connection goes where."""

    spec: TCPRouteSpec


class TCPRouteAlpha(TCPRoute):
    """TCPRoute of v1alpha2."""

    spec: TCPRouteAlphaSpec  # type: ignore[mutable-override]  # frozen: nobody can assign a wider one


class TLSRouteSpec(RouteSpec):
    """One rule, for connections whose server name is one of the host names."""

    hostnames: Annotated[Many[Hostname], Field(min_length=1, max_length=1024)]
    rules: Annotated[Many[L4Rule], Field(min_length=1, max_length=1)]

    def faults(self) -> Iterator[Fault]:
        """Server names are never IP addresses (RFC 6066 section 3)."""
        yield from super().faults()
        for place, name in enumerate(self.hostnames):
            if ip_version(name):
                yield Fault(("hostnames", place), "expected a host name: an IP address is never a server name")


class TLSRouteAlphaSpec(TLSRouteSpec):
    """The older form, with up to sixteen rules and host names optional."""

    hostnames: Annotated[Many[Hostname], Field(max_length=1024)] = ()
    rules: Annotated[Many[L4Rule], Field(min_length=1, max_length=16)]

    def faults(self) -> Iterator[Fault]:
        """Parents and rules are told apart."""
        yield from super().faults()
        yield from rule_faults([rule.name for rule in self.rules], 0)


class TLSRoute(ClusterResource):
    """Which TLS connection goes where, without being opened."""

    spec: TLSRouteSpec


class TLSRouteAlpha(TLSRoute):
    """TLSRoute of v1alpha2."""

    spec: TLSRouteAlphaSpec  # type: ignore[mutable-override]  # frozen: nobody can assign a wider one
