"""CORS: preflights answered, responses marked for browsers (Gateway API HTTPCORSFilter, WHATWG Fetch).

A preflight, which must match the rule like any request, is answered here with 204; one from an origin that is not
allowed gets no access-control fields, on which the browser gives up. What the app says itself about access control is
replaced for allowed origins, and left alone for others.
"""

import re
from collections.abc import Callable

from meshd.config.route_filters import Cors
from meshd.core.asked import Asked
from meshd.core.chain import RequestStep, ResponseStep
from meshd.core.exchange import Exchange
from meshd.core.head import Headers, RequestHead, ResponseHead
from meshd.core.reply import Reply

ALLOW_ORIGIN = b"access-control-allow-origin"
ALLOW_METHODS = b"access-control-allow-methods"
ALLOW_HEADERS = b"access-control-allow-headers"
VARY = (b"vary", b"origin")
REPLACED = frozenset((ALLOW_ORIGIN, b"access-control-allow-credentials", b"access-control-expose-headers"))
DEFAULT_PORTS = {"http": "80", "https": "443"}
_ORIGIN = re.compile(r"(https?)://(.+?)(?::([0-9]{1,5}))?", re.IGNORECASE)


def request_step(cors: Cors) -> RequestStep:
    """Answers preflights, and notes which origin other requests come from: later filters may edit the field."""
    allowed, preflight = _origins(cors), _preflight(cors)

    def step(exchange: Exchange) -> Reply | None:
        head = exchange.head
        origin = head.get(b"origin")
        if origin is None:
            return None
        allow = allowed(origin)
        if head.method == b"OPTIONS" and head.get(b"access-control-request-method") is not None:
            fields = preflight(head, allow) if allow else [VARY]
            return Reply(204, details="cors_preflight", headers=tuple(fields))
        if allow:
            if exchange.asked is None:
                exchange.asked = Asked()
            exchange.asked.allow_origin = allow
        return None

    return step


def response_step(cors: Cors) -> ResponseStep:
    """Marks the responses to requests from allowed origins."""
    fixed: Headers = []
    if cors.allow_credentials:
        fixed.append((b"access-control-allow-credentials", b"true"))
    exposed = [name for name in cors.expose_headers if name != "*" or not cors.allow_credentials]
    if exposed:
        fixed.append((b"access-control-expose-headers", ", ".join(exposed).encode()))

    def step(exchange: Exchange, head: ResponseHead) -> None:
        asked = exchange.asked
        if asked is None or not asked.allow_origin:
            return
        kept = [field for field in head.headers if field[0] not in REPLACED]
        head.headers = [*kept, *_allow_origin(asked.allow_origin), *fixed]

    return step


def _allow_origin(allow: bytes) -> Headers:
    """An answer that differs by origin must say so to caches."""
    return [(ALLOW_ORIGIN, allow)] if allow == b"*" else [(ALLOW_ORIGIN, allow), VARY]


def _preflight(cors: Cors) -> Callable[[RequestHead, bytes], Headers]:
    """What is allowed. With credentials a browser takes no `*`, so what it asked for is said back."""
    lists = (
        (ALLOW_METHODS, cors.allow_methods, b"access-control-request-method"),
        (ALLOW_HEADERS, cors.allow_headers, b"access-control-request-headers"),
    )
    said_back = [(field, asked) for field, values, asked in lists if "*" in values and cors.allow_credentials]
    fixed = [
        (field, ", ".join(values).encode())
        for field, values, _ in lists
        if values and not ("*" in values and cors.allow_credentials)
    ]
    if cors.allow_credentials:
        fixed.append((b"access-control-allow-credentials", b"true"))
    fixed.append((b"access-control-max-age", b"%d" % cors.max_age))

    def fields(head: RequestHead, allow: bytes) -> Headers:
        found = [(field, value) for field, asked in said_back if (value := head.get(asked)) is not None]
        return [*_allow_origin(allow), *found, *fixed]

    return fields


def _origins(cors: Cors) -> Callable[[bytes], bytes]:
    """What to allow for an origin: itself, `*`, or nothing."""
    if "*" in cors.allow_origins:
        return (lambda origin: origin) if cors.allow_credentials else (lambda _: b"*")
    tests = [_origin(pattern) for pattern in cors.allow_origins]

    def allowed(origin: bytes) -> bytes:
        whole = _with_port(origin.decode("latin-1"))
        return origin if any(test.fullmatch(whole) is not None for test in tests) else b""

    return allowed


def _origin(pattern: str) -> re.Pattern[str]:
    """`*` stands for any number of labels at its place; scheme and host compare without case."""
    source = re.escape(_with_port(pattern)).replace(r"\*", r"[^/:]+")
    return re.compile(source, re.IGNORECASE)


def _with_port(origin: str) -> str:
    """With the port that the scheme stands for; what is no origin, such as `null`, stays as it is."""
    found = _ORIGIN.fullmatch(origin)
    if found is None or found[3] is not None:
        return origin
    return f"{origin}:{DEFAULT_PORTS[found[1].lower()]}"
