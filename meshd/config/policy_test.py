"""PolicyTest: what `meshd test` reads. Requests and what is to become of them, beside the policies that decide it."""

# mypy: disable-error-code=explicit-any

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from meshd.config.model import DNS_LABEL, DNS_NAME, Fault, Labels, Many, Model, Resource, exclusive
from meshd.config.scalars import Duration, Percent, Port, Text, TrustDomain

Failure = Literal["connect-failure", "refused-stream", "reset-before-request", "reset", "500", "502", "503", "504"]
Outcome = Literal["forwarded", "denied", "refused", "no route", "no backend", "answered", "malformed", "tunnel"]


class Sidecar(Model):
    """The sidecar that is asked, where no Proxy document is at hand."""

    name: Annotated[str, Field(max_length=253, pattern=DNS_NAME)] = "app"
    namespace: Annotated[str, Field(max_length=63, pattern=DNS_LABEL)] = "default"
    labels: Labels = Field(default_factory=dict)
    trust_domain: TrustDomain = "cluster.local"
    port: Port = 8080  # of the app


class Given(Model):
    """A request. Inbound when a caller or nothing else says so, outbound when `to` names a service."""

    direction: Literal["inbound", "outbound"] | None = None
    from_: Annotated[str, Field(alias="from")] = ""  # SPIFFE ID, namespace/account or account; empty for none
    to: str = ""
    method: Text = "GET"
    path: Text = "/"
    headers: Labels = Field(default_factory=dict)
    failure: Failure | None = None  # of the first attempt
    times: Annotated[int, Field(ge=1, le=10_000)] = 1  # sent so often at once; what is expected is of the last
    draw: Percent = 100.0  # where chance decides: the number drawn, of 100
    authorizer: Literal["allow", "deny", "fail"] = "allow"  # what authorizers outside say that are asked

    @property
    def is_inbound(self) -> bool:
        """Whether it is asked of the callee's sidecar."""
        return self.direction == "inbound" or (self.direction is None and not self.to)


class Expect(Model):
    """What is to become of it. What is left out is not looked at."""

    verdict: Literal["allow", "deny"] | None = None
    outcome: Outcome | None = None
    status: Annotated[int | None, Field(ge=100, le=599)] = None
    policy: Text | None = None  # namespace/name, or name
    rule: Annotated[int | None, Field(ge=0)] = None
    route: Text | None = None  # kind/namespace/name/rule, or the end of it
    backend: Text | None = None
    split: dict[str, Percent] | None = None  # backends and their percentages
    location: Text | None = None
    forwarded: Text | None = None  # method, authority and target as they leave
    delay: Duration | None = None
    retried: bool | None = None

    def faults(self) -> Iterator[Fault]:
        """Something is expected."""
        if not self.model_fields_set:
            yield Fault((), "expected at least one expectation, such as 'verdict: allow'", rule="missing")


class Case(Model):
    """One request and its expectations."""

    name: Text
    given: Given = Field(default_factory=Given)
    expect: Expect

    def faults(self) -> Iterator[Fault]:
        """A retry has a failure before it."""
        if self.expect.retried is not None and self.given.failure is None:
            expected = "required when 'retried' is expected: how the first attempt fails"
            yield Fault(("given", "failure"), expected, rule="missing")


class PolicyTestSpec(Model):
    """Whose sidecar, which policies, which requests. Paths count from the file's folder."""

    policies: Annotated[Many[Text], Field(min_length=1)] = (".",)
    proxy: Text | None = None
    sidecar: Sidecar = Field(default_factory=Sidecar)
    cases: Annotated[Many[Case], Field(min_length=1, max_length=10_000)]

    def faults(self) -> Iterator[Fault]:
        """One way to name the sidecar."""
        yield from exclusive(self, "proxy", "sidecar")


class PolicyTest(Resource):
    """Cases for the policies beside it."""

    spec: PolicyTestSpec
