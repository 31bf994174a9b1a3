"""Session persistence: requests of one session go to one endpoint while it serves (Gateway API GEP-1619).

A session is known by a token in a cookie or a header, which the first response hands out. The token names side of the
split and endpoint by a hash, so that it shows no address, every sidecar of every caller reads it alike, and nothing is
kept. Where the session ends by the clock, the token says when. Once the endpoint is gone or out of service, or the
token has expired, the request goes where any other would, and the response hands out another token.
"""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from hashlib import blake2b
from zlib import crc32

from meshd.config.route_parts import SessionPersistence
from meshd.core.asked import Asked
from meshd.core.chain import Chain
from meshd.core.endpoint import Endpoint
from meshd.core.exchange import Exchange
from meshd.core.head import ResponseHead
from meshd.core.reply import Reply

EndpointsOf = Callable[[str], Sequence[Endpoint]]  # of a cluster, by its name; another object once they are others
Find = Callable[[bytes], tuple[str, Endpoint] | None]


def session_chain(
    document: SessionPersistence,
    rule: str,
    clusters: Sequence[str],
    endpoints_of: EndpointsOf,
    wall_clock: Callable[[], float],
) -> Chain:
    """Reads the token of a request, and hands one out where the answer came from elsewhere. `rule` is the name of the
    route's rule, `clusters` its backends; times in the token are those of `wall_clock`, for other sidecars read it."""
    find = _finder(clusters, endpoints_of)
    read, hand_out = _carrier(document, rule)
    lifetime = document.absolute_timeout

    def on_request(exchange: Exchange) -> Reply | None:
        token = read(exchange)
        if token is None or (lifetime and not _is_valid(token, wall_clock())):
            return None
        found = find(token.partition(b".")[0])
        if found is not None:
            if exchange.asked is None:
                exchange.asked = Asked()
            exchange.asked.cluster, exchange.asked.endpoint = found
        return None

    def on_response(exchange: Exchange, head: ResponseHead) -> None:
        endpoint, asked = exchange.attempts[-1].endpoint, exchange.asked
        if asked is not None and asked.endpoint is endpoint and asked.cluster == exchange.cluster:
            return
        token = digest(exchange.cluster, endpoint)
        if lifetime:
            token += b".%d" % (wall_clock() + lifetime)
        head.headers = [*head.headers, hand_out(token)]

    return Chain((on_request,), (on_response,))


def digest(cluster: str, endpoint: Endpoint) -> bytes:
    """What a token calls an endpoint."""
    return urlsafe_b64encode(blake2b(f"{cluster} {endpoint.name}".encode(), digest_size=12).digest())


def _is_valid(token: bytes, now: float) -> bool:
    expiry = token.partition(b".")[2]
    return expiry.isdigit() and len(expiry) < 16 and int(expiry) > now


def _finder(clusters: Sequence[str], endpoints_of: EndpointsOf) -> Find:
    """From a digest to cluster and endpoint. What was computed holds as long as the cluster has the same endpoints."""
    known: dict[str, tuple[Sequence[Endpoint], dict[bytes, Endpoint]]] = {}

    def find(given: bytes) -> tuple[str, Endpoint] | None:
        for cluster in clusters:
            endpoints = endpoints_of(cluster)
            cached = known.get(cluster)
            if cached is None or cached[0] is not endpoints:
                cached = known[cluster] = (endpoints, {digest(cluster, each): each for each in endpoints})
            endpoint = cached[1].get(given)
            if endpoint is not None:
                return cluster, endpoint
        return None

    return find


def _carrier(
    document: SessionPersistence, rule: str
) -> tuple[Callable[[Exchange], bytes | None], Callable[[bytes], tuple[bytes, bytes]]]:
    """How the token is read from a request, and how it is written as a field of a response."""
    title = (document.name or f"meshd-session-{crc32(rule.encode()):08x}").encode()
    if document.type == "Header":
        name = title.lower()
        return (lambda exchange: exchange.head.get(name)), (lambda token: (name, token))
    path = document.cookie.path if document.cookie is not None else ""
    attributes = b"; Path=%b; HttpOnly" % (path or "/").encode()
    if document.is_permanent and document.absolute_timeout:
        attributes += b"; Max-Age=%d" % document.absolute_timeout
    return (
        lambda exchange: exchange.head.cookie(title),
        lambda token: (b"set-cookie", b"%b=%b%b" % (title, token, attributes)),
    )
