"""Whether a request is sent again: one pure decision, with its reason.

Rule 1: what may have been executed is sent again only if its method, an Idempotency-Key, or the route says that doing
it twice is doing it once; what never left us may always. Rule 2: never more than the policy's attempts, never outside
the budget, never past the deadline, never after the response head went downstream, never with half a body. The
conditions are Envoy's words (router_filter.rst), so that `retry_on` means here what it means there. gRPC statuses are
judged in response heads only; those in trailers come after the head went downstream.

Rule 3: an answer that the sidecar of the callee made itself is final, unless it says that nothing of the request
reached the app, which makes it safe for every method, or that the app broke the connection off, which it leaves to us
because we may go elsewhere. So over the pair one side tries again, never both. Rule 4: what a connection that was going
away did not take up was no attempt: it goes again at once whatever the policy says, and spends no budget.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Final

from meshd.core import flags, proxy_errors
from meshd.core.errors import UNPROCESSED, ProxyError, Resend, Side
from meshd.core.exchange import Exchange
from meshd.core.head import ResponseHead
from meshd.core.route import RetryPolicy
from meshd.http.proxy_status import OwnAnswer
from meshd.upstream.budget import Budget

GRPC: Final = {
    b"1": "cancelled",
    b"4": "deadline-exceeded",
    b"8": "resource-exhausted",
    b"13": "internal",
    b"14": "unavailable",
}
NO_CONNECTION: Final = (flags.CONNECTION_FAILURE, flags.DNS_FAILED, flags.NO_HEALTHY_UPSTREAM)
UNREACHABLE: Final = frozenset(
    {
        proxy_errors.CONNECTION_REFUSED,
        proxy_errors.CONNECTION_TIMEOUT,
        proxy_errors.DESTINATION_UNAVAILABLE,
        proxy_errors.DESTINATION_IP_UNROUTABLE,
        proxy_errors.DNS_ERROR,
        proxy_errors.DNS_TIMEOUT,
    }
)
NO_ANSWER: Final = frozenset({"5xx", "gateway-error", "reset"})
CONNECT_FAILURE: Final = frozenset({"5xx", "gateway-error", "connect-failure"})
REFUSED_STREAM: Final = NO_ANSWER | {"refused-stream", "reset-before-request"}
RESET_BEFORE_REQUEST: Final = NO_ANSWER | {"reset-before-request"}
NOTHING: Final[frozenset[str]] = frozenset()
SERVER_ERROR: Final = frozenset({"5xx"})
GATEWAY_ERROR: Final = frozenset({"5xx", "gateway-error"})
OF_STATUS: Final = {
    409: frozenset({"retriable-4xx"}),
    502: GATEWAY_ERROR,
    503: GATEWAY_ERROR,
    504: GATEWAY_ERROR,
}
PATIENCE: Final = 1.5  # times what a response asks to wait: jitter, so that not everybody comes back at once
MOST_MOVES: Final = 20  # times one request meets a connection that is going away; more of it is a failure like others
MOVES_AT_ONCE: Final = 5  # of those; a server that does nothing else gets pauses
MOST_DIGITS: Final = 12
TELLING: Final = frozenset({b"grpc-status", b"x-envoy-ratelimited"})  # fields that are a condition with any status
# Met only when the policy lists codes or fields, which is asking for them.
LISTED: Final = frozenset({"retriable-status-codes", "retriable-headers"})


@dataclass(frozen=True, slots=True)
class Decision:
    """Yes or no, why, and the response flag that a no deserves. `at_once`: a pooled connection had died, which says
    nothing about the endpoint and needs no back-off."""

    retry: bool
    reason: str
    flag: str = ""
    at_once: bool = False
    fresh: bool = False  # on a new connection: others that are idle may have died with this one


NOT_ASKED: Final = Decision(retry=False, reason="")
RESPONDED: Final = Decision(retry=False, reason="the response head went downstream already")
OFF: Final = Decision(retry=False, reason="the route allows no retries")
NO_TIME: Final = Decision(retry=False, reason="no time left before the deadline")
NO_BUDGET: Final = Decision(retry=False, reason="retry budget exhausted", flag=flags.RETRY_BUDGET)
FINAL: Final = Decision(retry=False, reason="this failure is final")
OWN: Final = Decision(retry=False, reason="the sidecar of the callee answered itself, and the app may have been asked")
AGAIN: Final = Decision(retry=True, reason="the connection was going away and had not taken it up", at_once=True)
AGAIN_LATER: Final = replace(AGAIN, at_once=False)
FULL: Final = Decision(retry=False, reason="a limit was reached; asking again would not help")


def should_retry(
    exchange: Exchange,
    outcome: ProxyError | ResponseHead | OwnAnswer,
    policy: RetryPolicy,
    budget: Budget,
    now: float,
    *,
    replayable: bool,
) -> Decision:
    """Decide about the attempt of `exchange` that just ended with `outcome`. A yes is counted in the budget.

    `replayable`: every octet of the body that was read is kept, so that the next attempt can begin with all of it.
    """
    judged = _judge(outcome, policy)
    if isinstance(judged, Decision):
        return judged
    conditions, resend = judged
    if exchange.responded:
        return RESPONDED
    moved = [attempt.resend for attempt in exchange.attempts].count(Resend.MOVED)
    if resend is Resend.MOVED and replayable and moved <= MOST_MOVES:
        return AGAIN if moved <= MOVES_AT_ONCE else AGAIN_LATER
    if not policy.attempts:
        return OFF
    reason = _granted(conditions, exchange, policy, resend)
    if isinstance(reason, Decision):
        return reason
    if not replayable:
        return _refusal(f"the request body is larger than {policy.buffer} octets, which is all that is kept")
    tries = len(exchange.attempts) - moved
    if tries > policy.attempts:
        return Decision(retry=False, reason=f"no attempts left of {policy.attempts + 1}", flag=flags.RETRY_LIMIT)
    at_once = resend is Resend.REUSED
    if isinstance(outcome, ProxyError) and resend is Resend.UNSENT:
        at_once = exchange.attempts[-1].connection_uses > 0
    if now + (0.0 if at_once else longest_backoff(tries, policy)) >= exchange.deadline:
        return NO_TIME
    if not budget.withdraw(now):
        return NO_BUDGET
    return Decision(retry=True, reason=reason, at_once=at_once, fresh=at_once)


def may_be_failure(response: ResponseHead, policy: RetryPolicy) -> bool:
    """Whether it is worth asking `should_retry` about this response: most are answers."""
    if response.status >= 400 or policy.headers or policy.codes:
        return True
    for name, _ in response.headers:  # noqa: SIM110  # a generator costs more than the loop
        if name in TELLING:
            return True
    return False


def may_hedge(exchange: Exchange, policy: RetryPolicy, budget: Budget, now: float, *, whole: bool) -> Decision:
    """Decide about a second try beside the one under way, which may both be executed. A yes is counted in the budget.

    `whole`: all of the request body is kept.
    """
    head, tries = exchange.head, len(exchange.attempts)
    if head.upgrade is not None or not policy.attempts:
        return OFF
    if head.method not in policy.safe_methods and head.get(b"idempotency-key") is None:
        return _refusal(f"{head.method.decode('latin-1')} is not safe to repeat")
    if not whole:
        return _refusal("not all of the request body is here, or it is more than is kept")
    if tries > policy.attempts:
        return Decision(retry=False, reason=f"no attempts left of {policy.attempts + 1}", flag=flags.RETRY_LIMIT)
    if not budget.withdraw(now):
        return NO_BUDGET
    return Decision(retry=True, reason="hedged: no answer within the time of one attempt", at_once=True)


def _judge(
    outcome: ProxyError | ResponseHead | OwnAnswer, policy: RetryPolicy
) -> tuple[frozenset[str], Resend] | Decision:
    """Every condition that the outcome meets, and who may send again after it; or that it is final."""
    if isinstance(outcome, OwnAnswer):
        conditions = (_conditions_of_response(outcome.response, policy) & LISTED) | _conditions_of_own(outcome)
        resend = Resend.UNSENT if outcome.is_unprocessed else Resend.IF_SAFE
        return (conditions, resend) if conditions else OWN
    if isinstance(outcome, ResponseHead):
        conditions = _conditions_of_response(outcome, policy)
        if conditions:
            return conditions, Resend.IF_SAFE
        return NOT_ASKED if outcome.status < 500 else _refusal(f"{outcome.status} is not retried by policy")
    conditions = _conditions_of_error(outcome)
    if conditions:
        return conditions, outcome.retry
    return FULL if outcome.flag == flags.OVERFLOW else FINAL


def _granted(conditions: frozenset[str], exchange: Exchange, policy: RetryPolicy, resend: Resend) -> str | Decision:
    """What of the policy allows it, or the refusal."""
    granted = conditions & policy.any_method
    if granted:
        return "retried: " + ", ".join(sorted(granted))
    head = exchange.head
    granted = conditions & (policy.safe_only | LISTED)
    if not granted and resend is not Resend.REUSED:
        return _refusal(f"{', '.join(sorted(conditions))}: not retried by policy")
    safe = (
        resend in (Resend.UNSENT, Resend.MOVED)
        or head.method in policy.safe_methods
        or head.get(b"idempotency-key") is not None
    )
    if not safe:
        return _refusal(f"{head.method.decode('latin-1')} is not safe to repeat")
    # Whatever the conditions: RFC 9112 section 9.3.1 has a client repeat a safe request when an idle connection ended.
    return (
        "retried: the pooled connection was dead"
        if resend is Resend.REUSED
        else f"retried: {', '.join(sorted(granted))}"
    )


def _refusal(reason: str) -> Decision:
    return Decision(retry=False, reason=reason)


def _conditions_of_response(head: ResponseHead, policy: RetryPolicy) -> frozenset[str]:
    """Every condition of the vocabulary that a response meets."""
    status, fields = head.status, policy.headers
    found = OF_STATUS.get(status, SERVER_ERROR if status >= 500 else NOTHING)
    for name, value in head.headers:
        if name == b"grpc-status":
            if value in GRPC:
                found |= {GRPC[value]}
        elif name == b"x-envoy-ratelimited":
            return frozenset({"envoy-ratelimited"})  # only to be retried by that name
        if fields and name in fields:
            found |= {"retriable-headers"}
    if policy.codes and status in policy.codes:
        found |= {"retriable-status-codes"}
    return found


def _conditions_of_error(error: ProxyError) -> frozenset[str]:
    """Every condition that a failure meets; none for what is never to be repeated."""
    if error.retry is Resend.NEVER or error.side is not Side.UPSTREAM or error.flag == flags.OVERFLOW:
        return NOTHING
    if error.retry not in UNPROCESSED:
        return NO_ANSWER
    if error.flag in NO_CONNECTION:
        return CONNECT_FAILURE
    return REFUSED_STREAM if error.flag == flags.REMOTE_RESET else RESET_BEFORE_REQUEST


def _conditions_of_own(own: OwnAnswer) -> frozenset[str]:
    """Every condition that an answer of the callee's sidecar meets."""
    if own.is_unprocessed:
        return CONNECT_FAILURE if own.error in UNREACHABLE else RESET_BEFORE_REQUEST
    return NO_ANSWER if own.error == proxy_errors.CONNECTION_TERMINATED else NOTHING


def asked_pause(response: ResponseHead, policy: RetryPolicy, wall_clock: float) -> float | None:
    """Seconds that a response asks to wait before the next attempt, by the first field of the policy that says so and
    asks for no more than is allowed; None when none does. `wall_clock`: seconds since 1970."""
    for name, is_time in policy.resets:
        value = response.get(name)
        if value is not None and len(value) <= MOST_DIGITS and value.isdigit():
            seconds = int(value) - wall_clock if is_time else float(value)
            if 0 < seconds <= policy.reset_max:
                return seconds
    return None


def longest_backoff(n: int, policy: RetryPolicy) -> float:
    """Seconds that the wait before retry number `n` (from 1) stays below."""
    longest = min((1 << min(n, 32)) * policy.backoff_base - policy.backoff_base, policy.backoff_max)
    return max(longest, policy.backoff_min)


def backoff(n: int, policy: RetryPolicy, random: Random) -> float:
    """Seconds before retry number `n` (from 1): full jitter over [min, (2^n - 1) x base), the interval capped."""
    least = policy.backoff_min
    return least + random.random() * (longest_backoff(n, policy) - least)
