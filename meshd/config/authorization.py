"""AuthorizationPolicy: who may do what.

Source: istio/api security/v1beta1/authorization_policy.proto, the rules of the CRD, and the checks that Istio's own
admission makes (pilot/pkg/xds and pkg/config/security), so that a policy that could never match is refused here too.
`rules` left out matches nothing, `rules: [{}]` everything: ask `policy.spec.rules`, both are told apart by its length.
"""

# mypy: disable-error-code=explicit-any

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Final, Literal

from pydantic import Field

from meshd.config.address import is_block
from meshd.config.errors import Path, did_you_mean
from meshd.config.model import ClusterResource, Fault, Many, Model
from meshd.config.references import PolicyTargetRef, WorkloadSelector, attachment_faults, listed_targets

Strings = Many[str]
Accounts = Annotated[Many[Annotated[str, Field(max_length=320)]], Field(max_length=16)]

_LITERAL: Final = re.compile(r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]*\Z")
_KEYS: Final = (
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "source.trustDomain",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "destination.ip",
    "destination.port",
    "connection.sni",
)
_KEYS_WITH_NAME: Final = re.compile(
    r"(request\.headers\[[^\[\]]+\]|request\.auth\.claims(\[[^\[\]]+\])+|experimental\.envoy\.filters\.[^\[\]]+\[.+\])\Z"
)
_IP_KEYS: Final = ("source.ip", "remote.ip", "destination.ip")


class Source(Model):
    """Who asks. Lists are alternatives, fields must all hold."""

    principals: Strings = ()
    not_principals: Strings = ()
    request_principals: Strings = ()
    not_request_principals: Strings = ()
    namespaces: Strings = ()
    not_namespaces: Strings = ()
    ip_blocks: Strings = ()
    not_ip_blocks: Strings = ()
    remote_ip_blocks: Strings = ()
    not_remote_ip_blocks: Strings = ()
    service_accounts: Accounts = ()
    not_service_accounts: Accounts = ()
    trust_domains: Strings = ()
    not_trust_domains: Strings = ()

    def faults(self) -> Iterator[Fault]:
        """Values are not empty, blocks are blocks, and service accounts stand for themselves."""
        yield from empty_faults(self)
        for name in ("ip_blocks", "not_ip_blocks", "remote_ip_blocks", "not_remote_ip_blocks"):
            yield from block_faults((type(self).model_fields[name].alias or name,), getattr(self, name))
        if self.has("service_accounts", "not_service_accounts"):
            for name in ("principals", "not_principals", "namespaces", "not_namespaces"):
                if self.has(name):
                    alias = type(self).model_fields[name].alias or name
                    yield Fault(
                        (alias,), "cannot be combined with serviceAccounts, which name both", f"remove {alias!r}"
                    )


class From(Model):
    """A source."""

    source: Source


class Operation(Model):
    """What is asked for. Lists are alternatives, fields must all hold."""

    hosts: Strings = ()
    not_hosts: Strings = ()
    ports: Strings = ()
    not_ports: Strings = ()
    methods: Strings = ()
    not_methods: Strings = ()
    paths: Strings = ()
    not_paths: Strings = ()

    def faults(self) -> Iterator[Fault]:
        """Values are not empty, ports are ports, path templates are well formed."""
        yield from empty_faults(self)
        for name, values in (("ports", self.ports), ("notPorts", self.not_ports)):
            yield from port_faults((name,), values)
        for name, values in (("paths", self.paths), ("notPaths", self.not_paths)):
            for place, value in enumerate(values):
                wrong = template_fault(value)
                if wrong:
                    yield Fault((name, place), wrong)


class To(Model):
    """An operation."""

    operation: Operation


class Condition(Model):
    """An attribute and the values it must, or must not, have."""

    key: str
    values: Strings = ()
    not_values: Strings = ()

    def faults(self) -> Iterator[Fault]:
        """The attribute exists, and there is something to compare it with."""
        yield from empty_faults(self)
        if self.key not in _KEYS and not _KEYS_WITH_NAME.match(self.key):
            known = (*_KEYS, "request.headers[NAME]", "request.auth.claims[NAME]")
            hint = did_you_mean(self.key, known) or f"known attributes: {', '.join(known)}"
            yield Fault(("key",), "expected an attribute of requests", hint)
        if not self.values and not self.not_values:
            yield Fault(("values",), "expected values or notValues", rule="missing")
        for name, values in (("values", self.values), ("notValues", self.not_values)):
            if self.key in _IP_KEYS:
                yield from block_faults((name,), values)
            elif self.key == "destination.port":
                yield from port_faults((name,), values)


