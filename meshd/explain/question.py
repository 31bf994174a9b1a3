"""A request that somebody wonders about, made into an exchange by the very parts that do so for traffic: its bytes go
through the codec, its head through the listener."""

import re
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from meshd.core.cells import Cells
from meshd.core.errors import ProtocolError
from meshd.core.exchange import Exchange
from meshd.core.head import RequestHead, split_authority
from meshd.core.peer import Peer
from meshd.http.forwarding import Hop
from meshd.http.h1 import ServerCodec
from meshd.identity.spiffe import SpiffeId
from meshd.net.tls import Mode
from meshd.proxy.listener import ConnectionLimits, Listener
from meshd.snapshot import Plan
from meshd.telemetry.destination import DOMAIN
from meshd.telemetry.records import Recorder
from meshd.telemetry.tracing import Sampler

MOMENT: Final = 1.0  # of the clock that is not running
ADDRESS: Final = "127.0.0.1"
_LINE_BREAK: Final = re.compile(r"[\r\n\0]")
_TOKEN: Final = re.compile(r"[!-9;-~]+")  # no colon and no space: what may stand before the colon of a field


Said: TypeAlias = Literal["", "allow", "deny", "fail"]  # by authorizers outside; nothing is taken for a yes


class Unaskable(ValueError):
    """The question makes no sense as it stands; the message says which part of it."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request. `caller` is a SPIFFE ID, empty for a client without a certificate."""

    method: str = "GET"
    target: str = "/"  # path and query
    authority: str = ""
    caller: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    inbound: bool = True
    listener: str = ""  # by name, when there are several; empty for the first that fits
    address: str = ADDRESS  # of the client
    draw: float = 100.0  # where chance decides: the number drawn, of 100
    times: int = 1  # sent so often at once; the last of them is the one that is asked about
    authorizer: Said = ""  # what every authorizer outside says that is asked

    def header(self, name: str) -> str | None:
        """The first value of a field."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def with_header(self, name: str, value: str | None) -> "Question":
        """The same with one field set, or without it."""
        kept = tuple(field for field in self.headers if field[0].lower() != name.lower())
        return replace(self, headers=kept if value is None else (*kept, (name, value)))

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def check(self) -> None:
        """Raises Unaskable for what is no request line and no field at all."""
        for what, text in (("method", self.method), ("path", self.target), ("to", self.authority)):
            if _LINE_BREAK.search(text) or " " in text:
                raise Unaskable(f"{what}: got {text!r}, expected no white space")
        if not _TOKEN.fullmatch(self.method):
            raise Unaskable(f"method: got {self.method!r}, expected a name such as GET")
        for name, value in self.headers:
            if not _TOKEN.fullmatch(name) or _LINE_BREAK.search(value):
                raise Unaskable(f"header: got {f'{name}: {value}'!r}, expected 'name: value' in one line")
        if self.caller:
            SpiffeId.parse(self.caller)

    def octets(self) -> bytes:
        """What a client would send."""
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        if self.header("host") is None:
            lines.append(f"host: {self.authority}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")

    def head(self) -> RequestHead:
        """What the codec makes of it. Raises ProtocolError for what it refuses."""
        codec = ServerCodec()
        codec.receive(self.octets())
        head = codec.next_event()
        if not isinstance(head, RequestHead):
            raise ProtocolError(400, "this is no request head")
        return head

    def peer(self, plan: Plan) -> Peer:
        """Who the listener takes the client for. A sidecar asks in its handshake for the service that the request is
        for."""
        if not self.caller or not plan.inbound or plan.mode is Mode.DISABLE:
            return Peer(self.address)
        host = split_authority(self.authority.encode())[0].decode().lower()
        name = server_name(host, plan.proxy_name.rpartition(b".")[2].decode())
        return replace(peer_named(self.caller, self.address), server_name=name)

    def begin(self, plan: Plan, now: float = MOMENT) -> tuple[Listener, Exchange]:
        """An exchange as the listener begins it. Raises ProtocolError."""
        listener = Listener(plan, _RECORDER, _SAMPLER, _LIMITS)
        peer = self.peer(plan)
        return listener, listener.begin(self.head(), peer, Hop(peer, plan.forwarding), now)


def server_name(host: str, namespace: str) -> str:
    """What a sidecar asks for in its handshake (see `discovery`): a Service of this namespace by its full name."""
    name, _, rest = host.partition(".")
    if name and rest in ("", namespace, f"{namespace}.svc", f"{namespace}.{DOMAIN}"):
        return f"{name}.{namespace}.{DOMAIN}"
    return host


def peer_named(caller: str, address: str = ADDRESS) -> Peer:
    """The peer that a certificate for this SPIFFE ID makes. Raises InvalidSpiffeId."""
    identity = SpiffeId.parse(caller)
    return Peer(
        address,
        principal=str(identity).removeprefix("spiffe://").encode(),
        namespace=identity.namespace.encode(),
        service_account=identity.service_account.encode(),
        trust_domain=identity.trust_domain.encode(),
        tls="TLSv1.3",
    )


def caller_named(text: str, trust_domain: str, namespace: str) -> str:
    """A SPIFFE ID from its short forms: `account`, `namespace/account`, or the whole. Raises InvalidSpiffeId."""
    if not text or "://" in text:
        return str(SpiffeId.parse(text)) if text else ""
    space, slash, account = text.partition("/")
    return str(SpiffeId.of_workload(trust_domain, *((space, account) if slash else (namespace, text))))


_RECORDER: Final = Recorder(Cells(), lambda _: True, 0.0, keep_all=False)
_SAMPLER: Final = Sampler(0.0)
_LIMITS: Final = ConnectionLimits()
