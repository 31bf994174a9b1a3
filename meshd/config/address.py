"""Where to listen or connect, as documents write it: `host:port`, `[v6]:port`, `unix:/path`. Text only, no sockets."""

import ipaddress
import re
from dataclasses import dataclass

_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?\Z")
LONGEST_HOST = 253


@dataclass(frozen=True, slots=True)
class Address:
    """A host and port, or the path of a unix socket with port 0. `str()` gives back what `parse` reads."""

    host: str
    port: int = 0
    is_unix: bool = False

    @staticmethod
    def parse(text: str) -> "Address | None":
        """None when it is not an address. Port 0 is left to the caller to allow or refuse."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            path = path[2:] if path.startswith("///") else path  # unix:///run/x is the URL form of unix:/run/x
            usable = path[:1] in ("/", "@") and 1 < len(path.encode()) <= 107 and "\0" not in path
            return Address(path, 0, is_unix=True) if usable else None
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65535:
            return None
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            if ip_version(host) != 6:
                return None
        elif not is_host(host):
            return None
        return Address(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Only this machine can reach it."""
        if self.is_unix or self.host == "localhost":
            return True
        return ip_version(self.host) != 0 and ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        if self.is_unix:
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def ip_version(text: str) -> int:
    """4, 6, or 0 when it is not an IP address. A zone index is not accepted: it means something to one machine only."""
    try:
        return 0 if "%" in text else ipaddress.ip_address(text).version
    except ValueError:
        return 0


def is_host(text: str) -> bool:
    """A name that can be looked up, or an IPv4 address: labels of at most 63 characters (RFC 1035 section 2.3.4), which
    may have underscores. The dot of the root may end it."""
    return len(text) <= LONGEST_HOST and _HOST.match(text) is not None


def is_block(text: str) -> bool:
    """An IP address or a CIDR block; host bits may be set, as Istio allows."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    address, slash, prefix = text.partition("/")
    return ip_version(address) != 0 and (not slash or prefix.isdigit())  # no netmasks, no zones
