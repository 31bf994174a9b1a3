"""Where a request goes: the forms of a request target, the grammar of an authority, and one normal form of a path.

What policies match is what is forwarded, so a path is normalised once, here, and whatever could mean another path to
the app behind us is refused: encoded slashes, backslashes and NUL, fragments, `..;`. Sources: RFC 9112 section 3.2, RFC
3986 sections 3.2.2 and 6.2.2, and the advisories on path confusion that reliability work collects (CVE-2019-9901,
CVE-2021-29492, CVE-2021-32779, CVE-2026-73551).
"""

import ipaddress
import re

from meshd.core.errors import ProtocolError
from meshd.core.head import RequestHead

# Nothing in it that normalising would change or refuse. A segment ends in a slash or with the path: were the slash
# optional, there would be exponentially many ways to take a segment apart, and all would be tried on a path that fails.
_PLAIN = re.compile(rb"/(?:[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*(?:/|\Z))*")
_SAFE = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:@/%-]*")
_QUERY = re.compile(rb"[\x21\x22\x24-\x7e]*")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_HOST = re.compile(rb"[a-z0-9._~!$&'()*+,;=-]{1,255}")
_PORT = re.compile(rb"[0-9]{1,5}")
_SCHEME_FORM = re.compile(rb"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def read_target(head: RequestHead, target: bytes, host: bytes | None) -> None:
    """Fill in path, query, authority and scheme from the request target and the Host field."""
    if head.method == b"CONNECT":
        named = authority(target)
        if b":" not in named or named.endswith((b":", b"]")):
            raise ProtocolError(400, "connect_target_without_port")
        head.authority, head.path = named, b""
    elif target.startswith(b"/"):
        head.authority = authority(host) if host else b""
        _set_path(head, target)
    elif target == b"*" and head.method == b"OPTIONS":
        head.authority, head.path = (authority(host) if host else b""), b"*"
    else:
        _absolute(head, target)


def _absolute(head: RequestHead, target: bytes) -> None:
    match = _SCHEME_FORM.fullmatch(target)
    if match is None:
        raise ProtocolError(400, "malformed_request_target")
    scheme, named, rest = match.groups()
    head.scheme = scheme.lower()
    head.authority = authority(named)
    if not rest.startswith(b"/"):
        rest = b"/" + rest
    _set_path(head, rest)


def _set_path(head: RequestHead, target: bytes) -> None:
    path, mark, query = target.partition(b"?")
    if mark:
        if not _QUERY.fullmatch(query):
            raise ProtocolError(400, "malformed_query")
        head.query = query
    head.path = path if _PLAIN.fullmatch(path) else normalise(path)


def normalise(path: bytes) -> bytes:
    """The one form of a path: unreserved octets unescaped, slashes merged, dot segments resolved (RFC 3986 6.2.2).

    Raises ProtocolError for what has no safe form.
    """
    if not _SAFE.fullmatch(path):
        raise ProtocolError(400, "path_normalization_failed: an octet that a path must escape")
    plain = _ESCAPE.sub(_unescape, path) if b"%" in path else path
    kept: list[bytes] = []
    segments = plain.split(b"/")[1:]
    for place, segment in enumerate(segments):
        name = segment.partition(b";")[0]
        if name in (b".", b"..") and name != segment:
            raise ProtocolError(400, "path_normalization_failed: a dot segment with parameters")
        if segment == b"..":
            if not kept:
                raise ProtocolError(400, "path_normalization_failed: above the root")
            kept.pop()
        elif segment not in (b"", b"."):
            kept.append(segment)
        if place == len(segments) - 1 and segment in (b"", b".", b".."):
            kept.append(b"")
    return b"/" + b"/".join(kept)


def _unescape(match: re.Match[bytes]) -> bytes:
    digits = match[1]
    if digits is None:
        raise ProtocolError(400, "path_normalization_failed: '%' without two hex digits")
    octet = int(digits, 16)
    if octet in _UNRESERVED:
        return bytes((octet,))
    if octet in b"/\\\0":
        raise ProtocolError(400, f"path_normalization_failed: %{digits.decode()} in a path")
    return b"%" + digits.upper()


def authority(text: bytes) -> bytes:
    """A valid `host[:port]`, host in lower case (RFC 3986 section 3.2.2, without user information).

    The common ones are remembered: a sidecar hears few names.
    """
    known = _KNOWN.get(text)
    if known is None:
        known = _read_authority(text)
        if len(_KNOWN) < 1024:
            _KNOWN[text] = known
    return known


_KNOWN: dict[bytes, bytes] = {}


def _read_authority(text: bytes) -> bytes:
    lowered = text.lower()
    if lowered.startswith(b"["):
        host, bracket, port = lowered.partition(b"]")
        if not bracket or (port and not port.startswith(b":")):
            raise ProtocolError(400, "invalid_host")
        try:
            if b"%" in host:
                raise ProtocolError(400, "invalid_host: a zone has no meaning beyond one machine")
            ipaddress.IPv6Address(host[1:].decode("ascii"))
        except ValueError as error:
            raise ProtocolError(400, "invalid_host") from error
        port = port[1:]
        colon = b":" if lowered.endswith(b":") or port else b""
    else:
        host, colon, port = lowered.partition(b":")
        if not _HOST.fullmatch(host):
            raise ProtocolError(400, "invalid_host")
    if colon and (not _PORT.fullmatch(port) or int(port) > 65535) and port:
        raise ProtocolError(400, "invalid_host")
    return lowered[:-1] if colon and not port else lowered
