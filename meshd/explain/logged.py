"""A line of the JSON access log as the exchange it tells of, as far as it tells: what a log does not keep is missing,
and whoever asks for it leaves a note.

What is read: direction, method, path, authority, response_flags, and as far as there is any, start_time, listener,
response_code_details, route_name, upstream_cluster, policy, policy_rule, downstream_peer, downstream_remote_address,
downstream_local_address, requested_server_name, tls_version, user_agent, x_forwarded_for, request_id and facts.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Final, TypeAlias

from meshd.core.errors import ProtocolError
from meshd.core.exchange import Exchange
from meshd.core.head import Headers, RequestHead
from meshd.core.peer import Peer
from meshd.core.token import Claim, Token
from meshd.explain.question import peer_named
from meshd.http.forwarded_for import client_address
from meshd.http.target import read_path
from meshd.net.tls import Mode
from meshd.snapshot import Plan
from meshd.telemetry.describe import Json

Line: TypeAlias = Mapping[str, Json]

NEEDED: Final = ("direction", "method", "path", "authority", "response_flags")
LOGGED: Final = (("user-agent", "user_agent"), ("x-forwarded-for", "x_forwarded_for"), ("x-request-id", "request_id"))
KNOWN: Final = frozenset(name.encode() for name, _ in LOGGED)
NONE_SHOWN: Final = "jwt_authn_access_denied{missing}"  # the details where a token is asked for and there was none
REGISTERED: Final = ("iss", "sub", "aud")  # claims that are noted of every token


class LoggedHead(RequestHead):
    """A request of which some headers are known. Notes which others were asked for."""

    __slots__ = ("_known", "missed")

    def __init__(self, method: bytes, path: bytes, authority: bytes, headers: Headers) -> None:
        self.missed: set[str] = set()
        super().__init__(method, path, authority, headers)
        self._known = dict(headers)

    def get(self, name: bytes) -> bytes | None:
        """The value of a field."""
        if name not in KNOWN:
            self.missed.add(name.decode("latin-1"))
        return self._known.get(name)

    def values(self, name: bytes) -> list[bytes]:
        """The values of a field, as far as a log tells: those of one name joined."""
        value = self.get(name)
        return [] if value is None else [value]

    @property
    def upgrade(self) -> None:
        """Not kept by any log."""
        self.missed.add("upgrade")

    @upgrade.setter
    def upgrade(self, protocol: bytes | None) -> None:
        assert protocol is None, "nothing here reads the fields of a connection"


class Logged:
    """One line, read."""

    __slots__ = ("at", "claims", "details", "exchange", "facts", "flags", "head", "inbound", "line", "token_is_known")

    def __init__(self, line: Line, plan: Plan) -> None:
        """Raises InvalidSpiffeId."""
        facts = line.get("facts")
        self.line = line
        self.inbound = line["direction"] == "inbound"
        self.flags = frozenset(text_of(line, "response_flags").split(","))
        self.details = text_of(line, "response_code_details")
        self.facts: Line = facts if isinstance(facts, dict) else {}
        self.at = _moment(text_of(line, "start_time"))  # None when it cannot be read
        self.head = _head(line, self.facts, plan)
        self.exchange = Exchange(self.head, _peer(line, plan), self.at or 0.0, inbound=self.inbound)
        if trusted := plan.forwarding.trusted_proxies:
            forwarded_for = text_of(line, "x_forwarded_for").encode()
            self.exchange.client = client_address(forwarded_for, self.exchange.peer.address, trusted)
        self.claims = _claims(text_of(self.facts, "claims"))
        # Of a listener that looks for tokens, the log says so; of one that does not, nobody knows.
        without = self.facts.get("token") == "" or self.details == NONE_SHOWN
        self.token_is_known = self.claims is not None or without

    def text(self, name: str) -> str:
        """A string of the line; empty when there is none."""
        return text_of(self.line, name)

    def believe(self) -> None:
        """Let the exchange have the token that was believed, if there was one."""
        self.exchange.token = None if self.claims is None else _token(self.claims)


def text_of(line: Line, name: str) -> str:
    """A string of a line that can be written again; empty when there is none."""
    value = line.get(name)
    if not isinstance(value, str):
        return ""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _moment(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _claims(text: str) -> dict[str, list[str]] | None:
    """What was noted of a token (`filters/jwt.py`); None when nothing was."""
    try:
        found = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in ("iss", "sub")):
        return None
    return {
        name: [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
        for name, value in found.items()
    }


def _token(told: dict[str, list[str]]) -> Token:
    claims: dict[str, Claim] = {"aud": [*told.get("aud", [])]}
    for key, values in told.items():
        if key in REGISTERED:
            continue
        *above, last = key.strip("[]").split("][")
        inside = claims
        for name in above:
            found = inside.setdefault(name, {})
            inside = found if isinstance(found, dict) else {}
        inside[last] = [*values]
    return Token(told["iss"][0], told["sub"][0], claims, b"")


def _head(line: Line, facts: Line, plan: Plan) -> LoggedHead:
    path, mark, query = text_of(line, "path").partition("?")
    path = text_of(facts, "original_path") or path
    authority = text_of(facts, "original_authority") or text_of(line, "authority")
    headers = [(name.encode(), text.encode()) for name, key in LOGGED if (text := text_of(line, key))]
    head = LoggedHead(text_of(line, "method").encode(), path.encode(), authority.encode(), headers)
    head.query = query.encode() if mark else None
    with suppress(ProtocolError):  # refused as it came, and so it will be again
        read_path(head, head.path)
        plan.paths.apply(head)
    return head


def _peer(line: Line, plan: Plan) -> Peer:
    caller = "" if plan.mode is Mode.DISABLE else text_of(line, "downstream_peer")
    remote, local = text_of(line, "downstream_remote_address"), text_of(line, "downstream_local_address")
    return _cached_peer(caller, _host(remote), _host(local), text_of(line, "requested_server_name"))


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
