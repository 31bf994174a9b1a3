"""Field lines: strictly in, safely out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.http1 import FIELDS

from meshd.core.errors import ProtocolError
from meshd.http.fields import check_octets, check_partial, is_value, read_fields, render_fields


@given(FIELDS)
def test_fields_written_are_read_back(fields):
    block = render_fields(b"first\r\n", fields, b"last: 1\r\n")
    assert block.endswith(b"\r\n\r\n")
    lines = check_octets(block)
    assert read_fields(block, len(b"first\r\n"), lines - 2) == [*fields, (b"last", b"1")]


@given(FIELDS, st.sampled_from([b"", b" ", b"\t", b" \t "]), st.sampled_from([b"", b" ", b"\t", b" \t "]))
def test_white_space_around_a_value_is_not_of_it(fields, before, behind):
    block = b"".join(b"%b:%b%b%b\r\n" % (name, before, value, behind) for name, value in fields)
    assert read_fields(block, 0, len(fields)) == fields


@given(st.binary(max_size=30))
def test_a_block_of_text_and_crlf_passes_and_nothing_else(block):
    rest = block.replace(b"\r\n", b"")
    clean = all((octet >= 0x20 and octet != 0x7F) or octet == 0x09 for octet in rest)
    try:
        lines = check_octets(block)
    except ProtocolError:
        assert not clean
        return
    assert clean
    assert lines == block.count(b"\r\n")


@given(st.lists(st.sampled_from([b"a: b\r\n", b"\r\n", b"x", b"\r", b"\n", b"\0"])).map(b"".join), st.integers(0, 40))
def test_the_beginning_of_a_good_block_is_not_refused(block, length):
    try:
        check_octets(block)
    except ProtocolError:
        return
    check_partial(block[:length])


@pytest.mark.parametrize("count", [127, 128, 129, 1000])
def test_blocks_of_many_lines(count):
    block = b"a: b\r\n" * count
    assert check_octets(block) == count
    assert len(read_fields(block, 0, count)) == count


@pytest.mark.parametrize(
    "line", [b"a", b": b", b"a : b", b" a: b", b"\ta: b", b"a\tb: c", b"a(b): c", b"\xe4: b", b"a b: c", b""]
)
def test_a_line_that_is_no_field_is_refused(line):
    with pytest.raises(ProtocolError, match="malformed field line"):
        read_fields(b"x: y\r\n" + line + b"\r\n", 0, 2)


@given(st.binary(max_size=20))
def test_a_value_is_what_stays_within_its_field(value):
    inside = not set(value) & {*range(0x09), *range(0x0A, 0x20), 0x7F}
    assert is_value(value) is inside
