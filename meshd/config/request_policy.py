"""RequestPolicy: how large requests and responses may be, and which requests are answered here."""

# mypy: disable-error-code=explicit-any

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from meshd.config.model import Fault, Many, Model, Resource
from meshd.config.policy_match import Attachment, PolicyMatch
from meshd.config.route_filters import HeaderEdit
from meshd.config.route_parts import rule_faults
from meshd.config.scalars import HeaderValue, SectionName, Size


class Respond(Model):
    """An answer of our own. The backend is not asked."""

    status: Annotated[int, Field(ge=200, le=599)]
    headers: Annotated[Many[HeaderEdit], Field(max_length=16)] = ()
    content_type: HeaderValue = "text/plain"
    body: Annotated[str, Field(max_length=65536)] = ""

    def faults(self) -> Iterator[Fault]:
        """Statuses without a body have none."""
        if self.body and self.status in (204, 304):
            yield Fault(("body",), f"a response with status {self.status} has no body", "remove 'body'")


class RequestRule(Model):
    """The first rule that matches acts. A request body beyond its size is refused with 413, a response body beyond its
    size is not passed on: 502, or a broken connection when its beginning has been passed on already."""

    name: SectionName | None = None
    match: PolicyMatch | None = None
    max_request_body: Size | None = None
    max_response_body: Size | None = None
    respond: Respond | None = None

    def faults(self) -> Iterator[Fault]:
        """A rule does something, and what answers by itself limits nothing."""
        limits = self.has("max_request_body") or self.has("max_response_body")
        if self.respond is None and not limits:
            yield Fault((), "expected maxRequestBody, maxResponseBody or respond", rule="missing")
        elif self.respond is not None and limits:
            yield Fault(("respond",), "a rule that answers itself passes no bodies on", "remove the sizes")


class RequestPolicySpec(Attachment):
    """Rules, in order."""

    rules: Annotated[Many[RequestRule], Field(min_length=1, max_length=64)]

    def faults(self) -> Iterator[Fault]:
        """Rules are told apart."""
        yield from super().faults()
        yield from rule_faults([rule.name for rule in self.rules], 0)


class RequestPolicy(Resource):
    """What requests and responses may carry, and what is answered here."""

    spec: RequestPolicySpec
