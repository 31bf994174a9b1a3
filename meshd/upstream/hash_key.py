"""What of a request a consistent-hash balancer hashes: the same value goes to the same endpoint, from every sidecar."""

from collections.abc import Callable
from hashlib import blake2b
from random import Random
from urllib.parse import unquote_to_bytes

from meshd.core.exchange import Exchange

KeyOf = Callable[[Exchange], int]
Look = Callable[[Exchange], bytes | None]


def key_by(hash_by: str, random: Random) -> KeyOf | None:
    """The key by `header:NAME`, `cookie:NAME`, `query:NAME` or `source-ip`; None where nothing is hashed.

    A request without the value goes anywhere.
    """
    if not hash_by:
        return None
    kind, _, name = hash_by.partition(":")
    look = _look(kind, name.encode())

    def key_of(exchange: Exchange) -> int:
        value = look(exchange)
        if value is None:
            return random.getrandbits(64)
        return int.from_bytes(blake2b(value, digest_size=8).digest(), "big")

    return key_of


def _look(kind: str, name: bytes) -> Look:
    if kind == "header":
        lowered = name.lower()
        return lambda exchange: exchange.head.get(lowered)
    if kind == "cookie":
        return lambda exchange: _value(exchange.head.get(b"cookie"), b";", name)
    if kind == "query":
        return lambda exchange: _value(exchange.head.query, b"&", name)
    assert kind == "source-ip", kind
    return lambda exchange: exchange.peer.address.encode()


def _value(text: bytes | None, separator: bytes, name: bytes) -> bytes | None:
    """The first value of a name in a list of pairs; names of parameters may be percent-encoded."""
    for pair in (text or b"").split(separator):
        key, equals, value = pair.strip().partition(b"=")
        if equals and (key == name or (separator == b"&" and unquote_to_bytes(key.replace(b"+", b" ")) == name)):
            return value
    return None
