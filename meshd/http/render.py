"""Our own replies as responses: every one says who made it and why.

Proxy-Status is RFC 9209: in full to mesh peers and to our own app, the bare error type to strangers. Callers that speak
gRPC get their status in gRPC's words (`grpc`).
"""

from dataclasses import replace

from meshd.core.head import Headers, RequestHead, ResponseHead
from meshd.core.reply import Reply
from meshd.http.grpc import OWN_STATUS, UNKNOWN, is_grpc, trailers_only

UNPROCESSED = b"unprocessed"  # a parameter that is true (RFC 8941 section 3.1.2); see `proxy_status.py`
_DETAILS_LIMIT = 512  # octets of cause in a header field


def render_reply(reply: Reply, request: RequestHead, name: bytes, *, stranger: bool) -> tuple[ResponseHead, bytes]:
    """The response head and body that tell a caller of `reply`. `name` is how this proxy calls itself."""
    headers: Headers = list(reply.headers)
    if reply.told and not stranger:
        reply = replace(reply, body=reply.told)
    if reply.error is not None:
        headers.append((b"proxy-status", proxy_status(reply, name, stranger=stranger)))
    if reply.error is not None and is_grpc(request.get(b"content-type")):
        return _grpc(reply, headers), b""
    body = reply.body
    if body:
        headers.append((b"content-type", reply.content_type))
        if reply.error is not None and not reply.verbatim and not body.endswith(b"\n"):
            body += b"\n"
    head = ResponseHead(reply.status, headers, len(body))
    return head, body


def proxy_status(reply: Reply, name: bytes, *, stranger: bool) -> bytes:
    """One member of a Proxy-Status list."""
    assert reply.error is not None
    member = b"%b; error=%b" % (quote(name), reply.error.encode())
    cause = " ".join(part for part in (reply.flag, reply.details) if part)
    if stranger:
        return member
    if reply.alert:  # RFC 9209 section 2.3.15
        member += b"; alert-message=" + quote(reply.alert.encode("ascii", "replace"))
    if reply.unprocessed:
        member += b"; " + UNPROCESSED
    if not cause:
        return member
    return member + b"; details=" + quote(cause.encode("ascii", "replace")[:_DETAILS_LIMIT])


def quote(text: bytes) -> bytes:
    """A structured-fields string (RFC 8941 section 3.3.3): printable ASCII, quotes and backslashes escaped."""
    plain = bytes(octet if 0x20 <= octet < 0x7F else 0x3F for octet in text)
    return b'"' + plain.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _grpc(reply: Reply, headers: Headers) -> ResponseHead:
    """The same in gRPC's words."""
    status = reply.grpc_status if reply.grpc_status is not None else OWN_STATUS.get(reply.status, UNKNOWN)
    return trailers_only(status, reply.body or reply.details.encode("utf-8", "replace"), headers)
