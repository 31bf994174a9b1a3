"""What the checks of a rule look at. Text is as octets; an attribute that is not there is empty."""

from collections.abc import Callable

from meshd.core.exchange import Exchange
from meshd.http.forwarded_for import possible_addresses

Look = Callable[[Exchange], bytes]
SEPARATOR = b"\0"  # between issuer and subject of a token: a slash may be in either


def look_authority(exchange: Exchange) -> bytes:
    """Host and port that the request is for."""
    return exchange.head.authority


def look_method(exchange: Exchange) -> bytes:
    """The method."""
    return exchange.head.method


def look_path(exchange: Exchange) -> bytes:
    """The path, as it is being read."""
    return exchange.head.path


def look_target(exchange: Exchange) -> bytes:
    """Path and query, the path as it is being read."""
    head = exchange.head
    return head.path if head.query is None else head.path + b"?" + head.query


def look_upgrade(exchange: Exchange) -> bytes:
    """The protocols that the client offers to switch to."""
    return exchange.head.upgrade or b""


def look_principal(exchange: Exchange) -> bytes:
    """Trust domain and path of the SPIFFE ID; empty when the peer proved nothing."""
    return exchange.peer.principal


def look_namespace(exchange: Exchange) -> bytes:
    """The namespace of the peer's identity."""
    return exchange.peer.namespace


def look_account(exchange: Exchange) -> bytes:
    """`namespace/service-account`; empty when the identity has none."""
    peer = exchange.peer
    return peer.namespace + b"/" + peer.service_account if peer.service_account else b""


def look_trust_domain(exchange: Exchange) -> bytes:
    """The trust domain of the peer's identity."""
    return exchange.peer.trust_domain


def look_address(exchange: Exchange) -> bytes:
    """The address of the peer: the physical one."""
    return exchange.peer.address.encode()


def look_client(exchange: Exchange) -> bytes:
    """The address of the client, by trusted proxies."""
    return (exchange.client or exchange.peer.address).encode()


def look_possible_clients(exchange: Exchange) -> list[bytes]:
    """Every address that may be the client's while nobody said which proxies are trusted."""
    peer = exchange.peer.address
    forwarded_for = exchange.head.get(b"x-forwarded-for")
    if forwarded_for is None:
        return [peer.encode()]
    return [each.encode() for each in possible_addresses(forwarded_for, peer)]


def look_local_address(exchange: Exchange) -> bytes:
    """The address the peer connected to."""
    return exchange.peer.local_address.encode()


def look_server_name(exchange: Exchange) -> bytes:
    """The SNI of the handshake."""
    return exchange.peer.server_name.encode()


def look_claim(exchange: Exchange, path: tuple[str, ...]) -> list[bytes]:
    """The strings of a claim of the validated token; none without one."""
    token = exchange.token
    return [] if token is None else [value.encode() for value in token.values(*path)]


def look_subjects(exchange: Exchange) -> list[bytes]:
    """Who the validated token is from and about; none without one."""
    token = exchange.token
    return [] if token is None else [token.issuer.encode() + SEPARATOR + token.subject.encode()]


def look_nothing(_exchange: Exchange) -> bytes:
    """An attribute that no request has."""
    return b""
