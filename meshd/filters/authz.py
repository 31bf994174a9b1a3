"""AuthorizationPolicy: who may do what. Istio's order: any DENY that matches denies; where there is no ALLOW policy
everything else is allowed; where there is one, only what an ALLOW rule matches. A CUSTOM policy whose authorizer nobody
knows denies what it would ask about. A path that may be read in several ways is judged by each of them: all policies
together must allow every reading.

Source: istio/api security/v1beta1/authorization_policy.proto. Allowing allocates nothing; a denial is explained by the
ALLOW rule that came nearest, with the first predicate of it that failed and the value it saw.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from meshd.config.authorization import AuthorizationPolicy, Rule
from meshd.core import flags, proxy_errors
from meshd.core.chain import EMPTY_CHAIN, Chain
from meshd.core.decision import ALLOWED_BY_DEFAULT, Verdict
from meshd.core.exchange import Exchange
from meshd.core.path_forms import MAX_READINGS
from meshd.core.reply import Reply
from meshd.core.steps import TOGETHER, Steps, run
from meshd.filters.authz_rules import CompiledRule, compile_rule
from meshd.filters.base import Scope
from meshd.filters.rule_index import RuleIndex

BODY = b"RBAC: access denied"
TOO_MANY_READINGS = Verdict(allowed=False, failed=f"path: at most {MAX_READINGS} ways to read it", observed="more")
ESCAPED_TWICE = Verdict(allowed=False, failed="path: allowed if it is decoded once", observed="escapes of escapes")
MOST_EXPLAINED = 32  # rules that a denial is explained by: whoever is denied must not cost more than who is allowed


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule of one policy, with the verdict it leads to, made once."""

    rule: CompiledRule
    verdict: Verdict
    detail: str


@dataclass(frozen=True, slots=True)
class PolicyRules:
    """One policy's rules, compiled for one workload port."""

    entries: tuple[tuple[Entry, Rule], ...]


RulesOf = Callable[[AuthorizationPolicy], PolicyRules]


MALFORMED = Reply(
    400,
    flags.DOWNSTREAM_PROTOCOL,
    "path_normalization_failed: escaped twice, and denied if it is decoded twice",
    proxy_errors.HTTP_REQUEST_ERROR,
    body=b"bad request",
)


