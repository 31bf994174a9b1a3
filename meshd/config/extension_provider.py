"""Extension providers: authorizers outside of the sidecar, which policies with action CUSTOM name.

Source: istio/api mesh/v1alpha1/config.proto, ExtensionProvider. There a mesh has them; here each Proxy document does.
"""

# mypy: disable-error-code=explicit-any

import re
from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import Field

from meshd.config.model import Fault, Labels, Many, Model, Unsupported
from meshd.config.scalars import LongDuration, Port, Text

_PATTERN: Final = re.compile(r"(\*|\*?[A-Za-z0-9!#$%&'+.^_`|~-]+\*?)\Z")
_STATUS: Final = re.compile(r"[45][0-9][0-9]\Z")
_LISTS: Final = (
    "include_request_headers_in_check",
    "headers_to_upstream_on_allow",
    "headers_to_downstream_on_deny",
    "headers_to_downstream_on_allow",
)


class HttpAuthorizer(Model):
    """A service that answers a request with the head of ours: 200 allows it, anything else denies it."""

    service: Text
    port: Port
    timeout: LongDuration = 5.0
    path_prefix: str = ""
    fail_open: bool = False
    status_on_error: str = "403"
    include_request_headers_in_check: Many[str] = ()
    include_headers_in_check: Annotated[object, Unsupported("use includeRequestHeadersInCheck")] = None
    include_additional_headers_in_check: Labels = Field(default_factory=dict)
    include_request_body_in_check: Annotated[object, Unsupported("authorizers see the head of a request only")] = None
    headers_to_upstream_on_allow: Many[str] = ()
    headers_to_downstream_on_deny: Many[str] = ()
    headers_to_downstream_on_allow: Many[str] = ()
    clear_route_cache: Annotated[object, Unsupported("a route is found after the authorizer has answered")] = None

    def faults(self) -> Iterator[Fault]:
        """Names of fields are names, a status is one, a path is absolute."""
        if self.path_prefix and not self.path_prefix.startswith("/"):
            yield Fault(("pathPrefix",), "expected an absolute path", f"did you mean {'/' + self.path_prefix!r}?")
        if not _STATUS.match(self.status_on_error):
            yield Fault(("statusOnError",), "expected a status from 400 to 599, as a string")
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


class ExtensionProvider(Model):
    """One provider, by the name that policies use."""

    name: Text
    envoy_ext_authz_http: HttpAuthorizer | None = None
    envoy_ext_authz_grpc: Annotated[object, Unsupported("use envoyExtAuthzHttp")] = None

    def faults(self) -> Iterator[Fault]:
        """It is of a kind that we speak."""
        if self.envoy_ext_authz_http is None and not self.has("envoy_ext_authz_grpc"):
            yield Fault(("envoyExtAuthzHttp",), "required: the service that answers", rule="missing")
