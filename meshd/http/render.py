"""Our own replies as responses: every one says who made it and why.

Proxy-Status is RFC 9209: in full to mesh peers and to our own app, the bare error type to strangers. Callers that speak
gRPC get their status in gRPC's words (grpc/grpc doc/http-grpc-status-mapping.md, refined as linkerd2-proxy does).
"""

from meshd.core.head import Headers, RequestHead, ResponseHead
from meshd.core.reply import Reply

GRPC_STATUS = {
    400: 13,
    401: 16,
    403: 7,
    404: 5,
    408: 4,
    409: 10,
    429: 8,
    500: 13,
    501: 12,
    502: 14,
    503: 14,
    504: 4,
    508: 10,
}
GRPC_UNKNOWN = 2
_DETAILS_LIMIT = 512  # octets of cause in a header field


def render_reply(reply: Reply, request: RequestHead, name: bytes, *, stranger: bool) -> tuple[ResponseHead, bytes]:
    """The response head and body that tell a caller of `reply`. `name` is how this proxy calls itself."""
    headers: Headers = list(reply.headers)
    if reply.error is not None:
        headers.append((b"proxy-status", proxy_status(reply, name, stranger=stranger)))
    content_type = request.get(b"content-type") or b""
    if content_type.startswith(b"application/grpc") and reply.error is not None:
        return _grpc(reply, headers), b""
    body = reply.body
    if body:
        headers.append((b"content-type", reply.content_type))
        if reply.error is not None and not body.endswith(b"\n"):
            body += b"\n"
    head = ResponseHead(reply.status, headers, len(body))
    return head, body


def proxy_status(reply: Reply, name: bytes, *, stranger: bool) -> bytes:
    """One member of a Proxy-Status list."""
    assert reply.error is not None
    member = b"%b; error=%b" % (quote(name), reply.error.encode())
    cause = " ".join(part for part in (reply.flag, reply.details) if part)
    if stranger or not cause:
        return member
    return member + b"; details=" + quote(cause.encode("ascii", "replace")[:_DETAILS_LIMIT])


def quote(text: bytes) -> bytes:
    """A structured-fields string (RFC 8941 section 3.3.3): printable ASCII, quotes and backslashes escaped."""
    plain = bytes(octet if 0x20 <= octet < 0x7F else 0x3F for octet in text)
    return b'"' + plain.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _grpc(reply: Reply, headers: Headers) -> ResponseHead:
    """Trailers-only: HTTP 200 with the status where a client looks for it."""
    status = reply.grpc_status if reply.grpc_status is not None else GRPC_STATUS.get(reply.status, GRPC_UNKNOWN)
    message = reply.body or reply.details.encode("utf-8", "replace")
    headers.append((b"content-type", b"application/grpc"))
    headers.append((b"grpc-status", b"%d" % status))
    headers.append((b"grpc-message", percent_encode(message)))
    return ResponseHead(200, headers, 0)


def percent_encode(message: bytes) -> bytes:
    """The encoding that gRPC wants of grpc-message: printable ASCII but for the percent sign stays as it is."""
    return b"".join(b"%c" % octet if 0x20 <= octet < 0x7F and octet != 0x25 else b"%%%02X" % octet for octet in message)
