"""What a request to the app must pass, port by port: tokens, authorizers outside, authorization, limits and faults."""

from collections.abc import Iterator
from time import time

from meshd.clusters import Clusters
from meshd.config.authorization import AuthorizationPolicy
from meshd.config.documents import Document
from meshd.config.extension_provider import ExtensionProvider
from meshd.core.chain import Chain
from meshd.core.steps import Steps
from meshd.filters.attachment import of_workload
from meshd.filters.authz import Entry, PolicyRules, building_chain, compiling_rules, index_rules, selects
from meshd.filters.authz_rules import claim_path
from meshd.filters.base import Scope
from meshd.filters.ext_authz import Check, Gate, compile_asking
from meshd.filters.ext_authz_grpc import GrpcCheck
from meshd.filters.ext_authz_http import compile_http_check
from meshd.filters.fault import fault_chain
from meshd.filters.jwt import authentication_chain
from meshd.filters.jwt import selects as selects_tokens
from meshd.filters.rate_limit import rate_limit_chain
from meshd.filters.request import request_chain
from meshd.filters.rule_index import RuleIndex
from meshd.memory import Memory
from meshd.routing.policy_match import compile_policy_match
from meshd.workload import Workload


class Admission:
    """To one workload. Authorizers outside that its policies name become clusters."""

    __slots__ = ("_closed", "_clusters", "_memory", "_named", "_providers", "_rules", "_selected", "_workload")

    def __init__(self, workload: Workload, clusters: Clusters, memory: Memory) -> None:
        self._workload = workload
        self._clusters = clusters
        self._memory = memory
        self._selected: list[Document[AuthorizationPolicy]] = []
        self._rules: dict[tuple[str, str], PolicyRules] = {}
        self._named: dict[str, list[AuthorizationPolicy]] = {}  # by the authorizer that they name
        self._providers: dict[str, tuple[ExtensionProvider, str]] = {}  # those that are named, each with its cluster
        self._closed: set[str] = set()  # policies by namespace/name: of those, nobody knows the authorizer

    def read(self, scope: Scope) -> Steps[None]:
        """The authorization policies of one port, which everything below is asked about next."""
        self._selected, self._rules = [], {}
        for document in self._workload.documents.authorization_policies:
            policy = document.model
            if not selects(policy, scope):
                continue
            self._selected.append(document)
            behind = " behind proxies" if scope.trusts_proxies else ""
            name, memory = f"{policy.namespace}/{policy.name} port {scope.port}{behind}", self._memory.rules
            rules = memory.find(name, (policy,))
            if rules is None:
                made = yield from compiling_rules(policy, scope)
                rules = memory.keep(name, (policy,), made)
            self._rules[policy.namespace, policy.name] = rules
            yield
        self._sort_custom()

    def _rules_of(self, policy: AuthorizationPolicy) -> PolicyRules:
        return self._rules[policy.namespace, policy.name]

    def tokens(self, scope: Scope) -> Chain:
        """Whose tokens are believed; the claims that policies look at are noted."""
        issuers = [each.model for each in self._workload.documents.request_authentications]
        keys = {
            each.key: None for document in self._selected for rule in document.model.spec.rules for each in rule.when
        }
        claims = filter(None, map(claim_path, keys))
        return authentication_chain(issuers, self._workload.shared.key_ring, scope, time, claims)

    def gate(self, scope: Scope) -> Gate | None:
        """The authorizers outside that policies of this workload name; None where none does."""
        checks = []
        for name, policies in sorted(self._named.items()):
            provider, cluster = self._providers[name]
            checks.append(self._check(provider, cluster, index_rules(policies, "CUSTOM", scope, self._rules_of)))
        return Gate(tuple(checks), self.tokens(scope)) if checks else None

    def _sort_custom(self) -> None:
        """CUSTOM policies by the authorizer they name; those that name none we know deny."""
        known = {each.name: each for each in self._workload.proxy.spec.extension_providers}
        self._named, self._providers, self._closed = {}, {}, set()
        for document in self._selected:
            policy = document.model
            if policy.spec.provider is None or policy.is_dry_run:
                continue
            name = policy.spec.provider.name
            if name in known and name not in self._providers and (cluster := self._authorizer(known[name])):
                self._providers[name] = known[name], cluster
            if name in self._providers:
                self._named.setdefault(name, []).append(policy)
            else:
                self._closed.add(f"{policy.namespace}/{policy.name}")

    def _check(self, provider: ExtensionProvider, cluster: str, rules: RuleIndex[Entry]) -> Check:
        asking = compile_asking(provider.name, provider.authorizer, rules, cluster)
        if provider.envoy_ext_authz_http is not None:
            return compile_http_check(provider.envoy_ext_authz_http, asking)
        host = provider.authorizer.service.rpartition("/")[2]
        return GrpcCheck(asking, host.encode(), self._workload.proxy.spiffe_id.encode(), time)

    def _authorizer(self, provider: ExtensionProvider) -> str:
        """The cluster of an authorizer outside, which need not be anywhere else in use; empty where nobody knows it."""
        given = provider.authorizer
        return self._clusters.add_service(f"{given.service.rpartition('/')[2].lower()}:{given.port}")

    def written_fields(self, scope: Scope) -> Iterator[str]:
        """Names of the fields that tell the app what tokens and authorizers outside say; patterns among them."""
        for document in self._workload.documents.request_authentications:
            for rule in document.model.spec.jwt_rules if selects_tokens(document.model, scope) else ():
                yield rule.output_payload_to_header
                yield from (each.header for each in rule.output_claim_to_headers)
        for provider in self._workload.proxy.spec.extension_providers:
            if provider.envoy_ext_authz_http is not None:
                yield from provider.envoy_ext_authz_http.headers_to_upstream_on_allow

    def chain(self, scope: Scope) -> Steps[Chain]:
        """What every request passes then: authorization, and the policies of ours."""
        documents = self._workload.documents
        authorization = yield from building_chain(
            [each.model for each in self._selected], scope, self._rules_of, self._closed
        )
        limits = of_workload([each.model for each in documents.rate_limit_policies], scope)
        requests = of_workload([each.model for each in documents.request_policies], scope)
        faults = of_workload([each.model for each in documents.fault_policies], scope)
        return (
            authorization
            + rate_limit_chain(limits, f"port {scope.port}", compile_policy_match, self._workload.shared.buckets)
            + request_chain(requests, compile_policy_match)
            + fault_chain(faults, compile_policy_match, self._workload.random)
        )

    def __repr__(self) -> str:
        return f"<Admission to {self._workload.name.decode()}>"
