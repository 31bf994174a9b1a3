"""What a proxy adds to a request that it passes on, and what it does not believe.

One pass over the fields does all of it. Sources: RFC 9110 section 7.6.3 (Via), the de-facto X-Forwarded-* fields,
Envoy's x-forwarded-client-cert in its SANITIZE_SET mode, W3C Trace Context.
"""

import re
from dataclasses import dataclass
from random import Random

from meshd.core.head import Headers, RequestHead
from meshd.core.peer import Peer

# Claims about who is calling: never believed from anybody, for the handshake tells.
_CLAIMS = frozenset((b"x-forwarded-client-cert", b"l5d-client-id", b"x-meshd-peer"))
# Believed of our own app and of mesh peers, not of strangers.
_INTERNAL = frozenset(
    (b"x-envoy-internal", b"x-envoy-peer-metadata", b"x-envoy-peer-metadata-id", b"x-envoy-original-path", b"x-real-ip")
)
_OURS = _CLAIMS | _INTERNAL | {b"via", b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id", b"traceparent"}
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:+/=-]{1,128}")
MAX_LOOPS = 2  # times one sidecar may see the same request: an app may call itself once

_random = Random()  # noqa: S311  # request ids are not secrets


@dataclass(frozen=True, slots=True)
class Forwarding:
    """How one listener names itself to the next hop."""

    inbound: bool
    pseudonym: bytes  # in Via
    uri: bytes = b""  # our own SPIFFE ID, for x-forwarded-client-cert


def prepare(head: RequestHead, peer: Peer, forwarding: Forwarding, traceparent: bytes) -> bytes:
    """Edit the head for the next hop and return its request id; empty when the request runs in a loop."""
    trusted = not forwarding.inbound or bool(peer.principal)
    kept: Headers = []
    request_id = via = forwarded_for = b""
    scheme = b""
    for field in head.headers:
        name = field[0]
        if name not in _OURS:
            kept.append(field)
        elif name == b"x-request-id":
            request_id = field[1] if trusted else b""
        elif name == b"via":
            via = via + b", " + field[1] if via else field[1]
        elif name == b"x-forwarded-for":
            forwarded_for = forwarded_for + b", " + field[1] if forwarded_for else field[1]
        elif name == b"x-forwarded-proto":
            scheme = field[1] if trusted else b""
        elif name in _INTERNAL and trusted:
            kept.append(field)
    if via and via.count(forwarding.pseudonym) > MAX_LOOPS:
        return b""
    if not _REQUEST_ID.fullmatch(request_id):
        request_id = new_request_id()
    address = peer.address.encode()
    if forwarding.inbound or not address.startswith((b"127.", b"::1")):
        forwarded_for = forwarded_for + b", " + address if forwarded_for else address
    if forwarded_for:
        kept.append((b"x-forwarded-for", forwarded_for))
    kept.append((b"x-forwarded-proto", scheme or (b"https" if peer.tls else head.scheme)))
    kept.append((b"x-request-id", request_id))
    own = (
        b"1.0 " if head.protocol == b"http/1.0" else b"2 " if head.protocol == b"h2" else b"1.1 "
    ) + forwarding.pseudonym
    kept.append((b"via", via + b", " + own if via else own))
    kept.append((b"traceparent", traceparent))
    if forwarding.inbound and peer.principal:
        kept.append((b"x-forwarded-client-cert", client_cert(forwarding.uri, peer)))
    head.headers = kept
    head.changed()
    return request_id


def client_cert(own_uri: bytes, peer: Peer) -> bytes:
    """One element of x-forwarded-client-cert: By, Hash and URI. None of them can hold a character that needs quoting:
    SPIFFE IDs have no comma, semicolon, equals sign or quote."""
    return b"By=%b;Hash=%b;URI=spiffe://%b" % (own_uri, peer.fingerprint.encode(), peer.principal)


def new_request_id() -> bytes:
    """A random UUID of version 4, as Envoy makes them."""
    bits = _random.getrandbits(128) & ~(0xF << 76) & ~(0x3 << 62) | (4 << 76) | (2 << 62)
    text = b"%032x" % bits
    return b"%b-%b-%b-%b-%b" % (text[:8], text[8:12], text[12:16], text[16:20], text[20:])
