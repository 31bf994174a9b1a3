"""Field lines: from a block of octets to names and values and back, strictly (RFC 9112 section 5, RFC 9110 section
5.5).

A block is checked as a whole, with a handful of C-speed passes: all octets are text or CRLF, every CR has its LF, and
there are exactly as many well-formed fields as lines. Whatever that lets through has no bare CR or LF, no NUL, no
control octet, no folded line and no space before a colon.

Rendering trusts what it is given: parsed heads are clean by the above, and policies check their values when they are
compiled (`is_value`).
"""

import re

from meshd.core.errors import ProtocolError
from meshd.core.head import Headers

CRLF = b"\r\n"
SPACE = 0x20
TEXT = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])  # field-vchar, SP and HTAB
MOST_LINES = 128
CRLFS = tuple(CRLF * count for count in range(MOST_LINES))
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
find_fields = re.compile(rb"^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r]*)\r\n", re.MULTILINE).findall


def check_octets(block: bytes) -> int:
    """The number of lines in a block; raises ProtocolError for any octet that has no place in a head."""
    lines = block.count(CRLF)
    wanted = CRLFS[lines] if lines < MOST_LINES else CRLF * lines
    if block.translate(None, TEXT) != wanted:
        raise ProtocolError(400, "a control octet or a line without CRLF in the head")
    return lines


def check_partial(block: bytes) -> None:
    """The same for a head that is not here in full, so that it is refused now and not when its time is over."""
    check_octets(block[:-1] if block.endswith(b"\r") else block)


def read_fields(block: bytes, start: int, count: int) -> Headers:
    """The fields of `count` lines from `start` on, names as they came."""
    fields = find_fields(block, start)
    if len(fields) != count:
        raise ProtocolError(400, "a malformed field line")
    for _, value in fields:
        if value and value[-1] <= SPACE:  # rare, and looking for it is cheaper than a pattern that would never leave it
            return [(name, value.rstrip(b" \t")) for name, value in fields]
    return fields


def is_value(value: bytes) -> bool:
    """Whether a value can stand in a field without breaking out of it."""
    return _VALUE.fullmatch(value) is not None


def render_fields(first: bytes, headers: Headers, last: bytes) -> bytes:
    """`first` (the start line and our own fields), the fields, `last` (more of our own) and the empty line."""
    return b"%b%b%b\r\n" % (first, b"".join([b"%b: %b\r\n" % field for field in headers]), last)
