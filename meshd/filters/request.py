"""RequestPolicy: sizes of bodies, and answers of our own.

A request that says how long it is, and is too long, is refused before a byte of it is read. Of one that does not say,
and of responses, the forwarder counts what it relays: the step only tells it where to stop. Several policies may each
set a limit; the lowest holds.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from meshd.config.request_policy import RequestPolicy, RequestRule, Respond
from meshd.core import flags, proxy_errors
from meshd.core.asked import NO_LIMIT, Asked
from meshd.core.chain import EMPTY_CHAIN, Chain
from meshd.core.exchange import Exchange
from meshd.core.matches import Matches
from meshd.core.reply import Reply
from meshd.filters.attachment import CompileMatch

TOO_LARGE = Reply(
    413,
    flags.DOWNSTREAM_PROTOCOL,
    "request_payload_too_large",
    proxy_errors.HTTP_REQUEST_ERROR,
    body=b"request body too large",
)


@dataclass(frozen=True, slots=True)
class GuardRule:
    """One rule, ready to act. Octets."""

    matches: Matches | None
    max_request: float
    max_response: float
    reply: Reply | None


def request_chain(policies: Iterable[RequestPolicy], compile_match: CompileMatch) -> Chain:
    """A step for each policy, in the order given."""
    steps = tuple(
        RequestGuard(tuple(_rule(rule, compile_match) for rule in policy.spec.rules)).step for policy in policies
    )
    return Chain(steps) if steps else EMPTY_CHAIN


def _rule(rule: RequestRule, compile_match: CompileMatch) -> GuardRule:
    return GuardRule(
        matches=compile_match(rule.match) if rule.match is not None else None,
        max_request=NO_LIMIT if rule.max_request_body is None else rule.max_request_body,
        max_response=NO_LIMIT if rule.max_response_body is None else rule.max_response_body,
        reply=_reply(rule.respond) if rule.respond is not None else None,
    )


def _reply(respond: Respond) -> Reply:
    return Reply(
        respond.status,
        details="direct_response",
        headers=tuple((each.name.lower().encode(), each.value.encode()) for each in respond.headers),
        body=respond.body.encode(),
        content_type=respond.content_type.encode(),
    )


class RequestGuard:
    """The rules of one policy."""

    __slots__ = ("rules",)

    def __init__(self, rules: tuple[GuardRule, ...]) -> None:
        self.rules = rules

    def step(self, exchange: Exchange) -> Reply | None:
        """Let the first rule that takes the request act; one that takes it by one of several values or readings acts,
        and leaves the next its turn."""
        for rule in self.rules:
            matches = rule.matches
            if matches is not None and not matches.may(exchange.head):
                continue
            reply = rule.reply if rule.reply is not None else _limit(rule, exchange)
            if reply is not None or matches is None or matches.must(exchange.head):
                return reply
        return None

    def __repr__(self) -> str:
        return f"<RequestGuard of {len(self.rules)} rules>"


def _limit(rule: GuardRule, exchange: Exchange) -> Reply | None:
    length = exchange.head.length
    if length is not None and length > rule.max_request:
        return TOO_LARGE
    asked = exchange.asked
    if asked is None:
        asked = exchange.asked = Asked()
    asked.max_request = min(asked.max_request, rule.max_request)
    asked.max_response = min(asked.max_response, rule.max_response)
    return None
