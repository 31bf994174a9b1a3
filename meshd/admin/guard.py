"""Who may talk to the admin API. Pure.

It trusts whoever reaches its loopback address, and a browser on the same machine reaches it on behalf of any web
page. Two checks keep pages out: a name that was made to resolve to us (DNS rebinding) shows in Host, a form or script
that posts to us shows in Origin or Sec-Fetch-Site.
"""

import ipaddress

from meshd.admin.api import AdminResponse, text
from meshd.core.head import RequestHead


def refusal(head: RequestHead, *, unix: bool) -> AdminResponse | None:
    """Why this request is not answered; None when it is. Over a unix socket Host means nothing and is not looked at."""
    host = head.host.decode("utf-8", "backslashreplace")
    if not unix and not is_safe_host(host):
        return text(403, f"Host {host!r} is refused: use localhost or an IP address")
    if head.get(b"sec-fetch-site") not in {None, b"none", b"same-origin"}:
        return text(403, "requests of other web pages are refused")
    origin = head.get(b"origin")
    if origin is not None and origin != b"http://" + head.authority:
        return text(403, "requests of other web pages are refused")
    return None


def is_safe_host(host: str) -> bool:
    """Whether no name service had a say in how this host was found."""
    return host.lower().rstrip(".") == "localhost" or _address(host) is not None


def is_local(address: str) -> bool:
    """Whether a peer with this address is on this machine."""
    found = _address(address)
    if found is None:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def _address(text_form: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text_form.strip("[]"))
    except ValueError:
        return None