class Rule(Model):
    """Matches when one `from`, one `to` and all `when` match; what is left out matches anything."""

    from_: Annotated[Many[From], Field(alias="from", max_length=512)] = ()
    to: Many[To] = ()
    when: Many[Condition] = ()


class Provider(Model):
    """The external authorizer of a CUSTOM policy."""

    name: str = ""


class AuthorizationPolicySpec(Model):
    """What to do with requests that a rule matches."""

    selector: WorkloadSelector | None = None
    target_ref: PolicyTargetRef | None = None
    target_refs: Annotated[Many[PolicyTargetRef], Field(max_length=16)] = ()
    action: Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"] = "ALLOW"
    provider: Provider | None = None
    rules: Annotated[Many[Rule], Field(max_length=512)] = ()

    @property
    def targets(self) -> Sequence[tuple[Path, PolicyTargetRef]]:
        """What it targets, by whichever field, each with its path below the spec."""
        return listed_targets(self.target_ref, self.target_refs)

    def faults(self) -> Iterator[Fault]:
        """One way to attach; a provider with CUSTOM and nothing else; no policy that cannot do anything."""
        yield from attachment_faults(self)
        if self.action == "CUSTOM" and not (self.provider and self.provider.name):
            yield Fault(("provider",), "required when action is 'CUSTOM': the name of the authorizer", rule="missing")
        if self.action != "CUSTOM" and self.has("provider"):
            yield Fault(("provider",), f"only allowed when action is 'CUSTOM'; action is {self.action!r}", "remove it")
        if self.action in ("DENY", "CUSTOM") and not self.rules:
            expected = f"a {self.action} policy without rules never acts"
            yield Fault(("rules",), expected, "write '- {}' to match every request", rule="missing")


class AuthorizationPolicy(ClusterResource):
    """Who may do what at a workload."""

    spec: AuthorizationPolicySpec = Field(default_factory=AuthorizationPolicySpec)

    @property
    def is_dry_run(self) -> bool:
        """Only to be recorded, never to be enforced (Istio's annotation)."""
        return self.metadata.annotations.get("istio.io/dry-run", "").lower() in ("true", "1", "t")


def empty_faults(model: Model) -> Iterator[Fault]:
    """A fault for each empty string in the lists of a model."""
    for name, field in type(model).model_fields.items():
        values = getattr(model, name)
        if isinstance(values, tuple) and "" in values:
            yield Fault((field.alias or name, values.index("")), "an empty value matches nothing", "remove it")


def block_faults(at: tuple[str], values: Sequence[str]) -> Iterator[Fault]:
    """A fault for each value that is neither an IP address nor a CIDR block."""
    for place, value in enumerate(values):
        if not is_block(value):
            yield Fault((*at, place), "expected an IP address or a CIDR block, such as '10.0.0.0/8'")


def port_faults(at: tuple[str], values: Iterable[str]) -> Iterator[Fault]:
    """A fault for each value that is not a port number."""
    for place, value in enumerate(values):
        if not (value.isascii() and value.isdigit() and len(value) <= 5 and 1 <= int(value) <= 65535):
            yield Fault((*at, place), "expected a port from 1 to 65535, as a string")


def template_fault(path: str) -> str:
    """Why a path with `{*}` or `{**}` is not a template, or nothing. Paths without braces are not templates."""
    if "{" not in path and "}" not in path:
        return ""
    ended = False
    for segment in path.strip("/").split("/"):
        if segment in ("{*}", "{**}"):
            if ended:
                return "nothing that matches may follow '{**}' in a path template"
            ended = segment == "{**}"
        elif "{" in segment or "}" in segment:
            return "expected '{*}' or '{**}' as a whole segment of the path"
        elif not _LITERAL.match(segment):
            return "a path template takes '{*}' and '{**}' only, no '*', and URL characters otherwise"
    return ""
