"""RateLimitPolicy: how many requests, for whom. Token buckets of one sidecar; nothing is shared between sidecars."""

# mypy: disable-error-code=explicit-any

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from meshd.config.model import Fault, Many, Model, Resource
from meshd.config.policy_match import Attachment, PolicyMatch
from meshd.config.route_parts import rule_faults
from meshd.config.scalars import Positive, RateKey, SectionName

SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600}


class RateLimitRule(Model):
    """`requests` per `per`, at most `burst` at once (as many as `requests` when it is left out). `key` says who
    shares a bucket: none for everybody, identity for each caller, header:NAME for each value of a header."""

    name: SectionName | None = None
    match: PolicyMatch | None = None
    requests: Positive
    per: Literal["second", "minute", "hour"] = "second"
    burst: Positive | None = None
    key: RateKey = "none"

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / SECONDS[self.per]

    @property
    def header(self) -> str:
        """The header that is the key, in lower case; empty when another key is used."""
        return self.key.removeprefix("header:").lower() if self.key.startswith("header:") else ""


class RateLimitPolicySpec(Attachment):
    """Every rule that matches must have room."""

    rules: Annotated[Many[RateLimitRule], Field(min_length=1, max_length=64)]

    def faults(self) -> Iterator[Fault]:
        """Rules are told apart."""
        yield from super().faults()
        yield from rule_faults([rule.name for rule in self.rules], 0)


class RateLimitPolicy(Resource):
    """How many requests, for whom."""

    spec: RateLimitPolicySpec
