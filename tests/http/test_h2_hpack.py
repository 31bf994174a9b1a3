"""The shape of header blocks: what the strict decoder reads, the lax one reads alike, and it never panics."""

import pytest
from hpack import Encoder
from hpack.exceptions import HPACKError
from hpack.huffman_table import decode_huffman
from hypothesis import given
from hypothesis import strategies as st
from support.http2 import GET, LIBRARIES, block, names, values

from meshd.http.h2_hpack import BadHeaderBlock, count_fields, size_updates
from meshd.http.h2_library import FieldDecoder

STRICT, LAX = [next(library for library in LIBRARIES if library.name == name) for name in ("h2", "jh2")]
encoded = st.builds(
    lambda fields, huffman: Encoder().encode(fields, huffman=huffman),
    st.lists(st.tuples(names, values | st.binary(max_size=300)), max_size=8),
    st.booleans(),
)


@given(fields=st.lists(st.tuples(names, values | st.binary(max_size=300)), max_size=8), huffman=st.booleans())
def test_whatever_an_encoder_writes_has_the_right_shape(fields, huffman):
    encoder = Encoder()
    for _ in range(2):  # first as literals, then out of the table
        assert count_fields(encoder.encode(fields, huffman=huffman)) == len(fields)


@given(octets=encoded, cut=st.integers(1, 400), flip=st.integers(0, 4000))
def test_what_is_cut_off_or_damaged_is_read_alike_if_it_can_be_read(octets, cut, flip):
    for damaged in (octets[:-cut], _flipped(octets, flip)):
        read = decoded(LAX, damaged)
        assert read == (decoded(STRICT, damaged) or read)


@given(st.binary(max_size=60))
def test_any_octets_are_read_alike_if_they_can_be_read(octets):
    read = decoded(LAX, octets)
    assert read == (decoded(STRICT, octets) or read)


@given(st.binary(min_size=1, max_size=40))
def test_a_string_is_huffmans_code_where_a_decoder_says_so(octets):
    octets = octets[:-1] + bytes((octets[-1] & 0xFE,))  # others are not looked at
    try:
        decode_huffman(octets)
        valid = True
    except HPACKError:
        valid = False
    string = bytes((0x80 | len(octets),)) + octets
    try:
        assert count_fields(b"\x10\x01x" + string) == 1
        assert valid
    except BadHeaderBlock:
        assert not valid


def decoded(library, octets):
    try:
        return FieldDecoder(library, 65536).decode(octets)
    except BadHeaderBlock:
        return None


def _flipped(octets, bit):
    if not octets:
        return octets
    place = bit // 8 % len(octets)
    return octets[:place] + bytes((octets[place] ^ 1 << bit % 8,)) + octets[place + 1 :]


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"\x82\x20", "behind a field"),
        (b"\x00\x01x", "ends within"),
        (b"\x00", "ends within"),
        (b"\x00\x05ab", "ends within"),
        (b"\xff\xff", "ends within"),
        (b"\x00\x7f" + b"\xff" * 8, "without bounds"),
        (b"\x00\x01x\x81\x18", "Huffman"),  # "a" is 00011, and 000 is no padding
    ],
)
def test_what_is_wrong_is_said(octets, why):
    with pytest.raises(BadHeaderBlock, match=why):
        count_fields(octets)


@pytest.mark.parametrize(
    ("octets", "count"),
    [
        (b"", 0),
        (block(GET), 0),
        (b"\x20" + block(GET), 1),
        (b"\x3f\xe1\x1f\x20" + block(GET), 2),
        (b"\x20" * 1000, 3),
        (b"\x3f\xff\xff", 1),
    ],
)
def test_size_updates_are_counted_to_three(octets, count):
    assert size_updates(octets) == count
