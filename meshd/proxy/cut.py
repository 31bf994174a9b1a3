"""Why an exchange was ended from outside, and what that means to whoever waited on it."""

from enum import Enum

from meshd.core import flags
from meshd.core.errors import DownstreamError, ProxyError, Resend, UpstreamError


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


def error_of(cause: Cut) -> ProxyError:
    """What the exchange, or the attempt, failed with."""
    if cause is Cut.GONE:
        return DownstreamError(0, flags.DOWNSTREAM_GONE, cause.value)
    if cause is Cut.SLOW:
        return DownstreamError(0, flags.OVERLOAD, cause.value)
    if cause is Cut.BAD_BODY:
        return DownstreamError(400, flags.DOWNSTREAM_PROTOCOL, cause.value)
    if cause in OF_ATTEMPT:
        return UpstreamError(504, flags.REQUEST_TIMEOUT, cause.value, retry=Resend.IF_SAFE)
    if cause is Cut.IDLE:
        return UpstreamError(504, flags.STREAM_IDLE, cause.value)
    return UpstreamError(504, flags.REQUEST_TIMEOUT, cause.value)
