"""Extension providers: authorizers outside of the sidecar, which policies with action CUSTOM name.

Source: istio/api mesh/v1alpha1/config.proto, ExtensionProvider. There a mesh has them; here each Proxy document does.
"""

# mypy: disable-error-code=explicit-any

import re
from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import Field

from meshd.config.model import Fault, Labels, Many, Model, Unsupported, exclusive
from meshd.config.scalars import LongDuration, Port, Text

MOST_BODY: Final = 16 * 1024 * 1024  # octets of a request that are kept for an authorizer
_PATTERN: Final = re.compile(r"(\*|\*?[A-Za-z0-9!#$%&'+.^_`|~-]+\*?)\Z")
_STATUS: Final = re.compile(r"[45][0-9][0-9]\Z")
_LISTS: Final = (
    "include_request_headers_in_check",
    "headers_to_upstream_on_allow",
    "headers_to_downstream_on_deny",
    "headers_to_downstream_on_allow",
)


class BodyInCheck(Model):
    """How much of a request's body the authorizer sees. A body that is larger is refused with 413, unless its beginning
    will do."""

    max_request_bytes: Annotated[int, Field(ge=1, le=MOST_BODY)]
    allow_partial_message: bool = False
    pack_as_bytes: bool = False  # over gRPC in `raw_body`, else in `body` as text; over HTTP it is octets either way


class Authorizer(Model):
    """A service that says whether a request may pass."""

    service: Text
    port: Port
    timeout: LongDuration = 5.0
    fail_open: bool = False
    status_on_error: str = "403"
    include_request_body_in_check: BodyInCheck | None = None
    clear_route_cache: Annotated[object, Unsupported("a route is found after the authorizer has answered")] = None

    def faults(self) -> Iterator[Fault]:
        """A status is one."""
        if not _STATUS.match(self.status_on_error):
            yield Fault(("statusOnError",), "expected a status from 400 to 599, as a string")


class HttpAuthorizer(Authorizer):
    """One that is asked with the request itself, head and as much body as is said: 200 allows it, anything else denies
    it."""

    path_prefix: str = ""
    include_request_headers_in_check: Many[str] = ()
    include_headers_in_check: Annotated[object, Unsupported("use includeRequestHeadersInCheck")] = None
    include_additional_headers_in_check: Labels = Field(default_factory=dict)
    headers_to_upstream_on_allow: Many[str] = ()
    headers_to_downstream_on_deny: Many[str] = ()
    headers_to_downstream_on_allow: Many[str] = ()

    def faults(self) -> Iterator[Fault]:
        """Names of fields are names, a path is absolute."""
        yield from super().faults()
        if self.path_prefix and not self.path_prefix.startswith("/"):
            yield Fault(("pathPrefix",), "expected an absolute path", f"did you mean {'/' + self.path_prefix!r}?")
        for name in _LISTS:
            for place, value in enumerate(getattr(self, name)):
                if not _PATTERN.match(value):
                    at = (type(self).model_fields[name].alias or name, place)
                    yield Fault(at, "expected the name of a header field, '*' allowed at one end")
        for name, value in self.include_additional_headers_in_check.items():
            if not _PATTERN.match(name) or "*" in name or not (value.isascii() and value.isprintable()):
                yield Fault(
                    ("includeAdditionalHeadersInCheck", name), "expected the name of a header field and its value"
                )


class GrpcAuthorizer(Authorizer):
    """One that is asked by envoy.service.auth.v3.Authorization/Check."""


class ExtensionProvider(Model):
    """One provider, by the name that policies use."""

    name: Text
    envoy_ext_authz_http: HttpAuthorizer | None = None
    envoy_ext_authz_grpc: GrpcAuthorizer | None = None

    @property
    def authorizer(self) -> Authorizer:
        """The one that it is."""
        found = self.envoy_ext_authz_http or self.envoy_ext_authz_grpc
        assert found is not None  # the rule below
        return found

    def faults(self) -> Iterator[Fault]:
        """It is of one of the kinds that we speak."""
        yield from exclusive(self, "envoy_ext_authz_http", "envoy_ext_authz_grpc", needed=True)
