"""What could be different about a request. An edit is only an idea; whether it changes anything is asked of the
engine."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from meshd.config.authorization import Condition, Operation, Rule, Source
from meshd.config.http_route import HTTPMatch
from meshd.explain.question import Question
from meshd.identity.spiffe import InvalidSpiffeId, SpiffeId

Aspect: TypeAlias = Literal["method", "path", "query", "authority", "caller", "header"]

METHODS: Final = ("GET", "POST", "PUT", "DELETE")
SOMEBODY: Final = "somebody"  # where a pattern leaves the name open


@dataclass(frozen=True, slots=True)
class Edit:
    """One thing about a request that is otherwise. `value` None takes it away."""

    aspect: Aspect
    value: str | None
    name: str = ""  # of a header field

    def apply(self, question: Question) -> Question:
        """The edited question."""
        value = self.value or ""
        if self.aspect == "method":
            return replace(question, method=value)
        if self.aspect == "path":
            return replace(question, target=value + question.target[len(question.path) :])
        if self.aspect == "query":
            return replace(question, target=f"{question.path}?{value}")
        if self.aspect == "authority":
            return replace(question, authority=value).with_header("host", None)
        if self.aspect == "caller":
            return replace(question, caller=value)
        return question.with_header(self.name, self.value)

    def __str__(self) -> str:
        if self.aspect == "header":
            return f"without header {self.name}" if self.value is None else f"header {self.name}: {self.value}"
        if self.aspect == "caller":
            return f"from {self.value}" if self.value else "without a certificate"
        return f"{self.aspect} {self.value}"


Edits: TypeAlias = tuple[Edit, ...]


def edits_for_rule(rule: Rule, question: Question, namespace: str, trust_domain: str) -> Iterator[Edits]:
    """For each pair of a source and an operation of a rule, what would make a request satisfy it."""
    speaker = _Speaker(question, namespace, trust_domain)
    sources = [speaker.source(each.source) for each in rule.from_] or [()]
    operations = [_operation(each.operation, question) for each in rule.to] or [()]
    conditions: list[Edit] = [edit for each in rule.when for edit in _condition(each, speaker)]
    for source in sources:
        for operation in operations:
            yield tuple(dict.fromkeys((*source, *operation, *conditions)))


def edits_for_match(match: HTTPMatch, question: Question) -> Edits:
    """What would make a request satisfy a route's match; regular expressions give no example."""
    edits: list[Edit] = []
    if match.path.type != "RegularExpression" and not question.path.startswith(match.path.value):
        edits.append(Edit("path", match.path.value))
    if match.method is not None and match.method != question.method:
        edits.append(Edit("method", match.method))
    exact = [each for each in match.headers if each.type == "Exact"]
    edits += [Edit("header", each.value, each.name) for each in exact if question.header(each.name) != each.value]
    edits += [Edit("query", f"{each.name}={each.value}") for each in match.query_params if each.type == "Exact"]
    return tuple(edits)


def edits_of_anything(question: Question) -> Iterator[Edit]:
    """What can be otherwise about any request."""
    yield from (Edit("method", method) for method in METHODS if method != question.method)
    if question.path != "/":
        yield Edit("path", "/")
    if question.caller:
        yield Edit("caller", "")
    yield from (Edit("header", None, name) for name, _ in question.headers)


def example(pattern: str) -> str:
    """A string that Istio's string match takes for the pattern."""
    text = pattern.replace("{**}", "x").replace("{*}", "x")
    if text.startswith("*"):
        return "x" + text[1:] if not text[1:].startswith("/") else "/x" + text[1:]
    return text.removesuffix("*") or "x"


@dataclass(frozen=True, slots=True)
class _Speaker:
    question: Question
    namespace: str  # of the policy
    trust_domain: str

    def source(self, source: Source) -> Edits:
        """A caller for the first value of what the source asks for."""
        if source.principals:
            return self.caller("spiffe://" + example(source.principals[0].removeprefix("spiffe://")))
        if source.service_accounts:
            space, slash, account = source.service_accounts[0].partition("/")
            return self.account(space if slash else self.namespace, account if slash else space)
        if source.namespaces:
            return self.account(example(source.namespaces[0]), self.own_account)
        if source.trust_domains:
            return self.caller(f"spiffe://{example(source.trust_domains[0])}/ns/{self.namespace}/sa/{self.own_account}")
        if self.question.caller and any((source.not_principals, source.not_namespaces, source.not_service_accounts)):
            return self.account(self.namespace, SOMEBODY)
        return ()

    @property
    def own_account(self) -> str:
        """Of the caller as it is."""
        return (SpiffeId.parse(self.question.caller).service_account if self.question.caller else "") or SOMEBODY

    def account(self, namespace: str, account: str) -> Edits:
        """The caller of that name in our trust domain."""
        return self.caller(f"spiffe://{self.trust_domain}/ns/{namespace}/sa/{account}")

    def caller(self, uri: str) -> Edits:
        """That caller, unless it is the one already or no SPIFFE ID."""
        try:
            found = str(SpiffeId.parse(uri.rstrip("/")))
        except InvalidSpiffeId:
            return ()
        return (Edit("caller", found),) if found != self.question.caller else ()


def _operation(operation: Operation, question: Question) -> Edits:
    edits: list[Edit] = []
    if operation.methods and question.method not in operation.methods:
        edits.append(Edit("method", example(operation.methods[0])))
    if question.method in operation.not_methods:
        edits += [Edit("method", other) for other in METHODS if other not in operation.not_methods][:1]
    if operation.paths and question.path not in operation.paths:
        edits.append(Edit("path", example(operation.paths[0])))
    if operation.not_paths and "/" not in operation.not_paths:
        edits.append(Edit("path", "/"))
    if operation.hosts and question.authority not in operation.hosts:
        edits.append(Edit("authority", example(operation.hosts[0])))
    return tuple(edits)


def _condition(condition: Condition, speaker: _Speaker) -> Edits:
    key = condition.key
    if key.startswith("request.headers["):
        name = key[len("request.headers[") : -1]
        if name.startswith(":") or not (condition.values or speaker.question.header(name)):
            return ()
        return (Edit("header", example(condition.values[0]) if condition.values else None, name),)
    if not condition.values:
        return ()
    if key == "source.principal":
        return speaker.source(Source(principals=condition.values))
    if key == "source.namespace":
        return speaker.source(Source(namespaces=condition.values))
    if key == "source.serviceAccount":
        return speaker.source(Source.model_construct(service_accounts=condition.values))
    if key == "source.trustDomain":
        return speaker.source(Source.model_construct(trust_domains=condition.values))
    return ()
