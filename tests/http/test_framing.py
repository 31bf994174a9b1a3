"""Where a message ends, and which fields are of one connection only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.errors import ProtocolError
from meshd.http.framing import CONNECTION_FIELDS, MAX_LENGTH, PROTECTED, Framing, tokens, without_nominated


def framing(**fields):
    return Framing({name.replace("_", "-").encode(): values for name, values in fields.items()})


@given(st.integers(0, MAX_LENGTH), st.integers(0, 20))
def test_a_length_is_read_as_the_number_it_is(length, zeros):
    assert framing(content_length=[b"0" * zeros + b"%d" % length]).body_length(b"http/1.1") == length


@pytest.mark.parametrize(
    "lengths",
    [
        [b"5", b"5"],
        [b"5", b"6"],
        [b"5, 5"],
        [b"+5"],
        [b"-5"],
        [b"5 5"],
        [b"0x5"],
        [b"5_0"],
        [b""],
        [b"\xb2"],
        [b"5.0"],
        [b"%d" % (MAX_LENGTH + 1)],
        [b"9" * 20],
    ],
)
def test_any_other_length_is_refused(lengths):
    with pytest.raises(ProtocolError) as caught:
        framing(content_length=lengths).body_length(b"http/1.1")
    assert caught.value.status == 400


def test_thousands_of_zeros_before_a_length_ended_in_a_value_error():
    with pytest.raises(ProtocolError, match="invalid or repeated content-length"):
        framing(content_length=[b"0" * 5000 + b"5"]).body_length(b"http/1.1")


@given(st.binary(max_size=30))
def test_whatever_a_length_says_it_is_a_number_or_refused(value):
    try:
        length = framing(content_length=[value]).content_length()
    except ProtocolError:
        return
    assert value.isdigit()
    assert length == int(value)


def test_without_fields_there_is_no_body_declared():
    assert framing().body_length(b"http/1.1") is None


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"CHUNKED"])
def test_chunked_has_no_length(coding):
    message = framing(transfer_encoding=[coding])
    assert message.body_length(b"http/1.1") is None
    assert message.chunked


@pytest.mark.parametrize(
    ("codings", "status"),
    [
        ([b"gzip, chunked"], 501),
        ([b"gzip"], 501),
        ([b"chunked", b"chunked"], 501),
        ([b"chunked, chunked"], 501),
        ([b"identity"], 400),
        ([b"xchunked"], 400),
        ([b"chunked;q=1"], 400),
        ([b"\x0bchunked"], 400),
        ([b""], 400),
        ([b"chunked", b"cow"], 400),
    ],
)
def test_other_codings_are_refused(codings, status):
    with pytest.raises(ProtocolError) as caught:
        framing(transfer_encoding=codings).body_length(b"http/1.1")
    assert caught.value.status == status


def test_two_ways_of_framing_are_refused():
    with pytest.raises(ProtocolError, match="together"):
        framing(transfer_encoding=[b"chunked"], content_length=[b"5"]).body_length(b"http/1.1")


def test_a_coding_in_http_1_0_is_refused():
    with pytest.raises(ProtocolError, match=r"HTTP/1\.0"):
        framing(transfer_encoding=[b"chunked"]).body_length(b"http/1.0")


@pytest.mark.parametrize(
    ("values", "new", "old"),
    [
        ([], True, False),
        ([b"close"], False, False),
        ([b"Keep-Alive"], True, True),
        ([b"keep-alive", b"x, CLOSE"], False, False),
        ([b"closed"], True, False),
        ([b"keep-alive, Upgrade"], True, True),
    ],
)
def test_who_goes_on_after_the_message(values, new, old):
    message = framing(connection=values) if values else framing()
    assert message.keeps_alive(b"http/1.1") is new
    assert message.keeps_alive(b"http/1.0") is old


@given(st.lists(st.lists(st.sampled_from([b"a", b"Close", b"keep-alive", b"upgrade", b""]), min_size=1), min_size=1))
def test_a_list_over_several_fields_is_one_list(members):
    values = [b" ,\t".join(each) for each in members]
    assert tokens(values) == {member.lower() for each in members for member in each}


@given(st.sets(st.sampled_from([b"a", b"b", b"close", b"keep-alive", b"x-meshd-peer", b"cookie", b"via"])))
def test_nominated_fields_go_but_for_those_that_others_rely_on(connection):
    headers = [(name, b"1") for name in (b"a", b"b", b"c", b"x-meshd-peer", b"cookie", b"via")]
    kept = without_nominated(headers, frozenset(connection))
    lost = {name for name, _ in headers} - {name for name, _ in kept}
    assert lost == connection & {b"a", b"b"}
    assert kept == [field for field in headers if field[0] not in lost]


def test_what_is_framed_is_not_what_others_rely_on():
    assert not CONNECTION_FIELDS & PROTECTED
