"""One seam, two libraries, the same answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.http2 import LIBRARIES, block, names, values

from meshd.http.h2_hpack import BadHeaderBlock
from meshd.http.h2_library import FieldDecoder, HeaderListTooLarge, Secret, choose, load

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
    with pytest.raises(HeaderListTooLarge):
        FieldDecoder(library, 65536).decode(b"\x82" * 3000)


class Panic(BaseException):
    """What a Rust panic looks like."""


Panic.__name__ = "PanicException"


@libraries
@pytest.mark.parametrize(
    ("raised", "seen"), [(ValueError, BadHeaderBlock), (Panic, BadHeaderBlock), (KeyboardInterrupt, KeyboardInterrupt)]
)
def test_whatever_the_decoder_trips_over_is_a_bad_block(library, raised, seen):
    class Tripping:
        def decode(self, _, *, raw):
            raise raised(raw)

    decoder = FieldDecoder(library, 65536)
    decoder._decoder = Tripping()
    with pytest.raises(seen):
        decoder.decode(b"\x82")
