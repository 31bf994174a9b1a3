"""Questions and answers of gRPC authorizers, read and written as the library of protocol buffers does."""

from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st
from support import check_proto

from meshd.http.check_message import (
    JOIN,
    METHOD,
    OVERWRITE,
    Approval,
    CheckRequest,
    CheckResponse,
    Mutation,
    Party,
    Refusal,
    decode_response,
    encode_request,
)
from meshd.http.protobuf import NoMessage

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
octets = texts.map(str.encode)
parties = st.builds(Party, octets, st.integers(0, 65535), octets)
requests = st.builds(
    CheckRequest,
    source=parties,
    destination=parties,
    seconds=st.integers(0, 2**40),
    nanos=st.integers(0, 10**9 - 1),
    id=octets,
    method=octets,
    headers=st.dictionaries(octets, octets, max_size=4),
    path=octets,
    host=octets,
    scheme=octets,
    size=st.integers(-1, 2**62),
    protocol=octets,
    body=octets,
    raw_body=st.binary(max_size=6),
)


def test_the_method():
    assert METHOD.decode() == check_proto.METHOD


@given(requests)
def test_the_library_reads_what_was_meant(request):
    read = check_proto.CheckRequest.FromString(encode_request(request)).attributes
    http = read.request.http
    for name in ("id", "method", "path", "host", "scheme", "size", "protocol", "body", "raw_body"):
        meant = getattr(request, name)
        found = getattr(http, name)
        assert (found.encode() if isinstance(found, str) else found) == meant, name
    assert {key.encode(): value.encode() for key, value in http.headers.items()} == dict(request.headers)
    assert (read.request.time.seconds, read.request.time.nanos) == (request.seconds, request.nanos)
    for party, peer in ((request.source, read.source), (request.destination, read.destination)):
        address = peer.address.socket_address
        told = address.address.encode(), address.port_value, peer.principal.encode()
        assert told == (party.address, party.port if party.address else 0, party.principal)


@given(requests)
def test_nothing_is_said_that_the_proto_does_not_know(request):
    read = check_proto.CheckRequest.FromString(encode_request(request))
    read.DiscardUnknownFields()
    again = check_proto.CheckRequest.FromString(encode_request(request))
    assert read.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)


pairs = st.fixed_dictionaries({"key": texts, "value": texts})
options = st.fixed_dictionaries(
    {"header": pairs}, optional={"append": st.fixed_dictionaries({"value": st.booleans()})}
) | st.fixed_dictionaries({"header": pairs, "append_action": st.integers(0, 3)})
many = st.lists(options, max_size=3)
refusals = st.fixed_dictionaries(
    {}, optional={"status": st.fixed_dictionaries({"code": st.integers(0, 600)}), "headers": many, "body": texts}
)
approvals = st.fixed_dictionaries(
    {},
    optional={
        "headers": many,
        "headers_to_remove": st.lists(texts, max_size=2),
        "response_headers_to_add": many,
        "query_parameters_to_set": st.lists(pairs, max_size=2),
        "query_parameters_to_remove": st.lists(texts, max_size=2),
    },
)
statuses = st.fixed_dictionaries({"code": st.integers(-(2**31), 2**31 - 1), "message": texts})
answers = st.builds(
    lambda status, kind: {"status": status} | kind,
    statuses,
    st.just({})
    | refusals.map(lambda each: {"denied_response": each})
    | refusals.map(lambda each: {"error_response": each})
    | approvals.map(lambda each: {"ok_response": each}),
)


def mutations(messages):
    found = []
    for each in messages:
        action = each.append_action
        if each.HasField("append"):
            action = JOIN if each.append.value else OVERWRITE
        found.append(Mutation(each.header.key.encode(), each.header.value.encode(), action))
    return tuple(found)


def refusal(message):
    return Refusal(message.status.code, mutations(message.headers), message.body.encode())


def as_ours(message):
    """What the library read, in our words."""
    kind = message.WhichOneof("http_response")
    found = {}
    if kind == "denied_response":
        found["denied"] = refusal(message.denied_response)
    elif kind == "error_response":
        found["failed"] = refusal(message.error_response)
    elif kind == "ok_response":
        ok = message.ok_response
        found["approved"] = Approval(
            mutations(ok.headers),
            tuple(each.encode() for each in ok.headers_to_remove),
            mutations(ok.response_headers_to_add),
            tuple((each.key.encode(), each.value.encode()) for each in ok.query_parameters_to_set),
            tuple(each.encode() for each in ok.query_parameters_to_remove),
        )
    return CheckResponse(message.status.code, **found)


@given(answers)
def test_what_the_library_writes_is_read_as_it_was_meant(answer):
    written = check_proto.CheckResponse(**answer)
    assert decode_response(written.SerializeToString()) == as_ours(written)


@given(answers, answers)
@example({"denied_response": {"body": "a"}}, {"denied_response": {"status": {"code": 401}}})
@example({"ok_response": {"headers_to_remove": ["a"]}}, {"ok_response": {"headers_to_remove": ["b"]}})
@example({"denied_response": {"body": "a"}, "status": {"code": 7}}, {"ok_response": {}})
def test_two_messages_one_after_the_other_are_one(one, two):
    written = b"".join(check_proto.CheckResponse(**each).SerializeToString() for each in (one, two))
    assert decode_response(written) == as_ours(check_proto.CheckResponse.FromString(written))


def has_unknown_action(message):
    kinds = message.denied_response, message.error_response, message.ok_response
    edits = [each for kind in kinds for each in kind.headers] + [*message.ok_response.response_headers_to_add]
    return any(not each.HasField("append") and not 0 <= each.append_action <= 3 for each in edits)


@given(answers, st.integers(0, 60), st.binary(max_size=3))
@example({"status": {"code": 0}}, 0, b"\x0b\x0c")  # a group: of proto2, refused
def test_whatever_else_is_read_the_library_reads_alike(answer, at, noise):
    written = check_proto.CheckResponse(**answer).SerializeToString()
    changed = written[:at] + noise + written[at + len(noise) :]
    try:
        ours = decode_response(changed)
    except NoMessage:
        return
    try:
        theirs = check_proto.CheckResponse.FromString(changed)
    except DecodeError:
        return  # a text that is of no interest here, such as the message of a status
    assert not has_unknown_action(theirs)
    assert ours == as_ours(theirs)


@given(st.binary(max_size=60))
def test_any_octets_are_an_answer_or_no_message(octets):
    try:
        found = decode_response(octets)
    except NoMessage as error:
        found = str(error)
    assert found
