"""The network that an address belongs to, as far as an address shows it: /24 of IPv4, /64 of IPv6.

What is counted, or said in the log, by peer is counted by these: whoever has one address of a network may well have
all of them.
"""

from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """Such as 10.1.2.0/24 or 2001:db8:1:2::/64; what is no address, such as that of a unix socket, is its own."""
    try:
        if ":" not in address:
            return f"{IPv4Address(int(IPv4Address(address)) & 0xFFFFFF00)}/24"
        found = IPv6Address(address.partition("%")[0])
        if found.ipv4_mapped is not None:
            return network_of(str(found.ipv4_mapped))
        return f"{IPv6Address(int(found) >> 64 << 64)}/64"
    except AddressValueError:
        return address
