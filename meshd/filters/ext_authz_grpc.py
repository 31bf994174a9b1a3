"""Authorizers that are asked by gRPC: envoy.service.auth.v3.Authorization/Check.

Sources: Envoy's ext_authz over gRPC (source/extensions/filters/common/ext_authz/{check_request_utils,
ext_authz_grpc_impl}.cc and source/extensions/filters/http/ext_authz/ext_authz.cc). The authorizer sees the whole head,
who sent it to whom, and as much body as is said. Its answer edits fields of the request, its query, and fields of the
response; or is the refusal, as it stands. Rule 1: an answer that is not understood in full is none: not one field of it
is acted on. Rule 2: where a request goes is not the authorizer's to say, so one that would set `:path` or `host` is
such an answer; and fields that belong to one connection stay out of it. Rule 3: a field of the request is the
authorizer's word, in the place of what the client said, unless it says `append`: so Envoy 1.40 was seen to do, whatever
`append_action` says, and a client must not be able to keep a field that an authorizer sets.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from meshd.core.exchange import Exchange
from meshd.core.head import Headers, RequestHead
from meshd.core.reply import Reply
from meshd.core.spelling import fold_all, without, without_other_spellings
from meshd.filters.authz import Entry
from meshd.filters.ext_authz import PARTIAL_BODY, PLAIN_TEXT, Answer, Check, Question, Shown, will_tell
from meshd.http.check_message import (
    ADD_IF_ABSENT,
    APPEND,
    JOIN,
    METHOD,
    OVERWRITE,
    OVERWRITE_IF_EXISTS,
    Approval,
    CheckRequest,
    CheckResponse,
    Mutation,
    Party,
    Refusal,
    decode_response,
    encode_request,
)
from meshd.http.fields import TOKEN, is_value
from meshd.http.framing import CONNECTION_FIELDS
from meshd.http.grpc import CONTENT_TYPE, format_timeout, frame, is_grpc, status_of, unframe
from meshd.http.protobuf import NoMessage

PROTOCOLS: Final = {b"http/1.0": b"HTTP/1.0", b"http/1.1": b"HTTP/1.1", b"h2": b"HTTP/2"}
TRACED: Final = frozenset((b"traceparent", b"tracestate", b"x-request-id"))  # of the request, said of the call as well
BILLION: Final = 10**9
WHERE_THERE: Final = frozenset((APPEND, OVERWRITE, OVERWRITE_IF_EXISTS, JOIN))  # what acts where a field is there
WHERE_ABSENT: Final = frozenset((APPEND, OVERWRITE, ADD_IF_ABSENT))
_PARAMETER: Final = re.compile(rb"[A-Za-z0-9._~!$'()*+,;:@/?%-]*")  # what needs no escape between `&` and `=`


@dataclass(frozen=True, slots=True)
class GrpcCheck(Check):
    """One such authorizer."""

    authority: bytes
    principal: bytes  # our own
    clock: Callable[[], float]  # seconds of the wall clock

    def question(self, exchange: Exchange, body: Shown | None) -> Question:
        """The call of gRPC."""
        head = RequestHead(b"POST", METHOD, self.authority)
        head.protocol = b"h2"  # it is spoken in nothing else
        head.headers = [(b"content-type", CONTENT_TYPE), (b"te", b"trailers")]
        timeout = self.asking.route.timeout
        if timeout:
            head.headers.append((b"grpc-timeout", format_timeout(timeout)))
        head.headers += [field for field in exchange.head.headers if field[0] in TRACED]
        head.length = None  # its messages say how long they are
        return Question(head, frame(encode_request(self._request(exchange, body))))

    def _request(self, exchange: Exchange, body: Shown | None) -> CheckRequest:
        head, peer = exchange.head, exchange.peer
        seconds, nanos = divmod(round(self.clock() * BILLION), BILLION)
        return CheckRequest(
            source=Party(peer.address.encode(), peer.port, peer.spiffe_id.encode()),
            destination=Party(peer.local_address.encode(), peer.local_port, self.principal if peer.tls else b""),
            seconds=seconds,
            nanos=nanos,
            id=exchange.request_id,
            method=head.method,
            headers=_fields(head, body),
            path=head.target,
            host=head.authority,
            scheme=head.scheme,
            size=_size(head, body),
            protocol=PROTOCOLS[head.protocol],
            body=as_text(body.octets) if body is not None and not self._as_octets else b"",
            raw_body=body.octets if body is not None and self._as_octets else b"",
        )

    @property
    def _as_octets(self) -> bool:
        return self.asking.body is not None and self.asking.body.as_octets

    def judge(self, exchange: Exchange, entry: Entry, answer: Answer | None) -> Reply | None:
        """By the status in the message."""
        found = read_answer(answer) if answer is not None else None
        if isinstance(found, str):
            exchange.note("ext_authz_error", found)
        if found is None or isinstance(found, str):
            return self.failed(exchange, entry)
        if not found.code:
            exchange.note("ext_authz", f"{self.asking.name} 0")
            _take_over(exchange, found.approved or Approval())
            return None
        if found.failed is not None:
            status = found.failed.status or self.asking.status_on_error
            exchange.note("ext_authz_error", f"the authorizer failed with {found.code}")
            refusal = self.denied(exchange, entry, status, *_told(found.failed)) if not self.asking.fail_open else None
            return self.failed(exchange, entry, refusal)
        exchange.note("ext_authz", f"{self.asking.name} {found.code}")
        denied = found.denied or Refusal()
        return self.denied(exchange, entry, denied.status or 403, *_told(denied))


def read_answer(answer: Answer) -> CheckResponse | str:
    """The message of a call that went well, all of it fit to be acted on; else what is wrong with it."""
    head = answer.head
    if head.status != 200 or not is_grpc(head.get(b"content-type")):
        return f"no answer of gRPC but {head.status}"
    value = head.get(b"grpc-status") or next((value for name, value in answer.trailers if name == b"grpc-status"), None)
    if (status := status_of(value)) != 0:
        return f"grpc-status {status}"
    message = unframe(answer.body)
    if message is None:
        return "not one plain message"
    try:
        found = decode_response(message)
    except NoMessage as error:
        return str(error)
    return _fault(found) or found


def _fault(found: CheckResponse) -> str:
    """What of an answer cannot be acted on; nothing where all can."""
    approved = found.approved or Approval()
    edits: list[Mutation] = [*approved.headers, *approved.response_headers]
    for refusal in (found.denied, found.failed):
        if refusal is not None:
            edits += refusal.headers
            if refusal.status and not 200 <= refusal.status < 600:
                return f"there is no status {refusal.status}"
    for edit in edits:
        name = edit.name.decode("ascii", "backslashreplace")
        if not TOKEN.fullmatch(edit.name):
            return f"{name!r} is no name of a field, or not one to set"
        if not is_value(edit.value):
            return f"the value for {name!r} cannot stand in a field"
    if any(edit.name.lower() == b"host" for edit in approved.headers):
        return "host is not a field to set"
    if not all(_PARAMETER.fullmatch(part) for pair in approved.set_query for part in pair):
        return "a parameter of the query is not escaped"
    return ""


# -- what is sent ------------------------------------------------------------------------------------------------------


def _fields(head: RequestHead, body: Shown | None) -> dict[bytes, bytes]:
    """Each field once, and the parts of the request line as HTTP/2 names them, for authorizers look for those too."""
    found = {
        b":authority": head.authority,
        b":method": head.method,
        b":path": head.target,
        b":scheme": head.scheme,
    }
    for name, value in head.headers:
        if name in found:
            found[name] += (b"; " if name == b"cookie" else b",") + as_text(value)
        else:
            found[name] = as_text(value)
    found.pop(PARTIAL_BODY, None)
    if body is not None:
        found[PARTIAL_BODY] = b"true" if body.partial else b"false"
    return found


def _size(head: RequestHead, body: Shown | None) -> int:
    if head.length is not None:
        return head.length
    return len(body.octets) if body is not None and not body.partial else -1


def as_text(octets: bytes) -> bytes:
    """Octets that are UTF-8: each that is part of no character becomes an exclamation mark, as with Envoy."""
    try:
        octets.decode()
    except UnicodeDecodeError:
        text = octets.decode("utf-8", "surrogateescape")
        return "".join("!" if "\udc80" <= each <= "\udcff" else each for each in text).encode()
    return octets


# -- what becomes of the answer ----------------------------------------------------------------------------------------


def _take_over(exchange: Exchange, approved: Approval) -> None:
    head = exchange.head
    if approved.headers or approved.remove:
        headers = without_other_spellings(head.headers, [each.name.lower() for each in approved.headers])
        edited = apply(headers, map(of_request, approved.headers))
        head.headers = without(edited, fold_all(name.lower() for name in approved.remove))
        head.changed()
    if approved.set_query or approved.remove_query:
        head.query = edit_query(head.query, approved.set_query, approved.remove_query)
    if approved.response_headers:
        edits = tuple(map(of_response, approved.response_headers))
        will_tell(exchange, lambda headers: apply(headers, edits))


def _told(refusal: Refusal) -> tuple[Headers, bytes]:
    """Fields and body of a refusal."""
    return apply([(b"content-type", PLAIN_TEXT)], map(of_response, refusal.headers)), refusal.body


def of_request(edit: Mutation) -> Mutation:
    """What an edit means for a request, by rule 3."""
    return edit if edit.action == JOIN else edit._replace(action=OVERWRITE)


def of_response(edit: Mutation) -> Mutation:
    """What an edit means for a response, where `append: true` is one field more."""
    return edit._replace(action=APPEND) if edit.action == JOIN else edit


def apply(headers: Headers, mutations: Iterable[Mutation]) -> Headers:
    """Fields after these edits, in their order; what belongs to one connection is passed over."""
    found = list(headers)
    for each in mutations:
        name = each.name.lower()
        there = [place for place, field in enumerate(found) if field[0] == name]
        if name in CONNECTION_FIELDS or each.action not in (WHERE_THERE if there else WHERE_ABSENT):
            continue
        if each.action == JOIN:
            found[there[0]] = name, found[there[0]][1] + b"," + each.value
            continue
        if each.action != APPEND:
            found = [field for field in found if field[0] != name]
        found.append((name, each.value))
    return found


def edit_query(query: bytes | None, new: Iterable[tuple[bytes, bytes]], gone: Iterable[bytes]) -> bytes | None:
    """A query with these parameters set, each once, and without those; None when nothing is left of it."""
    pairs = [pair.partition(b"=") for pair in query.split(b"&") if pair] if query else []
    for key, value in new:
        at = next((place for place, pair in enumerate(pairs) if pair[0] == key), len(pairs))
        pairs[at:] = [(key, b"=", value), *[pair for pair in pairs[at:] if pair[0] != key]]
    without = set(gone)
    return b"&".join([b"".join(pair) for pair in pairs if pair[0] not in without]) or None
