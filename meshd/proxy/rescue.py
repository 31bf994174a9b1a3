"""From error to reply: the one visible table.

The status is RFC 9209's for the error type, where Envoy would say 503 for a broken upstream; the flag in log and
metrics is Envoy's, so that dashboards carry over.
"""

from collections.abc import Sequence

from meshd.core import flags, proxy_errors
from meshd.core.errors import UNPROCESSED, ProxyError
from meshd.core.exchange import Attempt
from meshd.core.reply import Reply
from meshd.http.grpc import UNAVAILABLE

# Response flag → error type, for what does not carry the type of its cause.
PROXY_STATUS_ERRORS = {
    flags.NO_HEALTHY_UPSTREAM: proxy_errors.DESTINATION_UNAVAILABLE,
    flags.CONNECTION_FAILURE: proxy_errors.CONNECTION_REFUSED,
    flags.CONNECTION_TERMINATION: proxy_errors.CONNECTION_TERMINATED,
    flags.REMOTE_RESET: proxy_errors.CONNECTION_TERMINATED,
    flags.REQUEST_TIMEOUT: proxy_errors.HTTP_RESPONSE_TIMEOUT,
    flags.OVERFLOW: proxy_errors.CONNECTION_LIMIT_REACHED,
    flags.RETRY_LIMIT: proxy_errors.DESTINATION_UNAVAILABLE,
    flags.NO_ROUTE: proxy_errors.DESTINATION_NOT_FOUND,
    flags.NO_CLUSTER: proxy_errors.DESTINATION_UNAVAILABLE,
    flags.RATE_LIMITED: proxy_errors.HTTP_REQUEST_DENIED,
    flags.EXTERNAL_AUTHORIZER: proxy_errors.HTTP_REQUEST_DENIED,
    flags.STREAM_IDLE: proxy_errors.HTTP_RESPONSE_TIMEOUT,
    flags.DOWNSTREAM_PROTOCOL: proxy_errors.HTTP_REQUEST_ERROR,
    flags.UPSTREAM_PROTOCOL: proxy_errors.HTTP_PROTOCOL_ERROR,
    flags.DNS_FAILED: proxy_errors.DNS_ERROR,
    flags.OVERLOAD: proxy_errors.CONNECTION_LIMIT_REACHED,
    flags.DENIED: proxy_errors.HTTP_REQUEST_DENIED,
    flags.EARLY_DATA_REJECTED: proxy_errors.HTTP_REQUEST_DENIED,
    flags.LOOP: proxy_errors.PROXY_LOOP_DETECTED,
    flags.INTERNAL: proxy_errors.PROXY_INTERNAL_ERROR,
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


def rescue(error: ProxyError, attempts: Sequence[Attempt] = ()) -> Reply:
    """The reply that tells the client of `error`; status 0 means that nobody is left to tell.

    `attempts`: those that led to it. When nothing of the request ever left us, the reply says so.
    """
    kind = error.proxy_error or PROXY_STATUS_ERRORS.get(error.flag, proxy_errors.PROXY_INTERNAL_ERROR)
    unprocessed = error.retry in UNPROCESSED and all(attempt.resend in UNPROCESSED for attempt in attempts)
    body = BODIES.get(error.status, b"error")
    told = error.told.encode("utf-8", "replace")
    return Reply(
        error.status, error.flag, error.details, kind, body=body, told=told, unprocessed=unprocessed, alert=error.alert
    )


def malformed(details: str) -> Reply:
    """The reply to a request that can be read but not served."""
    return Reply(400, flags.DOWNSTREAM_PROTOCOL, details, proxy_errors.HTTP_REQUEST_ERROR, body=BODIES[400])


NO_ROUTE = Reply(404, flags.NO_ROUTE, "route_not_found", proxy_errors.DESTINATION_NOT_FOUND, body=BODIES[404])
NO_BACKEND = Reply(
    500,
    flags.NO_CLUSTER,
    "cluster_not_found",
    proxy_errors.DESTINATION_UNAVAILABLE,
    body=b"no valid backend for this route",
    grpc_status=UNAVAILABLE,
)
# Nothing is wrong with the route: somebody drains it. The standard asks for 500 only where every backend is invalid.
NO_WEIGHT = Reply(
    503,
    flags.NO_HEALTHY_UPSTREAM,
    "every_backend_has_weight_0",
    proxy_errors.DESTINATION_UNAVAILABLE,
    body=b"every backend of this route has weight 0",
)
NO_CONNECT = Reply(
    501, flags.NO_ROUTE, "connect_not_served_here", proxy_errors.HTTP_REQUEST_DENIED, body=b"CONNECT is not served here"
)
LOOPED = Reply(508, flags.LOOP, "proxy_loop_detected", proxy_errors.PROXY_LOOP_DETECTED, body=BODIES[508])
CRASHED = Reply(500, flags.INTERNAL, "internal_error", proxy_errors.PROXY_INTERNAL_ERROR, body=BODIES[500])
