"""Who the client is behind proxies that are trusted to say so in X-Forwarded-For (Istio's numTrustedProxies).

Each proxy adds the address it was called from at the right end, so with N of them in front of us the N-th address from
the right is the first that one of them has seen, and what stands before it is hearsay. We have added our own peer
already when this is asked.
"""

import ipaddress
import re
from typing import Final

_PORT: Final = re.compile(r"\[([^\]]*)\](?::\d+)?|([^:]*):\d+")


def client_address(forwarded_for: bytes | None, peer: str, trusted: int) -> str:
    """The client's address by so many trusted proxies; the peer's where they say less, or no address."""
    if not trusted or forwarded_for is None:
        return peer
    named = addresses(forwarded_for, peer)
    if len(named) < trusted:
        return peer
    return named[-trusted] or peer


def addresses(forwarded_for: bytes, peer: str) -> list[str]:
    """The addresses that others have written, without that of the peer, which we did; empty for what is none."""
    members = [member.strip() for member in forwarded_for.decode("latin-1").split(",")]
    if members[-1] == peer:
        members.pop()
    return [_address(member) for member in members]


def _address(text: str) -> str:
    """One address, without a port; an IPv6 address in its short form."""
    match = _PORT.fullmatch(text)
    if match is not None:
        text = match[1] or match[2]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""
