"""The wire format of protocol buffers, as far as small messages of proto3 need it. Pure.

Source: protobuf.dev/programming-guides/encoding. Reading is strict where writers of proto3 leave no choice: groups,
which it does not have, and fields with number 0 are refused.
"""

from collections.abc import Iterable, Iterator
from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
OCTETS: Final = 2
FIXED32: Final = 5
MOST_BITS: Final = 64
_SIZES: Final = {FIXED64: 8, FIXED32: 4}


class NoMessage(ValueError):
    """Octets that are not a message; says why."""


# -- writing -----------------------------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    """A whole number, seven bits an octet; a negative one as its two's complement of 64 bits."""
    value &= (1 << MOST_BITS) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def number_field(field: int, value: int) -> bytes:
    """A number, a truth value or an enumeration; nothing for 0, which is what a field that is left out says."""
    return varint(field << 3 | VARINT) + varint(value) if value else b""


def octets_field(field: int, value: bytes) -> bytes:
    """A text or octets; nothing when they are empty."""
    return message_field(field, value) if value else b""


def message_field(field: int, message: bytes) -> bytes:
    """A message inside of another, there even if it is empty."""
    return varint(field << 3 | OCTETS) + varint(len(message)) + message


def map_field(field: int, entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A map of texts."""
    return b"".join([message_field(field, octets_field(1, key) + octets_field(2, value)) for key, value in entries])


# -- reading -----------------------------------------------------------------------------------------------------------


def read_fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Each field of a message as it comes: its number, and a whole number or octets. Raises NoMessage."""
    at, size = 0, len(message)
    while at < size:
        tag, at = _read_varint(message, at)
        field, kind = tag >> 3, tag & 7
        if not 0 < field < 1 << 29:
            raise NoMessage(f"a field has the number {field}")
        if kind == VARINT:
            value, at = _read_varint(message, at)
            yield field, value
            continue
        if kind == OCTETS:
            length, at = _read_varint(message, at)
        elif kind in _SIZES:
            length = _SIZES[kind]
        else:
            raise NoMessage(f"field {field} is of the unknown kind {kind}")
        if length > size - at:
            raise NoMessage(f"field {field} breaks off")
        octets, at = message[at : at + length], at + length
        yield field, octets if kind == OCTETS else int.from_bytes(octets, "little")


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, MOST_BITS + 6, 7):
        if at >= len(message):
            raise NoMessage("a number breaks off")
        octet = message[at]
        at += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value & ((1 << MOST_BITS) - 1), at
    raise NoMessage("a number is too long")


def text_of(value: int | bytes) -> bytes:
    """The octets of a text. Raises NoMessage for what is none."""
    octets = octets_of(value)
    try:
        octets.decode()
    except UnicodeDecodeError as error:
        raise NoMessage("a text is not UTF-8") from error
    return octets


def octets_of(value: int | bytes) -> bytes:
    """The octets of a field. Raises NoMessage when it is a number."""
    if isinstance(value, int):
        raise NoMessage("a number stands where octets are expected")
    return value


def number_of(value: int | bytes) -> int:
    """The whole number of a field. Raises NoMessage when it is none."""
    if isinstance(value, bytes):
        raise NoMessage("octets stand where a number is expected")
    return value
