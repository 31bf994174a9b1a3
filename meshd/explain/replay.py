"""Recorded decisions against other documents: which of them would change, and by which rule.

A line of the JSON access log is the record. What replaying needs of it: direction, method, path, authority,
response_flags, route_name, upstream_cluster; and as far as there is any, downstream_peer, downstream_remote_address,
downstream_local_address, requested_server_name, tls_version, user_agent, x_forwarded_for, request_id, listener, policy,
policy_rule and facts.

Rule 1: authorization and routing are replayed, by the compiled engine; limits and faults depend on more than one
request and are not. Rule 2: a log keeps neither every header nor any token. A decision that looked at what is not there
and comes out otherwise is unsure, and told apart: with unchanged documents nothing is ever said to change.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from meshd.core.decision import Verdict
from meshd.core.exchange import Exchange
from meshd.core.flags import DENIED, NO_ROUTE
from meshd.core.head import Headers, RequestHead
from meshd.core.peer import Peer
from meshd.core.token import Token
from meshd.explain.authorization import authorizers
from meshd.explain.question import peer_named
from meshd.explain.world import World
from meshd.filters.authz import Authorizer
from meshd.identity.spiffe import InvalidSpiffeId
from meshd.net.tls import Mode
from meshd.snapshot import Plan
from meshd.telemetry.describe import Json

Line: TypeAlias = Mapping[str, Json]
Fate: TypeAlias = Literal["same", "changed", "unsure", "skipped", "unreadable"]

NEEDED: Final = ("direction", "method", "path", "authority", "response_flags")
LOGGED: Final = (("user-agent", "user_agent"), ("x-forwarded-for", "x_forwarded_for"), ("x-request-id", "request_id"))
UNDECIDED: Final = frozenset({"LOOP", "DPE", "ED", "INT", "UAEX"})  # not by what is replayed
REFUSED_BEFORE: Final = "jwt_authn"  # by RequestAuthentication, whose word comes before that of any rule
MOST_GROUPS: Final = 1000
EXAMPLES: Final = 3


class LoggedHead(RequestHead):
    """A request of which some headers are known. Notes which others were asked for."""

    __slots__ = ("_known", "missed")

    def __init__(self, method: bytes, path: bytes, authority: bytes, headers: Headers) -> None:
        super().__init__(method, path, authority, _Fields(headers))
        self._known = dict(headers)
        self.missed: set[str] = set()

    def get(self, name: bytes) -> bytes | None:
        """The value of a field."""
        if name not in KNOWN:
            self.missed.add(name.decode("latin-1"))
        return self._known.get(name)

    @property
    def was_searched(self) -> bool:
        """Whether somebody went through the fields one by one."""
        return isinstance(self.headers, _Fields) and self.headers.searched


class LoggedExchange(Exchange):
    """An exchange whose token, if it had one, is not known. Notes when it was asked for."""

    __slots__ = ()

    @property
    def token(self) -> None:
        """Not kept by any log."""
        if isinstance(self.head, LoggedHead):
            self.head.missed.add("a token")

    @token.setter
    def token(self, token: Token | None) -> None:
        assert token is None, "nothing here reads tokens"


class _Fields(Headers):
    """Fields that know whether somebody went through them."""

    __slots__ = ("searched",)

    def __init__(self, fields: Headers) -> None:
        super().__init__(fields)
        self.searched = False

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        self.searched = True
        return super().__iter__()


KNOWN: Final = frozenset(name.encode() for name, _ in LOGGED)


@dataclass(slots=True)
class Group:
    """Decisions that change alike."""

    count: int = 0
    examples: list[dict[str, Json]] = field(default_factory=list)


@dataclass(slots=True)
class Replay:
    """What became of a log so far. `changes` is by direction, what was, and what would be."""

    world: World
    fates: "Counter[Fate]" = field(default_factory=Counter)
    changes: dict[tuple[str, str, str], Group] = field(default_factory=dict)
    unsure: dict[str, int] = field(default_factory=dict)  # by the headers that the log does not hold
    first_unreadable: str = ""
    _plans: dict[tuple[bool, str], "_Sidecar | None"] = field(default_factory=dict)

    def add(self, line: Line) -> Fate:
        """Replay one decision."""
        wrong = next((name for name in NEEDED if not isinstance(line.get(name), str)), None)
        if wrong is not None:
            self.first_unreadable = self.first_unreadable or f"no field {wrong!r}"
            fate: Fate = "unreadable"
        else:
            fate = self._replay(line)
        self.fates[fate] += 1
        return fate

    def _replay(self, line: Line) -> Fate:
        flags = str(line["response_flags"]).split(",")
        other = not UNDECIDED.isdisjoint(flags) or _text(line, "response_code_details").startswith(REFUSED_BEFORE)
        if line["method"] in ("-", "CONNECT") or other:
            return "skipped"
        inbound = line["direction"] == "inbound"
        sidecar = self._sidecar(inbound=inbound, listener=_text(line, "listener"))
        if sidecar is None:
            return "skipped"
        head = _head(line)
        try:
            exchange = LoggedExchange(head, _peer(line, sidecar.plan), 0.0, inbound=inbound)
        except InvalidSpiffeId:
            return "skipped"
        before, after, same = sidecar.inbound(line, flags, exchange) if inbound else sidecar.outbound(line, exchange)
        if same:
            return "same"
        if head.missed or (head.was_searched and sidecar.headers):
            names = ", ".join(sorted(head.missed or sidecar.headers))
            self.unsure[names] = self.unsure.get(names, 0) + 1
            return "unsure"
        self._note(("inbound" if inbound else "outbound", before, after), line)
        return "changed"

    def _sidecar(self, *, inbound: bool, listener: str) -> "_Sidecar | None":
        key = (inbound, listener)
        if key not in self._plans:
            plans = [plan for plan in self.world.snapshot.plans.values() if plan.inbound == inbound]
            named = [plan for plan in plans if plan.name == listener] or plans
            self._plans[key] = _Sidecar.of(named[0], self.world) if named else None
        return self._plans[key]

    def _note(self, key: tuple[str, str, str], line: Line) -> None:
        if key not in self.changes and len(self.changes) >= MOST_GROUPS:
            key = (key[0], "anything", "something else")
        group = self.changes.setdefault(key, Group())
        group.count += 1
        if len(group.examples) < EXAMPLES:
            kept = ("start_time", "method", "authority", "path", "downstream_peer", "request_id")
            group.examples.append({name: line.get(name) for name in kept})

    def as_json(self) -> dict[str, Json]:
        """Plain data, the greatest changes first."""
        ordered = sorted(self.changes.items(), key=lambda item: -item[1].count)
        return {
            "decisions": sum(self.fates.values()),
            "changed": self.fates["changed"],
            "same": self.fates["same"],
            "unsure": self.fates["unsure"],
            "skipped": self.fates["skipped"],
            "unreadable": self.fates["unreadable"],
            "changes": [
                {
                    "direction": direction,
                    "before": before,
                    "after": after,
                    "count": group.count,
                    "examples": [*group.examples],
                }
                for (direction, before, after), group in ordered
            ],
            "unsure_by_header": dict(self.unsure),
        }


@dataclass(frozen=True, slots=True)
class _Sidecar:
    """One listener, ready to be asked many times."""

    plan: Plan
    authorizers: tuple[Authorizer, ...]
    headers: frozenset[str]  # that its policies look at, and logs do not hold

    @staticmethod
    def of(plan: Plan, world: World) -> "_Sidecar":
        """What `plan` decides by."""
        names = set()
        for document in world.documents.authorization_policies:
            for rule in document.model.spec.rules:
                keys = [each.key for each in rule.when if each.key.startswith("request.headers[")]
                names |= {key[len("request.headers[") : -1].lower() for key in keys}
        unknown = frozenset(name for name in names if name.encode() not in KNOWN and not name.startswith(":"))
        return _Sidecar(plan, tuple(authorizers(plan.chain)), unknown - {"host"})

    def inbound(self, line: Line, flags: list[str], exchange: Exchange) -> tuple[str, str, bool]:
        """What was, what would be, and whether that is the same: here, whether the request may."""
        was_denied = DENIED in flags
        before = _recorded(line, denied=was_denied)
        if self.plan.mode is Mode.STRICT and not _text(line, "downstream_peer"):
            return before, "refused: PeerAuthentication is STRICT", False
        verdict: Verdict | None = None
        for authorizer in self.authorizers:
            verdict = authorizer.decide(exchange)
            if not verdict.allowed:
                break
        after = "allowed: no policy stands against it" if verdict is None else _told(verdict)
        return before, after, was_denied == (verdict is not None and not verdict.allowed)

    def outbound(self, line: Line, exchange: Exchange) -> tuple[str, str, bool]:
        """What was, what would be, and whether that is the same: here, the route, and that its backend is in it."""
        was, cluster = _text(line, "route_name"), _text(line, "upstream_cluster")
        head = exchange.head
        table = self.plan.table(head.authority)
        route = table.find(head) if table is not None else None
        name = route.name if route is not None else ""
        backends = {each.cluster for each in route.targets if each.weight} if route is not None else set()
        gone = bool(cluster) and cluster not in backends
        before = f"{was or f'no route ({NO_ROUTE})'}{f' to {cluster}' if gone and was == name else ''}"
        after = name or f"no route ({NO_ROUTE})"
        if gone and was == name:
            after += f" without {cluster}"
        return before, after, was == name and not gone


def _recorded(line: Line, *, denied: bool) -> str:
    policy, rule = _text(line, "policy"), line.get("policy_rule")
    by = f" by {policy}" + (f" rule {rule}" if isinstance(rule, int) else "") if policy else ""
    return ("denied" if denied else "allowed") + by


def _told(verdict: Verdict) -> str:
    if verdict.policy:
        return f"{'allowed' if verdict.allowed else 'denied'} by {verdict.policy} rule {verdict.rule}"
    if verdict.allowed:
        return "allowed: no ALLOW policy is there"
    return f"denied, nearest {verdict.nearest}: {verdict.failed}" if verdict.nearest else f"denied: {verdict.failed}"


def _head(line: Line) -> LoggedHead:
    facts = line.get("facts")
    original = facts if isinstance(facts, dict) else {}
    path, mark, query = _text(line, "path").partition("?")
    path = _text(original, "original_path") or path
    authority = _text(original, "original_authority") or _text(line, "authority")
    headers = [(name.encode(), text.encode()) for name, key in LOGGED if (text := _text(line, key))]
    head = LoggedHead(_text(line, "method").encode(), path.encode(), authority.encode(), headers)
    head.query = query.encode() if mark else None
    return head


def _peer(line: Line, plan: Plan) -> Peer:
    caller = "" if plan.mode is Mode.DISABLE else _text(line, "downstream_peer")
    remote, local = _text(line, "downstream_remote_address"), _text(line, "downstream_local_address")
    return _cached_peer(caller, _host(remote), _host(local), _text(line, "requested_server_name"))


@lru_cache(maxsize=4096)
def _cached_peer(caller: str, address: str, local: str, name: str) -> Peer:
    known = peer_named(caller, address) if caller else Peer(address)
    return Peer(
        address,
        principal=known.principal,
        namespace=known.namespace,
        service_account=known.service_account,
        trust_domain=known.trust_domain,
        server_name=name,
        tls=known.tls,
        local_address=local,
    )


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _text(line: Line, name: str) -> str:
    """A string of a line that can be written again; empty when there is none."""
    value = line.get(name)
    if not isinstance(value, str):
        return ""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()
