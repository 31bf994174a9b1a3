"""From error to reply: the one visible table.

The status is RFC 9209's for the error type, where Envoy would say 503 for a broken upstream; the flag in log and
metrics is Envoy's, so that dashboards carry over.
"""

from meshd.core import flags
from meshd.core.errors import ProxyError
from meshd.core.reply import Reply

# response flag → error type of RFC 9209 section 2.3
PROXY_STATUS_ERRORS = {
    flags.NO_HEALTHY_UPSTREAM: "destination_unavailable",
    flags.CONNECTION_FAILURE: "connection_refused",
    flags.CONNECTION_TERMINATION: "connection_terminated",
    flags.REMOTE_RESET: "connection_terminated",
    flags.REQUEST_TIMEOUT: "http_response_timeout",
    flags.OVERFLOW: "connection_limit_reached",
    flags.RETRY_LIMIT: "destination_unavailable",
    flags.NO_ROUTE: "destination_not_found",
    flags.NO_CLUSTER: "destination_unavailable",
    flags.RATE_LIMITED: "connection_limit_reached",
    flags.EXTERNAL_AUTHORIZER: "http_request_denied",
    flags.STREAM_IDLE: "http_response_timeout",
    flags.DOWNSTREAM_PROTOCOL: "http_request_error",
    flags.UPSTREAM_PROTOCOL: "http_protocol_error",
    flags.DNS_FAILED: "dns_error",
    flags.OVERLOAD: "connection_limit_reached",
    flags.DENIED: "http_request_denied",
    flags.EARLY_DATA_REJECTED: "http_request_denied",
    flags.LOOP: "proxy_loop_detected",
    flags.INTERNAL: "proxy_internal_error",
}

BODIES = {
    400: b"bad request",
    404: b"no route for this request",
    408: b"request timed out",
    413: b"request body too large",
    414: b"request target too long",
    425: b"too early",
    431: b"request header fields too large",
    500: b"internal error of the proxy",
    501: b"not implemented here",
    502: b"upstream connect error or disconnect before the response",
    503: b"upstream unavailable",
    504: b"upstream request timeout",
    505: b"HTTP version not supported",
    508: b"loop detected",
}

# Causes that say more than their flag does.
TIMED_OUT = "timed out"
RESPONSE_TOO_LARGE = "response_payload_too_large"


def rescue(error: ProxyError) -> Reply:
    """The reply that tells the client of `error`; status 0 means that nobody is left to tell."""
    kind = PROXY_STATUS_ERRORS.get(error.flag, "proxy_internal_error")
    if error.details == RESPONSE_TOO_LARGE:
        kind = "http_response_body_size"
    elif error.flag == flags.CONNECTION_FAILURE:
        kind = _connection_error(error.details)
    return Reply(error.status, error.flag, error.details, kind, body=BODIES.get(error.status, b"error"))


def _connection_error(details: str) -> str:
    """UF covers every way of not getting a connection; RFC 9209 tells them apart."""
    if "TLS" in details:
        return "tls_certificate_error" if "certificate" in details or "identity" in details else "tls_protocol_error"
    if TIMED_OUT in details:
        return "connection_timeout"
    if "unreachable" in details:
        return "destination_ip_unroutable"
    return "connection_refused"


NO_ROUTE = Reply(404, flags.NO_ROUTE, "route_not_found", "destination_not_found", body=BODIES[404])
NO_BACKEND = Reply(
    500, flags.NO_CLUSTER, "cluster_not_found", "destination_unavailable", body=b"no valid backend for this route"
)
NO_CONNECT = Reply(
    501, flags.NO_ROUTE, "connect_not_served_here", "http_request_denied", body=b"CONNECT is not served here"
)
LOOPED = Reply(508, flags.LOOP, "proxy_loop_detected", "proxy_loop_detected", body=BODIES[508])
CRASHED = Reply(500, flags.INTERNAL, "internal_error", "proxy_internal_error", body=BODIES[500])
