"""The shape of an HPACK block, without its meaning (RFC 7541 section 6).

jh2's decoder panics on blocks that are cut off, takes a change of the table's size anywhere, and does not look at the
padding of Huffman strings. It is asked only about blocks that pass here; of the padding, only what ends in a zero is
looked at, for the rest would cost as much as decoding and can do no harm but to its sender.
"""

from array import array

from hpack.huffman_table import HUFFMAN_COMPLETE, HUFFMAN_FAIL, HUFFMAN_TABLE

# Where an octet leads from each of the 256 states between two octets of Huffman's code; learnt as they are met.
_UNKNOWN, _NOWHERE = -2, -1
_NEXT = array("h", [_UNKNOWN]) * 65536


class BadHeaderBlock(Exception):
    """Octets that are no HPACK: the compression state is lost, and the connection with it."""


def count_fields(block: bytes) -> int:
    """The number of fields in a block of whole representations, changes of the table's size first.

    Raises BadHeaderBlock for any other.
    """
    place, size, fields = 0, len(block), 0
    try:
        while place < size:
            octet = block[place]
            if octet >= 0x80:
                place = place + 1 if octet != 0xFF else _after_integer(block, place, 0x7F)
            elif octet >> 5 == 1:
                if fields:
                    raise BadHeaderBlock("a change of the table's size behind a field")
                place = _after_integer(block, place, 0x1F)
                continue
            else:
                mask = 0x3F if octet >= 0x40 else 0x0F
                place = place + 1 if octet & mask != mask else _after_integer(block, place, mask)
                if not octet & mask:
                    place = _after_string(block, place)
                length = block[place]
                place = place + 1 + length if length < 0x7F else _after_string(block, place)
            fields += 1
    except IndexError as error:
        raise BadHeaderBlock("a block that ends within a field") from error
    if place != size:
        raise BadHeaderBlock("a block that ends within a field")
    return fields


def _after_integer(block: bytes, place: int, mask: int) -> int:
    if block[place] & mask != mask:
        return place + 1
    place += 1
    while block[place] & 0x80:
        place += 1
    return place + 1


def _after_string(block: bytes, place: int) -> int:
    first = block[place]
    length = first & 0x7F
    place += 1
    if length == 0x7F:
        shift = 0
        while True:
            octet = block[place]
            length += (octet & 0x7F) << shift
            place += 1
            shift += 7
            if not octet & 0x80:
                break
            if shift > 28:
                raise BadHeaderBlock("a string without bounds")
    end = place + length
    # Padding is made of ones, so a zero at the end is the last bit of a symbol or a mistake: only a decoder can tell.
    if first & 0x80 and length and not block[end - 1] & 1:
        _check_huffman(block[place:end])
    return end


def _check_huffman(octets: bytes) -> None:
    """Raises BadHeaderBlock unless this is a string in Huffman's code with padding as it should be."""
    state = 0
    for octet in octets[:-1]:
        there = _NEXT[state << 8 | octet]
        state = there if there >= 0 else _learn(state, octet)
    last = octets[-1]
    state, flags, _ = HUFFMAN_TABLE[state * 16 + (last >> 4)]
    if not flags & HUFFMAN_FAIL:
        state, flags, _ = HUFFMAN_TABLE[state * 16 + (last & 15)]
    if flags & HUFFMAN_FAIL or not flags & HUFFMAN_COMPLETE:
        raise BadHeaderBlock("a Huffman string that ends within a symbol")


def _learn(state: int, octet: int) -> int:
    key = state << 8 | octet
    if _NEXT[key] == _UNKNOWN:
        between, flags, _ = HUFFMAN_TABLE[state * 16 + (octet >> 4)]
        there = _NOWHERE
        if not flags & HUFFMAN_FAIL:
            after, flags, _ = HUFFMAN_TABLE[between * 16 + (octet & 15)]
            there = _NOWHERE if flags & HUFFMAN_FAIL else after
        _NEXT[key] = there
    if _NEXT[key] == _NOWHERE:
        raise BadHeaderBlock("a Huffman string with a symbol that ends the string")
    return _NEXT[key]


def size_updates(block: bytes) -> int:
    """How many changes of the table's size a header block begins with; counting stops at three."""
    place = count = 0
    while count < 3 and place < len(block) and block[place] >> 5 == 1:
        count += 1
        continued = block[place] & 0x1F == 0x1F
        place += 1
        while continued and place < len(block):
            continued = block[place] & 0x80 != 0
            place += 1
    return count
