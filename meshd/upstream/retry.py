"""Whether a request is sent again: one pure decision, with its reason.

Rule 1: nothing that may have been executed is sent again unless its method, or its Idempotency-Key, says that doing it
twice is doing it once. Rule 2: never more than the policy's attempts, never outside the budget, never after the response
head went downstream (the caller is asked only before that). The conditions are Envoy's words (router_filter.rst), so that
`retry_on` means here what it means there. A pooled connection that turns out dead costs neither an attempt of the policy
nor the budget once: it says nothing about the endpoint.
"""

from dataclasses import dataclass
from random import Random

from meshd.core import flags
from meshd.core.errors import Resend, UpstreamError
from meshd.core.exchange import Attempt, Exchange
from meshd.core.head import ResponseHead
from meshd.core.route import RetryPolicy
from meshd.upstream.budget import Budget

GATEWAY_ERRORS = frozenset((502, 503, 504))
# gRPC status in the response head → the condition that names it
GRPC = {
    b"1": "cancelled",
    b"4": "deadline-exceeded",
    b"13": "internal",
    b"8": "resource-exhausted",
    b"14": "unavailable",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """Yes or no, why, and the response flag that a no deserves."""

    retry: bool
    reason: str
    flag: str = ""


NOT_ASKED = Decision(retry=False, reason="")


def should_retry(
    exchange: Exchange,
    outcome: UpstreamError | ResponseHead,
    policy: RetryPolicy,
    budget: Budget,
    now: float,
    *,
    replayable: bool,
) -> Decision:
    """Decide about the attempt that just ended with `outcome`."""
    attempt = exchange.attempts[-1]
    conditions = _conditions(outcome, policy)
    if not conditions:
        return NOT_ASKED
    safe = exchange.head.method in policy.safe_methods or exchange.head.get(b"idempotency-key") is not None
    allowed = conditions & policy.any_method or (safe and conditions & policy.safe_only)
    if not allowed:
        unsafe = conditions & policy.safe_only and not safe
        method = exchange.head.method.decode("latin-1")
        why = (
            f"{method} is not safe to repeat" if unsafe else f"{', '.join(sorted(conditions))} is not retried by policy"
        )
        return Decision(retry=False, reason=why)
    if not replayable:
        return Decision(retry=False, reason=f"the request body is larger than {policy.buffer} octets")
    if _was_stale(outcome, exchange.attempts):
        return Decision(retry=True, reason="the pooled connection was dead")
    if len(exchange.attempts) - _stale_attempts(exchange.attempts) > policy.attempts:
        return Decision(retry=False, reason=f"no attempts left of {policy.attempts + 1}", flag=flags.RETRY_LIMIT)
    if now >= exchange.deadline:
        return Decision(retry=False, reason="no time left before the deadline")
    if not budget.withdraw(now):
        return Decision(retry=False, reason="retry budget exhausted", flag=flags.RETRY_BUDGET)
    attempt.verdict = "retried"
    return Decision(retry=True, reason=", ".join(sorted(allowed)))


def _conditions(outcome: UpstreamError | ResponseHead, policy: RetryPolicy) -> set[str]:
    """Every condition of the vocabulary that the outcome meets."""
    if isinstance(outcome, UpstreamError):
        return _conditions_of_error(outcome)
    status = outcome.status
    if status < 400:
        grpc = outcome.get(b"grpc-status")
        return {GRPC[grpc]} if grpc in GRPC else set()
    found = set()
    if status >= 500:
        found.add("5xx")
    if status in GATEWAY_ERRORS:
        found.add("gateway-error")
    if status == 409:
        found.add("retriable-4xx")
    if status in policy.codes:
        found.add("retriable-status-codes")
    return found


def _conditions_of_error(error: UpstreamError) -> set[str]:
    if error.retry is Resend.NEVER:
        return set()
    if error.flag == flags.REQUEST_TIMEOUT:
        return {"5xx", "gateway-error", "reset"} if error.retry is Resend.IF_SAFE else set()
    found = {"5xx"}
    if error.retry is Resend.UNSENT:
        found.add("connect-failure" if error.flag in _CONNECT else "reset-before-request")
    if error.flag == flags.REMOTE_RESET and error.retry is Resend.UNSENT:
        found.add("refused-stream")
    if error.flag not in _CONNECT:
        found.add("reset")
    return found


_CONNECT = frozenset((flags.CONNECTION_FAILURE, flags.DNS_FAILED, flags.NO_HEALTHY_UPSTREAM))


def _was_stale(outcome: UpstreamError | ResponseHead, attempts: list[Attempt]) -> bool:
    """Whether the connection died of its idleness: no octet of a response on one that was used before. Free once."""
    if not isinstance(outcome, UpstreamError) or not attempts[-1].connection_uses:
        return False
    return outcome.retry in (Resend.REUSED, Resend.UNSENT) and _stale_attempts(attempts[:-1]) == 0


def _stale_attempts(attempts: list[Attempt]) -> int:
    return sum(1 for attempt in attempts if attempt.verdict == "the pooled connection was dead")


def backoff(retry: int, policy: RetryPolicy, random: Random) -> float:
    """Seconds before retry number `retry` (from 1): full jitter over [0, (2^N - 1) B), the interval capped."""
    return random.random() * min((2**retry - 1) * policy.backoff_base, policy.backoff_max)
