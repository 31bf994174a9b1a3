"""The wire format: what is written is read back, and nothing but NoMessage comes of octets that are no message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    varint,
)

# From protobuf.dev/programming-guides/encoding.
BOOK = {
    number_field(1, 150): "089601",
    octets_field(2, b"testing"): "120774657374696e67",
    message_field(3, number_field(1, 150)): "1a03089601",
    number_field(1, -2): "08feffffffffffffffff01",
}


def test_the_examples_of_the_book():
    assert [written.hex() for written in BOOK] == list(BOOK.values())


def test_what_says_nothing_is_left_out_but_a_message_is_there():
    assert (number_field(1, 0), octets_field(1, b""), map_field(1, [])) == (b"", b"", b"")
    assert message_field(1, b"") == b"\x0a\0"


fields = st.lists(st.tuples(st.integers(1, 2**29 - 1), st.integers(1, 2**64 - 1) | st.binary(min_size=1)), max_size=5)


@given(fields)
def test_what_is_written_is_read_back(written):
    message = b"".join(
        octets_field(field, value) if isinstance(value, bytes) else number_field(field, value)
        for field, value in written
    )
    assert list(read_fields(message)) == written


@given(st.binary(max_size=40))
def test_any_octets_are_fields_or_no_message(octets):
    try:
        found = list(read_fields(octets))
    except NoMessage as error:
        found = str(error)
    assert found or not octets


def test_numbers_of_a_fixed_size():
    assert list(read_fields(bytes.fromhex("0901000000000000000d02000000"))) == [(1, 1), (1, 2)]


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        ("08", "a number breaks off"),
        ("0880", "a number breaks off"),
        ("08" + "ff" * 10 + "01", "a number is too long"),
        ("0a0261", "field 1 breaks off"),
        ("09010203", "field 1 breaks off"),
        ("0001", "a field has the number 0"),
        ("0b0c", "field 1 is of the unknown kind 3"),
        ("0f", "field 1 is of the unknown kind 7"),
    ],
)
def test_what_is_no_message(octets, why):
    with pytest.raises(NoMessage, match=why):
        list(read_fields(bytes.fromhex(octets)))


def test_fields_of_another_kind_than_expected():
    assert (text_of("ü".encode()), octets_of(b"\xff"), number_of(7)) == ("ü".encode(), b"\xff", 7)
    for read, value in ((text_of, b"\xff"), (text_of, 1), (octets_of, 1), (number_of, b"")):
        with pytest.raises(NoMessage):
            read(value)


@given(st.integers(0, 2**64 - 1))
def test_a_number_takes_seven_bits_an_octet(value):
    assert len(varint(value)) == max(1, -(-value.bit_length() // 7))
