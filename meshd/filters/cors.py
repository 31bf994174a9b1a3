"""CORS: preflights answered, responses marked for browsers (Gateway API HTTPCORSFilter, WHATWG Fetch).

A preflight, which must match the rule like any request, is answered here with 200, before limits and faults are asked;
one from an origin that is not allowed gets no access-control fields, on which the browser gives up. What the app says
itself about access control is replaced for allowed origins, and left alone for others. An answer of our own within the
rule is marked like any other, so that a page sees a 429 or 503 for what it is. Every answer of the rule says that it
depends on the origin, those to requests without one too: a cache must not give them to the origins that are allowed
(Fetch, "CORS protocol and HTTP caches"). Where the standard leaves a choice (200 or 204, `*` or the origin itself), it
is taken as Envoy does, which every version of the conformance suite accepts.
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
    allowed, preflight, mark = _origins(cors), _preflight(cors), response_step(cors)

    def step(exchange: Exchange) -> Reply | None:
        head = exchange.head
        origin = head.get(b"origin")
        allow = allowed(origin) if origin is not None else b""
        if exchange.asked is None:
            exchange.asked = Asked()
        exchange.asked.allow_origin = allow
        exchange.asked.marks.append(mark)
        if origin is None or head.method != b"OPTIONS" or head.get(b"access-control-request-method") is None:
            return None
        return Reply(200, details="cors_preflight", headers=tuple(preflight(head)) if allow else ())

    return step


def response_step(cors: Cors) -> ResponseStep:
    """Marks a response: for whom it is, where the origin is allowed, and that it depends on the origin."""
    fixed: Headers = []
    if cors.allow_credentials:
        fixed.append((b"access-control-allow-credentials", b"true"))
    exposed = [name for name in cors.expose_headers if name != "*" or not cors.allow_credentials]
    if exposed:
        fixed.append((b"access-control-expose-headers", ", ".join(exposed).encode()))

    def step(exchange: Exchange, head: ResponseHead) -> None:
        allow = exchange.asked.allow_origin if exchange.asked is not None else b""
        headers = head.headers
        if allow:
            headers = [*(field for field in headers if field[0] not in REPLACED), (ALLOW_ORIGIN, allow), *fixed]
        head.headers = headers if _depends_on_origin(headers) else [*headers, VARY]

    return step


def _depends_on_origin(headers: Headers) -> bool:
    """Whether a response says already that it is another for another origin."""
    said = [name.strip().lower() for field, value in headers if field == b"vary" for name in value.split(b",")]
    return b"origin" in said or b"*" in said


def _preflight(cors: Cors) -> Callable[[RequestHead], Headers]:
    """What is allowed, beyond what every response says. With credentials a browser takes no `*`, so what it asked for
    is said back."""
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
    fixed.append((b"access-control-max-age", b"%d" % cors.max_age))

    def fields(head: RequestHead) -> Headers:
        found = [(field, value) for field, asked in said_back if (value := head.get(asked)) is not None]
        return [*found, *fixed]

    return fields


def _origins(cors: Cors) -> Callable[[bytes], bytes]:
    """What to allow for an origin: itself or nothing. Not `*`, for every answer says that it depends on the origin."""
    if "*" in cors.allow_origins:
        return lambda origin: origin
    tests = [_origin(pattern) for pattern in cors.allow_origins]

    def allowed(origin: bytes) -> bytes:
        whole = _with_port(origin.decode("latin-1")).lower()
        return origin if any(test(whole) for test in tests) else b""

    return allowed


def _origin(pattern: str) -> Callable[[str], bool]:
    """`*` stands for any number of labels at its place; scheme and host compare without case."""
    start, star, end = _with_port(pattern).lower().partition("*")
    if not star:
        return lambda given: given == start
    least = len(start) + len(end)

    def test(given: str) -> bool:
        if len(given) <= least or not given.startswith(start) or not given.endswith(end):
            return False
        labels = given[len(start) : len(given) - len(end)]
        return "/" not in labels and ":" not in labels

    return test


def _with_port(origin: str) -> str:
    """With the port that the scheme stands for; what is no origin, such as `null`, stays as it is."""
    found = _ORIGIN.fullmatch(origin)
    if found is None or found[3] is not None:
        return origin
    return f"{origin}:{DEFAULT_PORTS[found[1].lower()]}"
