"""One sidecar's compiled documents, to be asked about requests. The engine is the one that serves: the listener begins
the exchange, `admit` decides about it."""

from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from meshd.compile import compile_snapshot
from meshd.config.authorization import AuthorizationPolicy
from meshd.config.documents import Document, Documents
from meshd.config.proxy import Proxy
from meshd.core.decision import Verdict
from meshd.core.errors import ProtocolError
from meshd.core.exchange import Exchange
from meshd.core.flags import DENIED, EXTERNAL_AUTHORIZER
from meshd.core.head import RequestHead
from meshd.core.reply import Reply
from meshd.core.route import Route
from meshd.explain.chance import Drawn
from meshd.explain.question import Question, Said, Unaskable
from meshd.filters import authz
from meshd.filters.ext_authz import Gate
from meshd.net.tls import Mode
from meshd.proxy.admit import admit
from meshd.proxy.rescue import NO_BACKEND, NO_ROUTE, NO_WEIGHT
from meshd.snapshot import Plan

DAY: Final = 86_400.0  # seconds
UNKNOWN_REFUSAL: Final = 403  # the status of a refusal is the authorizer's to choose, and told to nobody

Kind: TypeAlias = Literal["forwarded", "denied", "refused", "no route", "no backend", "answered", "malformed", "tunnel"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What becomes of a request. `status` is 0 where not the sidecar decides it but the app, an authorizer outside, or
    nobody."""

    kind: Kind
    status: int = 0
    details: str = ""
    verdict: Verdict | None = None
    route: Route | None = None
    location: str = ""  # of a redirect
    delay: float = 0.0  # seconds, injected
    forwarded: str = ""  # method, authority and target as they leave
    asks: tuple[str, ...] = ()  # authorizers outside that are asked first
    said: Said = ""  # what those were taken to say

    @property
    def allowed(self) -> bool:
        """Whether authorization lets it through, mutual TLS included."""
        return self.kind not in ("denied", "refused", "malformed")

    @property
    def split(self) -> tuple[tuple[str, float], ...]:
        """Clusters and the percentage of requests that each gets."""
        route = self.route
        if route is None or not route.total_weight:
            return ()
        return tuple((target.cluster, 100 * target.weight / route.total_weight) for target in route.targets)

    @property
    def outcome(self) -> tuple[object, ...]:
        """Equal when a client could not tell two answers apart."""
        name = self.route.name if self.route is not None else ""
        return self.kind, self.status, name, self.split, self.location, self.delay, self.asks


class World:
    """A snapshot that is only asked. Raises ConfigError when the documents do not compile."""

    __slots__ = ("_chance", "_now", "documents", "proxy", "snapshot")

    def __init__(self, proxy: Proxy, documents: Documents) -> None:
        self.proxy = proxy
        self.documents = documents
        self._chance = Drawn()
        self._now = 0.0
        self.snapshot = compile_snapshot(proxy, documents, None, None, chance=self._chance)

    @property
    def trust_domain(self) -> str:
        """The sidecar's own."""
        identity = self.proxy.spec.identity
        return identity.trust_domain if identity is not None else "cluster.local"

    def plan(self, question: Question) -> Plan:
        """The listener that would take it. Raises Unaskable."""
        plans = [plan for plan in self.snapshot.plans.values() if plan.inbound == question.inbound]
        if not plans:
            raise Unaskable(f"this sidecar has no {'inbound' if question.inbound else 'outbound'} listener")
        if not question.listener:
            return plans[0]
        for plan in plans:
            if plan.name == question.listener:
                return plan
        known = ", ".join(plan.name for plan in plans)
        raise Unaskable(f"listener: got {question.listener!r}, expected one of {known}")

    def ask(self, question: Question) -> Answer:
        """What becomes of it. Raises Unaskable. Each question comes a day after the last: no limit remembers that."""
        self._now += DAY
        answer = self._ask(question)
        for _ in range(question.times - 1):
            answer = self._ask(question)
        return answer

    def _ask(self, question: Question) -> Answer:
        plan = self.plan(question)
        self._chance.share = question.draw
        if plan.inbound and plan.mode is Mode.STRICT and not question.caller:
            return Answer("refused", details="PeerAuthentication is STRICT: a client without a certificate is refused")
        try:
            listener, exchange = question.begin(plan, self._now)
        except ProtocolError as error:
            return Answer("malformed", error.status, error.details)
        if exchange.head.method == b"CONNECT":
            refusal = listener.connect(exchange)
            return _answer(exchange, plan, refusal) if refusal is not None else Answer("tunnel", 200, "connect")
        if plan.gate is None:
            return _answer(exchange, plan, admit(exchange, plan)[0])
        said = question.authorizer
        reply, asks = _pass_gate(exchange, plan.gate, said)
        if reply is None:
            reply, _, _ = admit(exchange, plan)
        answer = replace(_answer(exchange, plan, reply), asks=asks, said=said if asks else "")
        refused = said == "deny" and answer.verdict is not None and answer.verdict.action == "CUSTOM"
        return replace(answer, status=0) if refused else answer

    def with_policy(self, old: Document[AuthorizationPolicy], new: AuthorizationPolicy | None) -> "World":
        """The same with another policy in the place of one, or without it. Raises ConfigError."""
        policies = []
        for each in self.documents.authorization_policies:
            if each is not old:
                policies.append(each)
            elif new is not None:
                policies.append(Document(new, each.file, each.positions, each.lines_before))
        return World(self.proxy, replace(self.documents, authorization_policies=tuple(policies)))

    def __repr__(self) -> str:
        return f"<World of {self.proxy.namespace}/{self.proxy.name}: {self.snapshot!r}>"


def _pass_gate(exchange: Exchange, gate: Gate, said: Said) -> tuple[Reply | None, tuple[str, ...]]:
    """What refuses it, be it before anybody outside is asked; and who is asked. All of those say the same."""
    for step in gate.before.on_request:
        if (reply := step(exchange)) is not None:
            return reply, ()
    asks: list[str] = []
    for check in gate.checks:
        entry = check.asking.rules.find_as_read(exchange)
        if entry is None:
            continue
        asks.append(check.asking.name)
        if said == "deny":
            return check.denied(exchange, entry, UNKNOWN_REFUSAL, [], b""), tuple(asks)
        if said == "fail" and (refusal := check.failed(exchange, entry)) is not None:
            return refusal, tuple(asks)
    return None, tuple(asks)


def _answer(exchange: Exchange, plan: Plan, reply: Reply | None) -> Answer:
    """`admit` draws one side of a split; the answer is the same whichever it drew."""
    route, verdict = exchange.route, exchange.verdict
    kind: Kind
    if reply is None or (reply is NO_BACKEND and route is not None and _has_backend(route, plan)):
        answer = Answer("forwarded", verdict=verdict, route=route, delay=exchange.delay)
        return replace(answer, forwarded=_shown(exchange.head) if _is_certain(route) else "")
    if reply is exchange.refusal or reply is authz.MALFORMED:
        kind = "malformed"
    elif reply.flag in (DENIED, EXTERNAL_AUTHORIZER):
        kind = "denied"
    elif reply is NO_ROUTE:
        kind = "no route"
    else:
        kind = "no backend" if reply in (NO_BACKEND, NO_WEIGHT) else "answered"
    location = next((value for name, value in reply.headers if name == b"location"), b"").decode("latin-1")
    return Answer(kind, reply.status, reply.details, verdict, route, location, exchange.delay)


def _has_backend(route: Route, plan: Plan) -> bool:
    return any(target.weight and target.cluster in plan.clusters for target in route.targets)


def _is_certain(route: Route | None) -> bool:
    """Whether the request leaves in one form, whichever side of the split it takes."""
    return route is not None and (len(route.targets) == 1 or not any(each.chain.on_request for each in route.targets))


def _shown(head: RequestHead) -> str:
    return b" ".join((head.method, head.authority, head.target)).decode("utf-8", "backslashreplace")
