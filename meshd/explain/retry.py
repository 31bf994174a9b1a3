"""Whether a request would be sent again after its first attempt failed: the decision that the data path asks for."""

from collections.abc import Mapping
from typing import Final

from meshd.core import flags
from meshd.core.endpoint import Endpoint
from meshd.core.errors import Resend, UpstreamError
from meshd.core.exchange import Attempt
from meshd.core.head import ResponseHead
from meshd.explain.question import MOMENT, Question
from meshd.explain.world import Answer, World
from meshd.upstream.budget import Budget
from meshd.upstream.retry import Decision, should_retry

# How an attempt fails, as the upstream's connections report it.
FAILURES: Final[Mapping[str, UpstreamError]] = {
    "connect-failure": UpstreamError(502, flags.CONNECTION_FAILURE, "connection refused", retry=Resend.UNSENT),
    "refused-stream": UpstreamError(502, flags.REMOTE_RESET, "REFUSED_STREAM", retry=Resend.UNSENT),
    "reset-before-request": UpstreamError(502, flags.CONNECTION_TERMINATION, "reset", retry=Resend.UNSENT),
    "reset": UpstreamError(502, flags.CONNECTION_TERMINATION, "reset", retry=Resend.IF_SAFE),
}


def would_retry(world: World, question: Question, answer: Answer, failure: str) -> Decision | None:
    """The decision after the first attempt; None for a request of which there is none. The budget is fresh."""
    if answer.kind != "forwarded" or answer.route is None:
        return None
    _, exchange = question.begin(world.plan(question))
    exchange.attempts.append(Attempt(Endpoint("192.0.2.1", 80), MOMENT))
    outcome = FAILURES.get(failure) or ResponseHead(int(failure))
    budget = Budget()
    budget.deposit(MOMENT)
    return should_retry(exchange, outcome, answer.route.retry, budget, MOMENT, replayable=True)
