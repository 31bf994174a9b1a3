"""RequestAuthentication: whose tokens (JWT) are believed.

Source: istio/api security/v1beta1/request_authentication.proto and the rules of the CRD. A request with a bad token is
refused; one without a token passes, unless `presence` is REQUIRED or an AuthorizationPolicy asks for a principal.
"""

# mypy: disable-error-code=explicit-any

import json
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field

from meshd.config.errors import Path
from meshd.config.model import ClusterResource, Fault, Many, Model
from meshd.config.references import PolicyTargetRef, WorkloadSelector, attachment_faults, listed_targets
from meshd.config.scalars import ClaimHeader, LongDuration, Text

_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{0,256}\Z")
JwksUri = Annotated[str, Field(min_length=1, max_length=2048)]


class TokenHeader(Model):
    """A header that carries the token, after the prefix."""

    name: Text
    prefix: str = ""


class ClaimToHeader(Model):
    """A claim to hand to the app."""

    header: ClaimHeader
    claim: Text


class JwtRule(Model):
    """An issuer, its keys, and where its tokens are found."""

    issuer: Text | None = None
    audiences: Many[Text] = ()
    jwks: str = ""
    jwks_uri: JwksUri | None = None
    jwks_uri_snake: Annotated[JwksUri | None, Field(alias="jwks_uri")] = None
    from_headers: Many[TokenHeader] = ()
    from_params: Many[Text] = ()
    from_cookies: Many[Text] = ()
    output_payload_to_header: str = ""
    output_claim_to_headers: Many[ClaimToHeader] = ()
    forward_original_token: bool = False
    timeout: LongDuration | None = None
    space_delimited_claims: Annotated[Many[Text], Field(max_length=64)] = ()
    presence: Literal["OPTIONAL", "REQUIRED"] = "OPTIONAL"

    def faults(self) -> Iterator[Fault]:
        """An issuer, and one source of keys."""
        if self.issuer is None:
            yield Fault(("issuer",), "required: the `iss` of the tokens", rule="missing")
        present = [alias for alias, set_ in self._sources().items() if set_]
        if len(present) > 1:
            yield Fault((present[1],), "expected only one of jwks, jwksUri", f"remove {present[1]!r}")
        for alias, uri in (("jwksUri", self.jwks_uri), ("jwks_uri", self.jwks_uri_snake)):
            if uri is not None and not _is_url(uri):
                yield Fault((alias,), "expected a URL that begins with http:// or https://")
        if not _FIELD_NAME.match(self.output_payload_to_header):
            yield Fault(("outputPayloadToHeader",), "expected the name of a header field")
        if self.jwks and not _is_key_set(self.jwks):
            yield Fault(("jwks",), "expected a JSON Web Key Set: a JSON object with a list 'keys' (RFC 7517)")

    def _sources(self) -> dict[str, bool]:
        return {
            "jwks": self.has("jwks"),
            "jwksUri": self.has("jwks_uri"),
            "jwks_uri": self.has("jwks_uri_snake"),
        }

    @property
    def keys_uri(self) -> str:
        """Where the keys are fetched, whichever spelling the document uses; empty when they are inline."""
        return self.jwks_uri or self.jwks_uri_snake or ""


class RequestAuthenticationSpec(Model):
    """Workloads, and the issuers they believe."""

    selector: WorkloadSelector | None = None
    target_ref: PolicyTargetRef | None = None
    target_refs: Annotated[Many[PolicyTargetRef], Field(max_length=16)] = ()
    jwt_rules: Annotated[Many[JwtRule], Field(max_length=4096)] = ()

    @property
    def targets(self) -> Sequence[tuple[Path, PolicyTargetRef]]:
        """What it targets, by whichever field, each with its path below the spec."""
        return listed_targets(self.target_ref, self.target_refs)

    def faults(self) -> Iterator[Fault]:
        """One way to attach."""
        yield from attachment_faults(self)


class RequestAuthentication(ClusterResource):
    """Whose tokens are believed."""

    spec: RequestAuthenticationSpec = Field(default_factory=RequestAuthenticationSpec)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_key_set(text: str) -> bool:
    try:
        keys = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(keys, dict) and isinstance(keys.get("keys"), list)