class Authorizer:
    """The policies of one workload port, compiled. Pure: an exchange in, a verdict out."""

    __slots__ = ("_allow", "_audit", "_by_path", "_deny", "_shadow", "has_allow", "policies")

    def __init__(
        self,
        policies: Iterable[AuthorizationPolicy],
        scope: Scope,
        rules_of: RulesOf | None = None,
        closed: Collection[str] = (),
    ) -> None:
        run(self.filling(policies, scope, rules_of, closed))

    @classmethod
    def building(
        cls,
        policies: Iterable[AuthorizationPolicy],
        scope: Scope,
        rules_of: RulesOf | None = None,
        closed: Collection[str] = (),
    ) -> "Steps[Authorizer]":
        """The same in steps of a few rules."""
        authorizer = cls.__new__(cls)
        yield from authorizer.filling(policies, scope, rules_of, closed)
        return authorizer

    def filling(
        self,
        policies: Iterable[AuthorizationPolicy],
        scope: Scope,
        rules_of: RulesOf | None,
        closed: Collection[str],
    ) -> Steps[None]:
        """Look at everything it is made of; once."""
        names: list[str] = []
        enforced: list[AuthorizationPolicy] = []
        denying: list[AuthorizationPolicy] = []
        dry: list[AuthorizationPolicy] = []
        for place, policy in enumerate(policies):
            if place % TOGETHER == 0:
                yield
            if not selects(policy, scope):
                continue
            name = f"{policy.namespace}/{policy.name}"
            names.append(name)
            (dry if policy.is_dry_run else enforced).append(policy)
            if not policy.is_dry_run and (policy.spec.action == "DENY" or name in closed):
                denying.append(policy)
        self.policies = tuple(names)
        self._deny = yield from indexing_rules(denying, "", scope, rules_of)
        yield
        self._allow = yield from indexing_rules(enforced, "ALLOW", scope, rules_of)
        yield
        self._audit = yield from indexing_rules(enforced, "AUDIT", scope, rules_of)
        yield
        self._shadow = yield from indexing_rules(dry, "", scope, rules_of)
        yield
        self.has_allow = any(policy.spec.action == "ALLOW" for policy in enforced)
        self._by_path = any(looks_at_paths(rule) for policy in enforced for rule in policy.spec.rules)

    def decide(self, exchange: Exchange) -> Verdict:
        """The verdict, for a denial with the nearest rule that would have allowed it."""
        if exchange.head.forms is None or not self._by_path:
            return self.decide_as_read(exchange)
        verdict = TOO_MANY_READINGS

        def is_denied() -> bool:
            nonlocal verdict
            verdict = self.decide_as_read(exchange)
            return not verdict.allowed

        head = exchange.head
        if not head.any_reading(is_denied) and head.any_overreading(lambda: not self.decide_as_read(exchange).allowed):
            return ESCAPED_TWICE
        return verdict

    def decide_as_read(self, exchange: Exchange) -> Verdict:
        """The verdict on one reading of the path, the one that the head is at."""
        denied = self._deny.find(exchange)
        if denied is not None:
            return denied.verdict
        if not self.has_allow:
            return ALLOWED_BY_DEFAULT
        allowed = self._allow.find(exchange)
        return allowed.verdict if allowed is not None else self._explain(exchange)

    @property
    def deny(self) -> tuple[Entry, ...]:
        """The rules that deny, in their order."""
        return self._deny.entries

    @property
    def allow(self) -> tuple[Entry, ...]:
        """The rules that allow."""
        return self._allow.entries

    @property
    def audit(self) -> tuple[Entry, ...]:
        """The rules whose matches are only recorded."""
        return self._audit.entries

    @property
    def shadow(self) -> tuple[Entry, ...]:
        """The rules of policies that are only tried, whatever they would do."""
        return self._shadow.entries

    def _explain(self, exchange: Exchange) -> Verdict:
        nearest, furthest, check = None, -1, None
        for entry in self._allow.nearest(exchange, MOST_EXPLAINED):
            failure = entry.rule.first_failure(exchange)
            if failure is not None and failure[0] > furthest:
                nearest, (furthest, check) = entry, failure
        if nearest is None or check is None:
            return Verdict(allowed=False, failed="no ALLOW policy has a rule")
        observed = check.observed(exchange).decode("utf-8", "backslashreplace")
        place = f"{nearest.verdict.policy} rule {nearest.verdict.rule}"
        return Verdict(allowed=False, nearest=place, failed=check.name, observed=observed or "nothing")

    def step(self, exchange: Exchange) -> Reply | None:
        """Enforce."""
        verdict = exchange.verdict = self.decide(exchange)
        if self._audit.entries or self._shadow.entries:
            self._note(exchange)
        return None if verdict.allowed else _denied(verdict)

    def _note(self, exchange: Exchange) -> None:
        for name, index in (("audit", self._audit), ("dry-run", self._shadow)):
            if matched := index.find_all_as_read(exchange):
                exchange.note(name, ", ".join(f"{each.verdict.action} {each.verdict.policy}" for each in matched))

    def __repr__(self) -> str:
        return f"<Authorizer {len(self.deny)} DENY, {len(self.allow)} ALLOW, {len(self.audit)} AUDIT rules>"


def authorization_chain(
    policies: Iterable[AuthorizationPolicy],
    scope: Scope,
    rules_of: RulesOf | None = None,
    closed: Collection[str] = (),
) -> Chain:
    """The step of one workload port; none when no policy selects it. `rules_of` knows rules that are compiled; `closed`
    are the names of CUSTOM policies that deny, for there is nobody to ask."""
    return run(building_chain(policies, scope, rules_of, closed))


