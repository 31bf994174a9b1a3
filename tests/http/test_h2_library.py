"""One seam, two libraries, the same answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.http2 import GET, LIBRARIES, block, names, values

from meshd.http.h2_library import BadHeaderBlock, FieldDecoder, HeaderListTooLarge, Secret, choose, load, size_updates

libraries = pytest.mark.parametrize("library", LIBRARIES, ids=repr)


def test_the_fast_one_is_taken_when_it_is_there():
    assert choose({}) == "jh2"


@pytest.mark.parametrize("name", ["h2", "jh2"])
def test_the_environment_decides(name):
    assert choose({"MESHD_H2": name}) == name
    assert load(name).name == name


def test_an_unknown_name_is_an_error_that_names_the_valid_ones():
    with pytest.raises(ValueError, match="'nghttp2': valid values are jh2 and h2"):
        choose({"MESHD_H2": "nghttp2"})


@libraries
@given(fields=st.lists(st.tuples(names, values), max_size=10))
def test_literals_are_decoded_as_they_were_written(library, fields):
    assert FieldDecoder(library, 65536).decode(block(fields)) == fields


@libraries
@given(octets=st.binary(max_size=60))
def test_any_octets_are_fields_or_a_known_error(library, octets):
    try:
        fields = FieldDecoder(library, 65536).decode(octets)
    except (BadHeaderBlock, HeaderListTooLarge):
        return
    assert all(type(part) is bytes for field in fields for part in field)


@given(octets=st.binary(max_size=60))
def test_both_libraries_decode_alike(octets):
    found = []
    for library in LIBRARIES:
        try:
            found.append(FieldDecoder(library, 65536).decode(octets))
        except BadHeaderBlock:
            found.append(None)
    if None not in found:
        assert found[0] == found[1]


@libraries
def test_a_field_that_must_not_be_indexed_stays_secret(library):
    decoder = FieldDecoder(library, 65536)
    never = b"\x10" + block([(b"x-token", b"s")])[1:]
    [plain, secret] = decoder.decode(block([(b"x-open", b"o")]) + never)
    assert type(plain) is tuple
    assert type(secret) is Secret


@libraries
def test_decoding_stops_at_the_limit(library):
    bomb = b"\x40" + block([(b"a", b"b" * 4000)])[1:] + b"\xbe" * 1000
    with pytest.raises(HeaderListTooLarge):
        FieldDecoder(library, 65536).decode(bomb)


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
