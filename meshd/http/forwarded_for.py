"""Who the client is behind proxies that are trusted to say so in X-Forwarded-For (Istio's numTrustedProxies).

Each proxy adds the address it was called from at the right end, so with N of them in front of us the N-th address from
the right is the first that one of them has seen, and what stands before it is hearsay. We have added our own peer
already when this is asked. What stands in such a place and is no address leaves the client unknown, which is neither
within a network nor outside it: who restricts takes it for the worse.
"""

import ipaddress
import re
from functools import lru_cache
from typing import Final

UNKNOWN: Final = "unknown"  # in the place of an address (RFC 7239 section 6.2)
MOST: Final = 64  # addresses that are looked at: as many as proxies can be trusted

_PORT: Final = re.compile(r"\[([^\]]*)\](?::\d+)?|([^:]*):\d+")


def client_address(forwarded_for: bytes | None, peer: str, trusted: int) -> str:
    """The client's address by so many trusted proxies; the peer's where they say less, unknown where what they say is
    no address."""
    if not trusted or not forwarded_for:
        return peer
    members = forwarded_for.rsplit(b",", trusted + 1)
    if members[-1].strip() == peer.encode():
        members.pop()
    return _address(members[-trusted]) if len(members) >= trusted else peer


@lru_cache(maxsize=8)  # every rule that asks for the client asks anew
def possible_addresses(forwarded_for: bytes, peer: str) -> tuple[str, ...]:
    """The peer's address and all that others have written, each once. Of more than anybody means the rest is unknown,
    like what is no address."""
    members = forwarded_for.rsplit(b",", MOST)
    named = [_address(member) for member in members[-MOST:]]
    return tuple(dict.fromkeys((peer, *named, *((UNKNOWN,) if len(members) > MOST else ()))))


def _address(octets: bytes) -> str:
    """One address, without a port; an IPv6 address in its short form, or as the IPv4 address that it stands for."""
    text = octets.strip().decode("latin-1")
    match = _PORT.fullmatch(text)
    if match is not None:
        text = match[1] or match[2]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return UNKNOWN
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
