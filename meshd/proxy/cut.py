"""Why an exchange was ended from outside, and what that means to whoever waited on it."""

from enum import Enum

from meshd.core import flags
from meshd.core.errors import DownstreamError, ProxyError, Resend, UpstreamError
from meshd.core.exchange import Exchange


class Cut(Enum):
    """Why an exchange, or an attempt, was ended from outside. The value is the response code detail."""

    TIMEOUT = "upstream_response_timeout"
    ATTEMPT_TIMEOUT = "upstream_per_try_timeout"
    ATTEMPT_IDLE = "upstream_per_try_idle_timeout"
    IDLE = "stream_idle_timeout"
    GONE = "downstream_remote_disconnect"
    OVERTAKEN = "overtaken_by_hedged_attempt"
    BAD_BODY = "request_body_malformed"
    DRAINED = "drain_deadline"
    SLOW = "downstream_write_blocked"  # others need the connection that its client's slowness holds


OVERDUE = (Cut.TIMEOUT, Cut.ATTEMPT_TIMEOUT, Cut.ATTEMPT_IDLE, Cut.IDLE)
OF_ATTEMPT = (Cut.ATTEMPT_TIMEOUT, Cut.ATTEMPT_IDLE)  # end one attempt, not the exchange


def limit_of(cause: Cut, exchange: Exchange) -> str:
    """Which limit of which document was passed, and after how many attempts, for people; empty where none was."""
    route, tries = exchange.route, len(exchange.attempts)
    if route is None or cause not in OVERDUE:
        return ""
    if cause is Cut.TIMEOUT:
        rpc = exchange.rpc
        if rpc is not None and rpc.deadline == exchange.deadline:
            limit = f"{rpc.deadline - exchange.started:.3g} s (the caller's grpc-timeout)"
        else:
            limit = f"{route.timeout or 0:g} s ({route.timeout_of or 'the time limit of a request'})"
    elif cause is Cut.ATTEMPT_TIMEOUT:
        limit = f"{route.attempt_timeout or 0:g} s ({route.attempt_timeout_of or 'the time limit of an attempt'})"
    elif cause is Cut.ATTEMPT_IDLE:
        limit = f"{route.attempt_idle_timeout or 0:g} s without an octet ({route.attempt_idle_of or 'of an attempt'})"
    else:
        limit = f"{route.idle_timeout:g} s without an octet either way"
    return f"{limit}, after {tries} attempt{'' if tries == 1 else 's'}"


def error_of(cause: Cut, limit: str = "") -> ProxyError:
    """What the exchange, or the attempt, failed with; `limit` is what `limit_of` says of it."""
    details = f"{cause.value}{{{limit}}}" if limit else cause.value
    told = f"upstream request timeout: {limit}" if limit else ""
    if cause is Cut.GONE:
        return DownstreamError(0, flags.DOWNSTREAM_GONE, cause.value)
    if cause is Cut.SLOW:
        return DownstreamError(0, flags.OVERLOAD, cause.value)
    if cause is Cut.BAD_BODY:
        return DownstreamError(400, flags.DOWNSTREAM_PROTOCOL, cause.value)
    if cause in OF_ATTEMPT:
        return UpstreamError(504, flags.REQUEST_TIMEOUT, details, retry=Resend.IF_SAFE, told=told)
    if cause is Cut.IDLE:
        return UpstreamError(504, flags.STREAM_IDLE, details, told=told)
    return UpstreamError(504, flags.REQUEST_TIMEOUT, details, told=told)
