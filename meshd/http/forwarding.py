"""What a proxy adds to a request that it passes on, and what it does not believe.

One pass over the fields does all of it. Sources: RFC 9110 section 7.6.3 (Via), the de-facto X-Forwarded-* fields,
Envoy's x-forwarded-client-cert in its SANITIZE_SET mode, W3C Trace Context.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from meshd.core.head import Headers, RequestHead
from meshd.core.peer import Peer
from meshd.http.owned import INTERNAL, MANAGED, ORDINARY, OwnedFields

_NONE: Mapping[bytes, bytes] = {}
_SCHEMES = (b"http", b"https", b"ws", b"wss")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:+/=-]{1,128}")
MAX_LOOPS = 2  # times one sidecar may see the same request: an app may call itself once

_random = Random()  # noqa: S311  # request ids are not secrets


@dataclass(frozen=True, slots=True)
class Forwarding:
    """How one listener names itself to the next hop."""

    inbound: bool
    pseudonym: bytes  # in Via
    uri: bytes = b""  # our own SPIFFE ID, for x-forwarded-client-cert
    owned: OwnedFields = field(default_factory=OwnedFields)
    trusted_proxies: int = 0  # in front of us, which are believed what they say of the client


class Hop:
    """What one connection's peer adds to each of its requests, made once a connection."""

    __slots__ = ("address", "certificate", "owned", "pseudonym", "scheme", "trusted", "via")

    def __init__(self, peer: Peer, forwarding: Forwarding) -> None:
        address = peer.address.encode()
        own_app = not forwarding.inbound and address.startswith((b"127.", b"::1"))
        self.trusted = not forwarding.inbound or bool(peer.principal) or forwarding.trusted_proxies > 0
        self.address = b"" if own_app else address  # to add to X-Forwarded-For
        self.scheme = b"https" if peer.tls else b""
        self.pseudonym = forwarding.pseudonym
        self.owned = forwarding.owned
        self.via = {
            b"http/1.0": b"1.0 " + forwarding.pseudonym,
            b"http/1.1": b"1.1 " + forwarding.pseudonym,
            b"h2": b"2 " + forwarding.pseudonym,
        }
        self.certificate: tuple[bytes, bytes] | None = None
        if forwarding.inbound and peer.principal:
            self.certificate = (b"x-forwarded-client-cert", client_cert(forwarding.uri, peer))

    def __repr__(self) -> str:
        return f"<Hop {self.pseudonym.decode()} from {self.address.decode() or 'our own app'}>"


def prepare(head: RequestHead, hop: Hop, traceparent: bytes) -> bytes:
    """Edit the head for the next hop and return its request id; empty when the request runs in a loop."""
    headers, ordinary = head.headers, hop.owned.ordinary
    kept = [each for each in headers if each[0] in ordinary]
    claims = _NONE
    if len(kept) < len(headers):
        claims = _sort(headers, kept, hop)
    via, forwarded_for = claims.get(b"via"), claims.get(b"x-forwarded-for")
    if via is not None and hop.pseudonym in via and _times(hop.pseudonym, via) > MAX_LOOPS:
        return b""
    request_id = claims.get(b"x-request-id", b"") if hop.trusted else b""
    if not _REQUEST_ID.fullmatch(request_id):
        request_id = new_request_id()
    if hop.address:
        forwarded_for = hop.address if forwarded_for is None else forwarded_for + b", " + hop.address
    if forwarded_for is not None:
        kept.append((b"x-forwarded-for", forwarded_for))
    scheme = claims.get(b"x-forwarded-proto") if hop.trusted else None
    own = hop.via[head.protocol]
    kept += (
        (b"x-forwarded-proto", scheme if scheme in _SCHEMES else hop.scheme or head.scheme),
        (b"x-request-id", request_id),
        (b"via", own if via is None else via + b", " + own),
        (b"traceparent", traceparent),
    )
    if hop.certificate is not None:
        kept.append(hop.certificate)
    head.headers = kept
    head.changed()
    return request_id


def _sort(headers: Headers, kept: Headers, hop: Hop) -> dict[bytes, bytes]:
    """The fields that are managed here, by name and joined; to `kept` goes what may go on of the others."""
    claims: dict[bytes, bytes] = {}
    owned, ordinary = hop.owned, hop.owned.ordinary
    believed: Headers = []
    all_met = True
    for each in [each for each in headers if each[0] not in ordinary]:
        name = each[0]
        kind = owned[name]
        if kind == MANAGED:
            claims[name] = claims[name] + b"," + each[1] if name in claims else each[1]
        elif kind == ORDINARY:
            all_met = False
        elif kind == INTERNAL and hop.trusted:
            believed.append(each)
    if not all_met:  # what was not met before keeps its place
        kept[:] = [each for each in headers if owned[each[0]] == ORDINARY]
    kept += believed
    return claims


def _times(pseudonym: bytes, via: bytes) -> int:
    """How often we are named in a Via list."""
    return sum(member.strip().endswith(b" " + pseudonym) for member in via.split(b","))


def client_cert(own_uri: bytes, peer: Peer) -> bytes:
    """One element of x-forwarded-client-cert: By, Hash and URI. None of them can hold a character that needs quoting:
    SPIFFE IDs have no comma, semicolon, equals sign or quote."""
    return b"By=%b;Hash=%b;URI=spiffe://%b" % (own_uri, peer.fingerprint.encode(), peer.principal)


def new_request_id() -> bytes:
    """A random UUID of version 4, as Envoy makes them."""
    bits = _random.getrandbits
    return b"%08x-%04x-4%03x-%04x-%012x" % (bits(32), bits(16), bits(12), 0x8000 | bits(14), bits(48))