def building_chain(
    policies: Iterable[AuthorizationPolicy],
    scope: Scope,
    rules_of: RulesOf | None = None,
    closed: Collection[str] = (),
) -> Steps[Chain]:
    """The same in steps of a few rules."""
    authorizer = yield from Authorizer.building(policies, scope, rules_of, closed)
    return Chain((authorizer.step,)) if authorizer.policies else EMPTY_CHAIN


def selects(policy: AuthorizationPolicy, scope: Scope) -> bool:
    """Whether a policy is for this workload. One that names targets is for gateways and waypoints, not for sidecars."""
    spec = policy.spec
    if spec.target_ref is not None or spec.target_refs:
        return False
    if policy.namespace not in (scope.namespace, scope.root_namespace):
        return False
    wanted = spec.selector.match_labels if spec.selector is not None else {}
    return wanted.items() <= scope.labels.items()


def index_rules(
    policies: Iterable[AuthorizationPolicy], action: str, scope: Scope, rules_of: RulesOf | None = None
) -> RuleIndex[Entry]:
    """The rules of every policy with that action (of any, when empty), in the order of the policies' names."""
    return run(indexing_rules(policies, action, scope, rules_of))


def indexing_rules(
    policies: Iterable[AuthorizationPolicy], action: str, scope: Scope, rules_of: RulesOf | None = None
) -> Steps[RuleIndex[Entry]]:
    """The same in steps of a few rules."""
    found: list[tuple[Entry, Rule]] = []
    for policy in sorted(policies, key=lambda each: (each.namespace, each.name)):
        if not action or policy.spec.action == action:
            if rules_of is not None:
                found += rules_of(policy).entries
            else:
                rules = yield from compiling_rules(policy, scope)
                found += rules.entries
    return (yield from RuleIndex.building(found, scope))


def compiling_rules(policy: AuthorizationPolicy, scope: Scope) -> Steps[PolicyRules]:
    """The rules of one policy, a step each."""
    found: list[tuple[Entry, Rule]] = []
    name = f"{policy.namespace}/{policy.name}"
    for place, rule in enumerate(policy.spec.rules):
        compiled = compile_rule(rule, policy.namespace, scope, deny=policy.spec.action != "ALLOW")
        verdict = Verdict(policy.spec.action == "ALLOW", policy.spec.action, name, place)
        found.append((Entry(compiled, verdict, detail_of(policy.namespace, policy.name, place)), rule))
        yield
    return PolicyRules(tuple(found))


def looks_at_paths(rule: Rule) -> bool:
    """Whether it makes a difference to a rule how a path is read."""
    paths = any(each.operation.paths or each.operation.not_paths for each in rule.to)
    return paths or any(each.key.lower() == "request.headers[:path]" for each in rule.when)


def detail_of(namespace: str, name: str, rule: int) -> str:
    """The response code detail, as Istio names its policies to Envoy."""
    return f"rbac_access_denied_matched_policy[ns[{namespace}]-policy[{name}]-rule[{rule}]]"


def _denied(verdict: Verdict) -> Reply:
    if verdict is ESCAPED_TWICE:
        return MALFORMED
    if verdict.policy:
        namespace, _, name = verdict.policy.partition("/")
        details = detail_of(namespace, name, verdict.rule)
        if verdict.action == "CUSTOM":
            details = f"{details[:-1]}-deny-due-to-bad-CUSTOM-action]"  # Istio's words
    else:
        details = "rbac_access_denied_matched_policy[none]"
        if verdict.nearest:
            details += f" nearest {verdict.nearest}: {verdict.failed}, saw {verdict.observed}"
    return Reply(403, flags.DENIED, details, proxy_errors.HTTP_REQUEST_DENIED, body=BODY)
