"""Regular expressions of documents: RE2's dialect and RE2's engine, as in Envoy and Istio.

What a pattern is matched against is chosen by strangers, on the loop that serves everybody, so matching has to be
linear in time whatever the pattern: RE2 has neither lookaround nor backreferences, and never backtracks. Python's `re`
is for patterns of our own that are linear by construction.

Rule 1: a pattern must match all of the value (Envoy's full match). Rule 2: a program and its automaton stay within
`MAX_MEM`; beyond it a document is refused, and an automaton goes on by simulation, which is slower but still linear.
Rule 3: a value is read as UTF-8. One that is not UTF-8 is read as Latin-1 (obs-text of RFC 9110 section 5.5), octet by
octet, so that no stray octet takes a value out of the reach of `.*`.
"""

from collections.abc import Callable
from typing import Final

import re2

MAX_MEM: Final = 512 * 1024  # of one pattern, its program (at most 8192 instructions) and automaton
MAX_LENGTH: Final = 4096  # characters of a pattern

BytesMatch = Callable[[bytes], bool]

# What RE2 says of constructs that other dialects have, and what there is to say about it.
_REASONS: Final = (
    ("invalid perl operator: (?=", "RE2 has no lookahead"),
    ("invalid perl operator: (?!", "RE2 has no lookahead"),
    ("invalid perl operator: (?<", "RE2 has no lookbehind"),
    ("invalid named capture", "RE2 has no lookbehind; groups are named by (?P<name>...)"),
    ("invalid perl operator: (?>", "RE2 has no atomic groups"),
    ("invalid perl operator: (?#", "RE2 has no comments"),
    ("invalid perl operator", "RE2 has groups (?:...), names (?P<name>...) and the flags i, m, s and U"),
    ("invalid escape sequence: \\Z", "write \\z, which is not needed: all of the value must match"),
    ("invalid escape sequence: \\u", "write \\x{...}"),
    *((f"invalid escape sequence: \\{digit}", "RE2 has no backreferences") for digit in "123456789"),
    ("invalid escape sequence: \\k", "RE2 has no backreferences"),
    ("invalid escape sequence: \\g", "RE2 has no backreferences"),
    ("bad repetition operator", "RE2 has no possessive quantifiers"),
    ("invalid repetition size", "RE2 repeats at most 1000 times, nested repetitions multiplied"),
    ("pattern too large", f"at most {MAX_MEM // 1024} KiB once compiled: repeat less, or narrower classes"),
)


def compile_regex(pattern: str) -> BytesMatch:
    """A test whether all of a value matches. Raises ValueError; `regex_fault` says why beforehand."""
    compiled, fault = _compile(pattern)
    if compiled is None:
        raise ValueError(fault)
    # The public `fullmatch` puts a generator and a match object around this call: 1.6 microseconds instead of 0.5.
    match: Callable[[object, bytes, int, int], tuple[tuple[int, int], ...]] = compiled._regexp.Match  # noqa: SLF001
    whole = re2._Anchor.ANCHOR_BOTH  # noqa: SLF001  # goes with the call above

    def matches(value: bytes) -> bool:
        if not value.isascii():
            value = _as_utf8(value)
        return match(whole, value, 0, len(value))[0][0] == 0

    return matches


def regex_fault(pattern: str) -> str:
    """Why RE2 does not take it: the sentence after "got ..."; nothing when it does."""
    return _compile(pattern)[1]


def _compile(pattern: str) -> tuple["re2._Regexp | None", str]:
    if len(pattern) > MAX_LENGTH:
        return None, f"expected a regular expression of at most {MAX_LENGTH} characters"
    options = re2.Options()
    options.max_mem = MAX_MEM
    options.never_capture = True
    options.log_errors = False  # RE2 writes them to stderr, past every bound on logging
    try:
        # Not `re2.compile`, which remembers the last 128 patterns of the process whether or not they are in use.
        return re2._Regexp(pattern, options), ""  # noqa: SLF001
    except re2.error as error:
        text = error.args[0] if error.args else b""
        said = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    except UnicodeEncodeError:
        said = "a lone surrogate is no character"
    reason = next((reason for start, reason in _REASONS if said.startswith(start)), "")
    return None, f"expected a regular expression in RE2's syntax: {said}" + (f" ({reason})" if reason else "")


def _as_utf8(value: bytes) -> bytes:
    try:
        value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1").encode()
    return value
