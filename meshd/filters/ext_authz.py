"""AuthorizationPolicies with action CUSTOM: what an authorizer outside is asked, and what its answer means.

Sources: istio/api mesh/v1alpha1/config.proto (EnvoyExternalAuthorizationHttpProvider), Envoy's ext_authz over HTTP. The
asking itself is `proxy/gate.py`. An authorizer that fails, or answers with 5xx, denies, unless it is said to fail open.
"""

from dataclasses import dataclass
from typing import Final

from meshd.config.extension_provider import ExtensionProvider
from meshd.core import flags
from meshd.core.asked import Asked
from meshd.core.chain import EMPTY_CHAIN, Chain
from meshd.core.decision import Verdict
from meshd.core.exchange import Exchange
from meshd.core.head import Headers, RequestHead, ResponseHead
from meshd.core.reply import Reply
from meshd.core.route import Route
from meshd.filters.authz import Entry
from meshd.filters.rule_index import RuleIndex
from meshd.filters.strings import BytesTest, compile_strings
from meshd.http.framing import CONNECTION_FIELDS

ALWAYS_ASKED: Final = frozenset((b"authorization", b"traceparent", b"tracestate", b"x-request-id"))
ALWAYS_TOLD: Final = frozenset((b"location", b"www-authenticate", b"proxy-authenticate", b"set-cookie"))


@dataclass(frozen=True, slots=True)
class Answer:
    """What the authorizer said: its head and the whole of its body."""

    head: ResponseHead
    body: bytes


@dataclass(frozen=True, slots=True)
class Check:
    """One authorizer and the rules that ask it."""

    name: str
    cluster: str
    route: Route  # of the question: its time-out and retries
    rules: RuleIndex[Entry]
    prefix: bytes
    asked: BytesTest  # fields of the request that the authorizer sees
    added: tuple[tuple[bytes, bytes], ...]  # fields that it sees beside them
    to_app: BytesTest  # fields of its answer that take the place of the request's
    to_client: BytesTest | None  # fields of its answer that a refused client sees; None for all
    to_client_on_allow: BytesTest
    fail_open: bool
    status_on_error: int

    def question(self, exchange: Exchange) -> RequestHead:
        """The request without its body, and of its fields only those that the authorizer is to see."""
        head = exchange.head
        path = head.path if head.path.startswith(b"/") else b"/"
        fresh = RequestHead(head.method, (self.prefix + path) if self.prefix else path, head.authority)
        fresh.query = head.query
        replaced = {name for name, _ in self.added}
        fresh.headers = [
            field
            for field in head.headers
            if (field[0] in ALWAYS_ASKED or self.asked(field[0])) and field[0] not in replaced
        ]
        fresh.headers += self.added
        return fresh

    def judge(self, exchange: Exchange, entry: Entry, answer: Answer | None) -> Reply | None:
        """Allow, and take over what the authorizer says of the request; or why not. None is an answer that failed."""
        if answer is None or answer.head.status >= 500:
            return self._failed(exchange, entry)
        status, fields = answer.head.status, _plain(answer.head.headers)
        exchange.note("ext_authz", f"{self.name} {status}")
        if status == 200:
            self._take_over(exchange, fields)
            return None
        exchange.verdict = _verdict(entry, allowed=False)
        told = [field for field in fields if self._is_told(field[0])]
        kind = next((value for name, value in fields if name == b"content-type"), b"text/plain")
        return Reply(
            status if status >= 300 else 403,
            flags.EXTERNAL_AUTHORIZER,
            f"ext_authz_denied{{{entry.detail}}}",
            "http_request_denied",
            headers=tuple(field for field in told if field[0] != b"content-type"),
            body=answer.body,
            content_type=kind,
        )

    def _failed(self, exchange: Exchange, entry: Entry) -> Reply | None:
        exchange.note("ext_authz", f"{self.name} failed")
        if self.fail_open:
            return None
        exchange.verdict = _verdict(entry, allowed=False)
        details = f"ext_authz_error{{{entry.detail}}}"
        return Reply(self.status_on_error, flags.EXTERNAL_AUTHORIZER, details, "http_request_denied", body=b"denied")

    def _is_told(self, name: bytes) -> bool:
        return self.to_client is None or name in ALWAYS_TOLD or self.to_client(name)

    def _take_over(self, exchange: Exchange, fields: Headers) -> None:
        head = exchange.head
        new = [field for field in fields if self.to_app(field[0])]
        if new:
            names = {name for name, _ in new}
            head.headers = [field for field in head.headers if field[0] not in names] + new
            head.changed()
        told = [field for field in fields if self.to_client_on_allow(field[0])]
        if told:
            exchange.asked = exchange.asked or Asked()
            exchange.asked.told = told


@dataclass(frozen=True, slots=True)
class Gate:
    """What must be passed before anything else is decided: who calls (tokens), then the authorizers outside."""

    checks: tuple[Check, ...]
    before: Chain = EMPTY_CHAIN


def compile_check(provider: ExtensionProvider, rules: RuleIndex[Entry], cluster: str) -> Check:
    """The check of one provider, whose service is `cluster`."""
    given = provider.envoy_ext_authz_http
    assert given is not None  # the document's own rule
    denied, added = given.headers_to_downstream_on_deny, given.include_additional_headers_in_check
    return Check(
        name=provider.name,
        cluster=cluster,
        route=Route(f"ext_authz/{provider.name}", timeout=given.timeout),
        rules=rules,
        prefix=given.path_prefix.rstrip("/").encode(),
        asked=_names(given.include_request_headers_in_check),
        added=tuple((name.lower().encode(), value.encode()) for name, value in added.items()),
        to_app=_names(given.headers_to_upstream_on_allow),
        to_client=_names(denied) if denied else None,
        to_client_on_allow=_names(given.headers_to_downstream_on_allow),
        fail_open=given.fail_open,
        status_on_error=int(given.status_on_error),
    )


def tell(exchange: Exchange, head: ResponseHead) -> None:
    """Response step: what authorizers want an admitted client to see."""
    if exchange.asked is not None and exchange.asked.told:
        names = {name for name, _ in exchange.asked.told}
        head.headers = [field for field in head.headers if field[0] not in names] + exchange.asked.told


def _names(patterns: tuple[str, ...]) -> BytesTest:
    """A test on the lower-case name of a field."""
    return compile_strings(tuple(pattern.lower() for pattern in patterns))


def _plain(fields: Headers) -> Headers:
    """Without what belongs to the authorizer's own connection and hop."""
    return [field for field in fields if field[0] not in CONNECTION_FIELDS and field[0] not in _ITS_OWN]


_ITS_OWN: Final = frozenset((b"via", b"date", b"server", b"proxy-status"))


def _verdict(entry: Entry, *, allowed: bool) -> Verdict:
    return Verdict(allowed, "CUSTOM", entry.verdict.policy, entry.verdict.rule)
