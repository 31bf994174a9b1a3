"""The ways in which one path may be read, and how it is written.

An app decodes escapes or not, merges slashes or not, takes a backslash for a slash, cuts parameters off: which, nobody
in front of it knows. So a path goes on as it came, routes match on one normal form of it, and whatever restricts is
asked about every reading.

Theory of operation: a reading is written canonically (RFC 3986 section 6.2.2): what a path cannot hold as it is has an
escape, in upper case, and so two spellings of those octets are one reading. Policies are written the same way when they
are compiled. From the path on, each step that an app may take is applied to every reading found so far, in any order,
until nothing new comes; one of them is to decode what needs no escape, and not to decode it is another reading.
Escapes are decoded once: `%2561` is `%61`, and no app that keeps to the standard makes `a` of it. What a policy would
deny if it were decoded twice is refused as malformed, not denied.

Sources: RFC 3986 sections 5.2.4 and 6.2.2; Istio's MeshConfig.pathNormalization; the advisories CVE-2019-9901,
CVE-2021-29492, CVE-2021-31920, CVE-2021-32779, CVE-2026-73551.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

MAX_READINGS: Final = 64  # beyond it nobody is asked, and the path is refused where a policy looks at paths
MAX_READ: Final = 32_768  # bytes of all readings of one path

_PIECE: Final = re.compile(rb"%[0-9A-Fa-f]{2}|[^A-Za-z0-9._~!$&'()*+,;=:@/\\-]")
_PERCENT: Final = re.compile(rb"%25(?![0-9A-Fa-f]{2})")
_UNRESERVED: Final = re.compile(rb"%(?:2[DE]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])")
_NEEDLESS: Final = re.compile(rb"%(?:2[146-9A-E]|3[0-9ABD]|4[0-9A-F]|5[0-9ACF]|6[1-9A-F]|7[0-9AE])")  # but `%2F`
_SLASHES: Final = re.compile(rb"/{2,}")
_PARAMETERS: Final = re.compile(rb";[^/]*")
_AMBIGUOUS: Final = re.compile(rb"[%;\\]|//|/\.")


def canonical(path: bytes) -> bytes:
    """The path with the escapes that it needs and no other. What is no escape stands for itself."""
    return _shown(decode_unreserved(_spell(path)))


def written(path: bytes) -> bytes:
    """One reading of it, by an app that decodes nothing."""
    return _shown(_spell(path))


def _spell(path: bytes) -> bytes:
    """The path with every escape that it has or needs, and each percent sign as part of one. Backslashes stay as they
    are, to be told from those that came with an escape."""
    return _PIECE.sub(_respell, path)


def _respell(match: re.Match[bytes]) -> bytes:
    piece = match[0]
    return piece.upper() if len(piece) > 1 else b"%%%02X" % piece[0]


def _shown(spelled: bytes) -> bytes:
    """A reading as policies see it: backslashes with an escape, percent signs without where that cannot be mistaken."""
    return _PERCENT.sub(b"%", spelled.replace(b"\\", b"%5C"))


def canonical_pattern(pattern: str) -> str:
    """The pattern of a policy, written as readings are; `*` and what is in braces stay as they are."""
    if pattern.isascii() and not _PIECE.search(pattern.encode()):
        return pattern
    parts = re.split(r"(\{\*\*\}|\{\*\})", pattern)
    return "".join(part if place % 2 else _canonical_text(part) for place, part in enumerate(parts))


def _canonical_text(text: str) -> str:
    return canonical(text.encode()).decode("ascii")


# -- what an app may do to a path --------------------------------------------------------------------------------------


def decode(path: bytes) -> bytes:
    """With every escape decoded that a path can do without."""
    return decode_slashes(decode_all_but_slashes(path))


def decode_all_but_slashes(path: bytes) -> bytes:
    """The same, by an app that takes segments apart first."""
    return _NEEDLESS.sub(_octet, path) if b"%" in path else path


def decode_unreserved(path: bytes) -> bytes:
    """What every escape means alike, by an app that normalizes (RFC 3986 section 6.2.2.2)."""
    return _UNRESERVED.sub(_octet, path) if b"%" in path else path


def _octet(match: re.Match[bytes]) -> bytes:
    return bytes((int(match[0][1:], 16),))


def decode_slashes(path: bytes) -> bytes:
    """The slashes alone (DECODE_AND_MERGE_SLASHES of a proxy behind us)."""
    return path.replace(b"%2F", b"/").replace(b"%5C", b"\\")


def turn_backslashes(path: bytes) -> bytes:
    """With backslashes as slashes (the URL standard of browsers; Windows)."""
    return path.replace(b"\\", b"/")


def merge_slashes(path: bytes) -> bytes:
    """Without empty segments, but for the last."""
    return _SLASHES.sub(b"/", path) if b"//" in path else path


def cut_parameters(path: bytes) -> bytes:
    """Without what follows a semicolon in each segment (servlets)."""
    return _PARAMETERS.sub(b"", path) if b";" in path else path


def cut_query(path: bytes) -> bytes:
    """Without what follows an encoded `?` or `#`, by an app that decodes first and takes apart then."""
    return path.partition(b"%3F")[0].partition(b"%23")[0] if b"%" in path else path


def resolve_dots(path: bytes) -> bytes:
    """Without dot segments (RFC 3986 section 5.2.4): what goes above the root ends there."""
    return _resolve(path)[0] if b"/." in path else path


def resolve_encoded_dots(path: bytes) -> bytes:
    """The same, by who knows dots in every spelling."""
    return resolve(path)[0] if b"/." in path or b"/%2E" in path else path


def resolve(path: bytes) -> tuple[bytes, bool]:
    """Without dot segments, however their dots are written, all else as it is; and whether it stayed below the root."""
    return _resolve(path, encoded=b"%2" in path)


def _resolve(path: bytes, *, encoded: bool = False) -> tuple[bytes, bool]:
    kept: list[bytes] = []
    below = True
    segments = path.split(b"/")[1:]
    last = len(segments) - 1
    for place, segment in enumerate(segments):
        dots = _ENCODED_DOT.sub(b".", segment) if encoded else segment
        if dots == b"..":
            if kept:
                kept.pop()
            else:
                below = False
        elif dots != b".":
            kept.append(segment)
        if place == last and dots in (b".", b".."):
            kept.append(b"")
    return b"/" + b"/".join(kept), below


_ENCODED_DOT: Final = re.compile(rb"%2[Ee]")

Step = Callable[[bytes], bytes]
_STEPS: Final[tuple[Step, ...]] = (
    resolve_dots,
    resolve_encoded_dots,
    merge_slashes,
    turn_backslashes,
    decode,
    decode_all_but_slashes,
    decode_unreserved,
    decode_slashes,
    cut_parameters,
    cut_query,
)


def readings(path: bytes) -> tuple[bytes, ...]:
    """Every reading of a path, its own first; none when there are more than anybody means."""
    first = _spell(path)
    found = {first: None}
    waiting = [first]
    while waiting:
        reading = waiting.pop()
        if not _AMBIGUOUS.search(reading):
            continue
        for step in _STEPS:
            other = step(reading)
            if other not in found:
                found[other] = None
                waiting.append(other)
        if len(found) > MAX_READINGS or len(found) * len(first) > max(MAX_READ, len(first)):
            return ()
    return tuple(dict.fromkeys(map(_shown, found)))


@dataclass(slots=True)
class PathForms:
    """A path that may be read in more than one way, or is written otherwise than its normal form. Nothing of it changes
    but what is remembered."""

    received: bytes
    forwarded: bytes
    judged: bytes  # what may be read in several ways
    _readings: tuple[bytes, ...] | None = field(default=None, compare=False, repr=False)
    _overread: tuple[bytes, ...] | None = field(default=None, compare=False, repr=False)

    @property
    def readings(self) -> tuple[bytes, ...]:
        """All of them, canonically; none when there are too many."""
        if self._readings is None:
            self._readings = readings(self.judged)
        return self._readings

    @property
    def overread(self) -> tuple[bytes, ...]:
        """The readings of an app that decodes twice; none when there are too many."""
        if self._overread is None:
            self._overread = readings(self.judged.replace(b"%25", b"%"))
        return self._overread
