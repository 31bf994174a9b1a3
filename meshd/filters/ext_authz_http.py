"""Authorizers that are asked over HTTP: with the request itself, under a prefix, and their answer is its status.

Source: Envoy's ext_authz over HTTP (source/extensions/filters/common/ext_authz/ext_authz_http_impl.cc). 200 allows,
5xx is a failure, everything else denies. Of the request's fields the authorizer sees only those that it is to see; of
the answer's, those that are named go on to the app and the client.
"""

from dataclasses import dataclass
from typing import Final

from meshd.config.extension_provider import HttpAuthorizer
from meshd.core.exchange import Exchange
from meshd.core.head import Headers, RequestHead
from meshd.core.reply import Reply
from meshd.core.spelling import FOLDS, fold_all, without
from meshd.filters.authz import Entry
from meshd.filters.ext_authz import PARTIAL_BODY, Answer, Asking, Check, Question, Shown, will_tell
from meshd.filters.strings import BytesTest, compile_strings
from meshd.http.framing import CONNECTION_FIELDS

ALWAYS_ASKED: Final = frozenset((b"authorization", b"traceparent", b"tracestate", b"x-request-id"))
ALWAYS_TOLD: Final = frozenset((b"location", b"www-authenticate", b"proxy-authenticate", b"set-cookie"))
REMOVE: Final = b"x-envoy-auth-headers-to-remove"  # of an answer: fields of the request that the app is not to see
_ITS_OWN: Final = frozenset((b"via", b"date", b"server", b"proxy-status", REMOVE))


@dataclass(frozen=True, slots=True)
class HttpCheck(Check):
    """One such authorizer."""

    prefix: bytes
    asked: BytesTest  # fields of the request that the authorizer sees
    added: tuple[tuple[bytes, bytes], ...]  # fields that it sees beside them
    to_app: BytesTest  # fields of its answer that take the place of the request's
    its_word: frozenset[bytes]  # of those, folded: what a client says there unseen by the authorizer is nobody's word
    to_client: BytesTest | None  # fields of its answer that a refused client sees; None for all
    to_client_on_allow: BytesTest

    def question(self, exchange: Exchange, body: Shown | None) -> Question:
        """The request, and of its fields only those that the authorizer is to see."""
        head = exchange.head
        path = head.forwarded_path if head.path.startswith(b"/") else b"/"
        fresh = RequestHead(head.method, (self.prefix + path) if self.prefix else path, head.authority)
        fresh.query = head.query
        replaced = fold_all(name for name, _ in self.added) | {PARTIAL_BODY}
        fresh.headers = [
            field for field in head.headers if self._is_shown(field[0]) and FOLDS[field[0]] not in replaced
        ]
        fresh.headers += self.added
        if body is None:
            return Question(fresh)
        fresh.length = len(body.octets)
        fresh.headers.append((PARTIAL_BODY, b"true" if body.partial else b"false"))
        return Question(fresh, body.octets)

    def _is_shown(self, name: bytes) -> bool:
        """In every spelling: what the app may take for a field, the authorizer is not to miss."""
        return name in ALWAYS_ASKED or self.asked(name) or self.asked(FOLDS[name])

    def judge(self, exchange: Exchange, entry: Entry, answer: Answer | None) -> Reply | None:
        """By the status."""
        if answer is None or answer.head.status >= 500:
            exchange.head.headers = without(exchange.head.headers, self.its_word)  # it may be let in all the same
            exchange.head.changed()
            return self.failed(exchange, entry)
        status, fields = answer.head.status, _plain(answer.head.headers)
        exchange.note("ext_authz", f"{self.asking.name} {status}")
        if status == 200:
            remove = answer.head.get(REMOVE) or b""
            self._take_over(exchange, fields, {name.strip().lower() for name in remove.split(b",")})
            return None
        told = [field for field in fields if self._is_told(field[0])]
        return self.denied(exchange, entry, status if status >= 300 else 403, told, answer.body)

    def _is_told(self, name: bytes) -> bool:
        known = name in ALWAYS_TOLD or name == b"content-type"
        return self.to_client is None or known or self.to_client(name)

    def _take_over(self, exchange: Exchange, fields: Headers, gone: set[bytes]) -> None:
        head = exchange.head
        new = [field for field in fields if self.to_app(field[0])]
        kept = without(head.headers, fold_all(gone) | fold_all(name for name, _ in new) | self.its_word)
        head.headers = kept + [field for field in new if field[0] not in gone]
        head.changed()
        told = [field for field in fields if self.to_client_on_allow(field[0])]
        if told:
            will_tell(exchange, lambda headers: _replaced(headers, told))


def compile_http_check(given: HttpAuthorizer, asking: Asking) -> HttpCheck:
    """The check of one provider.

    A field that it may set and was not shown is taken from the client's request even if the answer does not set it
    (Envoy lets it pass): the app takes it for the authorizer's word. Patterns are left out, they may be meant for more.
    """
    denied, added = given.headers_to_downstream_on_deny, given.include_additional_headers_in_check
    asked = _names(given.include_request_headers_in_check)
    exact = [name.lower().encode() for name in given.headers_to_upstream_on_allow if "*" not in name]
    return HttpCheck(
        asking=asking,
        prefix=given.path_prefix.rstrip("/").encode(),
        asked=asked,
        added=tuple((name.lower().encode(), value.encode()) for name, value in added.items()),
        to_app=_names(given.headers_to_upstream_on_allow),
        its_word=fold_all(name for name in exact if name not in ALWAYS_ASKED and not asked(name)),
        to_client=_names(denied) if denied else None,
        to_client_on_allow=_names(given.headers_to_downstream_on_allow),
    )


def _names(patterns: tuple[str, ...]) -> BytesTest:
    """A test on the lower-case name of a field."""
    return compile_strings(tuple(pattern.lower() for pattern in patterns))


def _plain(fields: Headers) -> Headers:
    """Without what belongs to the authorizer's own connection and hop."""
    return [field for field in fields if field[0] not in CONNECTION_FIELDS and field[0] not in _ITS_OWN]


def _replaced(fields: Headers, new: Headers) -> Headers:
    names = {name for name, _ in new}
    return [field for field in fields if field[0] not in names] + new
