"""An upgrade in the words of either protocol (RFC 8441, RFC 6455). Pure.

To policies and to the forwarder an upgrade is what HTTP/1.1 makes of it: GET with an Upgrade field, granted by 101.
HTTP/2 asks by extended CONNECT and grants by any 2xx; the codecs translate methods and pseudo-header fields. What is
left is here: WebSocket's handshake, which only HTTP/1.1 has (RFC 8441 section 5), and whether what was granted is what
was asked for. Rule: who asked in HTTP/2 takes any 2xx for a tunnel, so nothing but a granted upgrade may become one
(CVE-2024-23326). HTTP/2 has no use for the handshake's fields, but they cross it all the same: there are proxies, Envoy
among them, that go from HTTP/1.1 to HTTP/2 and back without a key of their own.
"""

from base64 import b64encode
from hashlib import sha1
from typing import Final

from meshd.core import proxy_errors
from meshd.core.errors import ProtocolError
from meshd.core.head import RequestHead, ResponseHead

WEBSOCKET: Final = b"websocket"
KEY: Final = b"sec-websocket-key"
ACCEPT: Final = b"sec-websocket-accept"
NONCE: Final = 16  # octets (RFC 6455 section 4.1)
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def ask(head: RequestHead, nonce: bytes) -> None:
    """Make an upgrade complete for a server of HTTP/1.1: a WebSocket that was asked for in HTTP/2 needs no key, and
    gets one of `nonce`, NONCE random octets, if it has none."""
    if head.protocol == b"h2" and _is_websocket(head) and head.get(KEY) is None:
        head.headers.append((KEY, b64encode(nonce)))
        head.changed()


def settle(head: RequestHead, response: ResponseHead) -> None:
    """Make what an upstream of either protocol answered to an upgrade a 101 that grants it, or leave it as a refusal.

    Raises ProtocolError, with status 502, for an answer that is neither.
    """
    asked_in_http2 = head.protocol == b"h2"
    granted = 200 <= response.status < 300
    if response.protocol == b"h2":
        if granted:
            _grant(head, response)
    elif response.status == 101:
        if (response.upgrade or b"").lower() != (head.upgrade or b"").lower() and asked_in_http2:
            raise ProtocolError(
                502,
                "http_upgrade_failed{the upstream switched to another protocol}",
                proxy_error=proxy_errors.HTTP_UPGRADE_FAILED,
            )
        if asked_in_http2 and _is_websocket(head) and response.get(ACCEPT) != accept(head.get(KEY) or b""):
            raise ProtocolError(
                502,
                "http_upgrade_failed{sec-websocket-accept does not fit the key}",
                proxy_error=proxy_errors.HTTP_UPGRADE_FAILED,
            )
    elif granted and asked_in_http2:
        raise ProtocolError(
            502,
            f"http_upgrade_failed{{the upstream answered {response.status} instead of 101}}",
            proxy_error=proxy_errors.HTTP_UPGRADE_FAILED,
        )


def _grant(head: RequestHead, response: ResponseHead) -> None:
    response.status = 101
    response.upgrade = head.upgrade
    response.length = None
    if _is_websocket(head):
        response.headers = [field for field in response.headers if field[0] != ACCEPT]
        response.headers.append((ACCEPT, accept(head.get(KEY) or b"")))


def accept(key: bytes) -> bytes:
    """What a server answers to a key, to show that it has understood (RFC 6455 section 4.2.2)."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def _is_websocket(head: RequestHead) -> bool:
    return head.upgrade is not None and head.upgrade.lower() == WEBSOCKET
