"""What can be told of a request that is refused before it was understood: for the log, and for nothing else.

Nothing of it has passed a rule, so nothing of it is believed, and all of it is bounded.
"""

import re
from typing import Final

from meshd.core.head import Headers, RequestHead
from meshd.http.fields import TOKEN

UNSEEN: Final = b"-"
MAX_METHOD: Final = 32
MAX_TARGET: Final = 1024
MAX_AUTHORITY: Final = 255
_MAX_LOOKED_AT: Final = 16_384  # bytes of a head
_HOST: Final = re.compile(rb"\n[Hh][Oo][Ss][Tt]:[ \t]*([^\r\n]*)")


def glimpse(octets: bytes) -> RequestHead:
    """Of an HTTP/1.1 head, or the beginning of one."""
    octets = octets[:_MAX_LOOKED_AT].lstrip(b"\r\n")
    method, _, rest = octets.partition(b"\n")[0].rstrip(b"\r").partition(b" ")
    target = rest.partition(b" ")[0]
    host = _HOST.search(octets)
    if not TOKEN.fullmatch(method):
        return RequestHead(UNSEEN, UNSEEN, b"")
    return _head(method, target, host[1] if host is not None else b"", b"http/1.1")


def glimpse_fields(fields: Headers) -> RequestHead:
    """Of the fields of an HTTP/2 request."""
    found: dict[bytes, bytes] = {}
    for name, value in fields:
        if name in (b":method", b":path", b":authority", b"host"):
            found.setdefault(name, value)
    authority = found.get(b":authority") or found.get(b"host", b"")
    return _head(found.get(b":method", b""), found.get(b":path", b""), authority, b"h2")


def _head(method: bytes, target: bytes, authority: bytes, protocol: bytes) -> RequestHead:
    path, mark, query = target[:MAX_TARGET].partition(b"?")
    head = RequestHead(method[:MAX_METHOD] or UNSEEN, path or UNSEEN, authority[:MAX_AUTHORITY])
    head.query = query if mark else None
    head.protocol = protocol
    return head
