"""Field lines: from a block of octets to names and values and back, strictly (RFC 9112 section 5, RFC 9110 section 5.5).

A block is checked as a whole, with a handful of C-speed passes: all octets are text or CRLF, every CR has its LF, and
there are exactly as many well-formed fields as lines. Whatever that lets through has no bare CR or LF, no NUL, no control
octet, no folded line and no space before a colon.
"""

import re

from meshd.core.errors import ProtocolError
from meshd.core.head import Headers

CRLF = b"\r\n"
TEXT = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])  # field-vchar, SP and HTAB
_FIELDS = re.compile(rb"^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r]*)\r\n", re.MULTILINE)
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def check_octets(block: bytes) -> int:
    """The number of lines in a block; raises ProtocolError for any octet that has no place in a head."""
    lines = block.count(CRLF)
    if block.translate(None, TEXT) != CRLF * lines:
        raise ProtocolError(400, "a control octet or a line without CRLF in the head")
    return lines


def check_partial(block: bytes) -> None:
    """The same for a head that is not here in full, so that it is refused now and not when its time is over."""
    if block.endswith(b"\r"):
        block = block[:-1]
    check_octets(block)


def read_fields(block: bytes, start: int, count: int) -> Headers:
    """The fields of `count` lines from `start` on, names as they came."""
    fields = _FIELDS.findall(block, start)
    if len(fields) != count:
        raise ProtocolError(400, "a malformed field line")
    if b" \r\n" in block or b"\t\r\n" in block:
        return [(name, value.rstrip(b" \t")) for name, value in fields]
    return fields


def render_fields(first: bytes, headers: Headers, last: bytes) -> bytes:
    """`first` (the start line), the fields, `last` (our own fields) and the empty line as one block.

    A value that came from a policy could hold a line break: such a block is never written.
    """
    block = b"%b%b%b\r\n" % (first, b"".join([b"%b: %b\r\n" % field for field in headers]), last)
    lines = block.count(CRLF)
    if lines != len(headers) + 2 + last.count(CRLF) or block.translate(None, TEXT) != CRLF * lines:
        raise AssertionError("a field with a line break or a control octet was about to be written")
    return block
