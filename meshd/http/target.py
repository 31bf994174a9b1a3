"""Where a request goes: the forms of a request target, the grammar of an authority, and the normal form of a path.

A path goes on as it came, unless a listener's rules say otherwise (`path_rules.py`); its normal form is what routes
match on. Octets that no client may send and what has no honest use are refused: control octets, spaces, octets beyond
ASCII, fragments, an encoded NUL, `..;`, what goes above the root. Sources: RFC 9112 section 3.2, RFC 3986 sections
3.2.2 and 6.2.2, the URL standard of browsers for what they leave unescaped, and the advisories on path confusion that
reliability work collects (CVE-2019-9901, CVE-2021-29492, CVE-2021-32779, CVE-2026-73551).
"""

import ipaddress
import re

from meshd.core.errors import ProtocolError
from meshd.core.head import RequestHead
from meshd.core.path_forms import PathForms, canonical, merge_slashes, resolve

# Nothing in it that normalising would change or refuse. A segment ends in a slash or with the path: were the slash
# optional, there would be exponentially many ways to take a segment apart, and all would be tried on a path that fails.
_PLAIN = re.compile(rb"/(?:[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*(?:/|\Z))*")
_VISIBLE = re.compile(rb"[\x21\x22\x24-\x7e]*")  # no space and no fragment
_SENSELESS = re.compile(rb"%(?:00|[Uu])")  # NUL ends a path to some, and `%u0061` was never standard
_DOTS_WITH_PARAMETERS = re.compile(rb"/\.\.?;")
_HOST = re.compile(rb"[a-z0-9._~!$&'()*+,;=-]{1,255}")
_PORT = re.compile(rb"[0-9]{1,5}")
_SCHEME_FORM = re.compile(rb"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


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
        if not _VISIBLE.fullmatch(query):
            raise ProtocolError(400, "malformed_query")
        head.query = query
    read_path(head, path)


def read_path(head: RequestHead, path: bytes) -> None:
    """Set the path of a head. Raises ProtocolError for one that nobody serves."""
    if _PLAIN.fullmatch(path):
        head.path, head.forms = path, None
    else:
        head.path, head.forms = normalise(path), PathForms(path, path, path)


def normalise(path: bytes) -> bytes:
    """The normal form: canonical escapes, slashes merged, dot segments resolved (RFC 3986 6.2.2). An encoded slash is
    no slash, and a backslash is none. Raises ProtocolError for what is refused however it is meant."""
    if not _VISIBLE.fullmatch(path):
        raise ProtocolError(400, "path_normalization_failed: an octet that a path must escape")
    if b"%" in path and (found := _SENSELESS.search(path)):
        raise ProtocolError(400, f"path_normalization_failed: {found[0].decode()} in a path")
    plain = canonical(path)
    if b";" in plain and _DOTS_WITH_PARAMETERS.search(plain):
        raise ProtocolError(400, "path_normalization_failed: a dot segment with parameters")
    normal, below = resolve(merge_slashes(plain))
    if not below:
        raise ProtocolError(400, ABOVE_THE_ROOT)
    return normal


ABOVE_THE_ROOT = "path_normalization_failed: above the root"


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
