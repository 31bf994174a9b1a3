"""AuthorizationPolicies with action CUSTOM: which authorizers outside are asked, and what becomes of their answers.

Sources: istio/api mesh/v1alpha1/config.proto (EnvoyExternalAuthorizationHttpProvider, ...GrpcProvider), Envoy's
ext_authz. How each kind is asked is in `ext_authz_http.py` and `ext_authz_grpc.py`, the asking itself in
`proxy/gate.py`. An authorizer that fails denies, unless it is said to fail open.
"""

from dataclasses import dataclass, field
from typing import Final

from meshd.config.extension_provider import Authorizer
from meshd.core import flags, proxy_errors
from meshd.core.asked import Asked, Edit
from meshd.core.chain import EMPTY_CHAIN, Chain
from meshd.core.decision import Verdict
from meshd.core.exchange import Exchange
from meshd.core.head import Headers, RequestHead, ResponseHead
from meshd.core.reply import Reply
from meshd.core.route import Route
from meshd.filters.authz import Entry
from meshd.filters.rule_index import RuleIndex

PARTIAL_BODY: Final = b"x-envoy-auth-partial-body"
PLAIN_TEXT: Final = b"text/plain"


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """How much of a body an authorizer sees."""

    most: int  # octets
    partial: bool  # the beginning of a larger one will do; else that is refused
    as_octets: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """The octets of a body that an authorizer sees."""

    octets: bytes
    partial: bool  # there are more


@dataclass(frozen=True, slots=True)
class Question:
    """What an authorizer is sent."""

    head: RequestHead
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the authorizer said: its head, the whole of its body, and the trailers."""

    head: ResponseHead
    body: bytes
    trailers: Headers = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Asking:
    """What all checks have, whichever way they ask."""

    name: str
    cluster: str
    route: Route  # of the question: its time-out and retries
    rules: RuleIndex[Entry]  # that ask it
    body: BodyLimit | None
    fail_open: bool
    status_on_error: int


@dataclass(frozen=True, slots=True)
class Check:
    """One authorizer. Each kind says how to ask, and how to read the answer."""

    asking: Asking

    def question(self, exchange: Exchange, body: Shown | None) -> Question:
        """What to send; `body` is None where there is none to show."""
        raise NotImplementedError

    def judge(self, exchange: Exchange, entry: Entry, answer: Answer | None) -> Reply | None:
        """Allow, and take over what the authorizer says of the request; or why not. None is an answer that failed."""
        raise NotImplementedError

    def failed(self, exchange: Exchange, entry: Entry, refusal: Reply | None = None) -> Reply | None:
        """No answer: let it pass where that is said, else `refusal`, or one of our own."""
        asking = self.asking
        exchange.note("ext_authz", f"{asking.name} failed")
        if asking.fail_open:
            return None
        exchange.verdict = verdict_of(entry, allowed=False)
        details = f"ext_authz_error{{{entry.detail}}}"
        if refusal is not None:
            return refusal
        return Reply(
            asking.status_on_error, flags.EXTERNAL_AUTHORIZER, details, proxy_errors.HTTP_REQUEST_DENIED, body=b"denied"
        )

    def denied(self, exchange: Exchange, entry: Entry, status: int, headers: Headers, body: bytes) -> Reply:
        """The authorizer's own refusal."""
        exchange.verdict = verdict_of(entry, allowed=False)
        return Reply(
            status,
            flags.EXTERNAL_AUTHORIZER,
            f"ext_authz_denied{{{entry.detail}}}",
            proxy_errors.HTTP_REQUEST_DENIED,
            headers=tuple(each for each in headers if each[0] != b"content-type"),
            body=body,
            content_type=next((value for name, value in headers if name == b"content-type"), PLAIN_TEXT),
            verbatim=True,
        )


@dataclass(frozen=True, slots=True)
class Gate:
    """What must be passed before anything else is decided: who calls (tokens), then the authorizers outside."""

    checks: tuple[Check, ...]
    before: Chain = EMPTY_CHAIN


def compile_asking(name: str, given: Authorizer, rules: RuleIndex[Entry], cluster: str) -> Asking:
    """What the document of any authorizer says; its service is `cluster`."""
    body = given.include_request_body_in_check
    limit = None
    if body is not None:
        limit = BodyLimit(body.max_request_bytes, body.allow_partial_message, body.pack_as_bytes)
    return Asking(
        name=name,
        cluster=cluster,
        route=Route(f"ext_authz/{name}", timeout=given.timeout),
        rules=rules,
        body=limit,
        fail_open=given.fail_open,
        status_on_error=int(given.status_on_error),
    )


def verdict_of(entry: Entry, *, allowed: bool) -> Verdict:
    """The verdict of a rule that asked."""
    return Verdict(allowed, "CUSTOM", entry.verdict.policy, entry.verdict.rule)


def will_tell(exchange: Exchange, edit: Edit) -> None:
    """Have the response of an admitted request edited."""
    exchange.asked = exchange.asked or Asked()
    exchange.asked.told.append(edit)


def tell(exchange: Exchange, head: ResponseHead) -> None:
    """Response step: what authorizers want an admitted client to see."""
    if exchange.asked is not None:
        for edit in exchange.asked.told:
            head.headers = edit(head.headers)
