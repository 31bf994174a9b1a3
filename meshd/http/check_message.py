"""The two messages of envoy.service.auth.v3.Authorization/Check, as far as a sidecar has something to say or to do.

Source: envoyproxy/envoy api/envoy/service/auth/v3/{external_auth,attribute_context}.proto, and what they use of
api/envoy/config/core/v3/{base,address}.proto, api/envoy/type/v3/http_status.proto and google/rpc/status.proto. Written
by hand, because the library would cost every worker its memory for two messages; named tuples, because every process
imports them and most ask nobody. Texts are octets that are UTF-8. Dynamic metadata in an answer is passed over: there
are no filters here that would read it.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from meshd.http.protobuf import (
    NoMessage,
    map_field,
    message_field,
    number_field,
    number_of,
    octets_field,
    octets_of,
    read_fields,
    text_of,
)

METHOD: Final = b"/envoy.service.auth.v3.Authorization/Check"

# HeaderValueOption.HeaderAppendAction, and the older field that says the same with a truth value
APPEND: Final = 0  # one more, beside those that are there
ADD_IF_ABSENT: Final = 1
OVERWRITE: Final = 2  # in the place of all that are there
OVERWRITE_IF_EXISTS: Final = 3
JOIN: Final = -1  # of our own: `append: true`


class Party(NamedTuple):
    """One end of the connection: AttributeContext.Peer."""

    address: bytes
    port: int
    principal: bytes = b""


class CheckRequest(NamedTuple):
    """The request that an authorizer is asked about."""

    source: Party
    destination: Party
    seconds: int  # of the wall clock, when it came
    nanos: int
    id: bytes
    method: bytes
    headers: Mapping[bytes, bytes]
    path: bytes  # and query
    host: bytes
    scheme: bytes
    size: int  # octets of its body, -1 when not known
    protocol: bytes
    body: bytes = b""
    raw_body: bytes = b""


class Mutation(NamedTuple):
    """What to do to a field of a head."""

    name: bytes
    value: bytes
    action: int = OVERWRITE


class Refusal(NamedTuple):
    """DeniedHttpResponse: what the client is told. `status` is 0 where it is not said."""

    status: int = 0
    headers: tuple[Mutation, ...] = ()
    body: bytes = b""


class Approval(NamedTuple):
    """OkHttpResponse: what becomes of the request, and of the response."""

    headers: tuple[Mutation, ...] = ()
    remove: tuple[bytes, ...] = ()
    response_headers: tuple[Mutation, ...] = ()
    set_query: tuple[tuple[bytes, bytes], ...] = ()
    remove_query: tuple[bytes, ...] = ()


class CheckResponse(NamedTuple):
    """An authorizer's answer. `code` is that of google.rpc.Status; of the other three at most one is there."""

    code: int = 0
    denied: Refusal | None = None
    approved: Approval | None = None
    failed: Refusal | None = None  # it could not decide


# -- writing -----------------------------------------------------------------------------------------------------------


def encode_request(request: CheckRequest) -> bytes:
    """The message."""
    http = b"".join(
        (
            octets_field(1, request.id),
            octets_field(2, request.method),
            map_field(3, request.headers.items()),
            octets_field(4, request.path),
            octets_field(5, request.host),
            octets_field(6, request.scheme),
            number_field(9, request.size),
            octets_field(10, request.protocol),
            octets_field(11, request.body),
            octets_field(12, request.raw_body),
        )
    )
    time = number_field(1, request.seconds) + number_field(2, request.nanos)
    attributes = (
        message_field(1, _party(request.source))
        + message_field(2, _party(request.destination))
        + message_field(4, message_field(1, time) + message_field(2, http))
    )
    return message_field(1, attributes)


def _party(party: Party) -> bytes:
    if not party.address:
        return octets_field(4, party.principal)
    socket = octets_field(2, party.address) + number_field(3, party.port)
    return message_field(1, message_field(1, socket)) + octets_field(4, party.principal)


# -- reading -----------------------------------------------------------------------------------------------------------


def decode_response(message: bytes) -> CheckResponse:
    """The answer. Raises NoMessage.

    A message that comes twice is both in one, which is what their octets one after the other say; of several kinds of
    answer the last one counts.
    """
    status, kind, answer = b"", 0, b""
    for field, value in read_fields(message):
        if field == 1:
            status += octets_of(value)
        elif field in (2, 3, 5):
            answer = (answer if field == kind else b"") + octets_of(value)
            kind = field
    code = _int32(_number(status, 1))
    if kind == 3:
        return CheckResponse(code, approved=_approval(answer))
    if kind == 5:
        return CheckResponse(code, failed=_refusal(answer))
    return CheckResponse(code, denied=_refusal(answer) if kind else None)


def _refusal(message: bytes) -> Refusal:
    status, headers, body = b"", [], b""
    for field, value in read_fields(message):
        if field == 1:
            status += octets_of(value)
        elif field == 2:
            headers.append(_mutation(octets_of(value)))
        elif field == 3:
            body = text_of(value)
    return Refusal(_int32(_number(status, 1)), tuple(headers), body)


def _approval(message: bytes) -> Approval:
    headers, response, remove, query, remove_query = [], [], [], [], []
    for field, value in read_fields(message):
        if field == 2:
            headers.append(_mutation(octets_of(value)))
        elif field == 5:
            remove.append(text_of(value))
        elif field == 6:
            response.append(_mutation(octets_of(value)))
        elif field == 7:
            query.append(_pair(octets_of(value)))
        elif field == 8:
            remove_query.append(text_of(value))
    return Approval(tuple(headers), tuple(remove), tuple(response), tuple(query), tuple(remove_query))


def _mutation(message: bytes) -> Mutation:
    header, append, action = b"", None, APPEND
    for field, value in read_fields(message):
        if field == 1:
            header += octets_of(value)
        elif field == 2:
            append = (append or b"") + octets_of(value)
        elif field == 3:
            action = _int32(number_of(value))
    if append is not None:
        action = JOIN if _number(append, 1) else OVERWRITE
    elif not APPEND <= action <= OVERWRITE_IF_EXISTS:
        raise NoMessage(f"there is no HeaderAppendAction {action}")
    name, text = _pair(header)
    return Mutation(name, text, action)


def _pair(message: bytes) -> tuple[bytes, bytes]:
    """HeaderValue and QueryParameter: a key and a value."""
    found = {1: b"", 2: b""}
    for field, value in read_fields(message):
        if field in found:
            found[field] = text_of(value)
    return found[1], found[2]


def _number(message: bytes, wanted: int) -> int:
    """A number of a message that is otherwise of no interest."""
    found = 0
    for field, value in read_fields(message):
        if field == wanted:
            found = number_of(value)
    return found


def _int32(value: int) -> int:
    """The lower 32 bits, signed, as every reader of such a field takes them."""
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value
