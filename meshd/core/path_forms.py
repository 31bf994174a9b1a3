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

_AS_IT_IS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~!$&'()*+,;=:@/%\\-"
_AS_IT_IS_WRITTEN: Final = _AS_IT_IS.replace(b"%", b"")
_BARE_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_LOWER_CASE: Final = re.compile(rb"%(?:[a-f][0-9A-Fa-f]|[0-9A-F][a-f])")
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
    if b"%" in path:
        path = _BARE_PERCENT.sub(b"%25", path)
        path = _replace_each(_LOWER_CASE, path, bytes.upper)
    for octet in set(path.translate(None, _AS_IT_IS)):
        path = path.replace(b"%c" % octet, b"%%%02X" % octet)
    return path


def _replace_each(escapes: re.Pattern[bytes], path: bytes, replace: Callable[[bytes], bytes]) -> bytes:
    """The path with something else in the place of such escapes: one pass for each of the few that there are, not a
    call for each place. Every percent sign begins an escape, so that none is found across the end of another."""
    for escape in set(escapes.findall(path)):
        path = path.replace(escape, replace(escape))
    return path


def _shown(spelled: bytes) -> bytes:
    """A reading as policies see it: backslashes with an escape, percent signs without where that cannot be mistaken."""
    return _PERCENT.sub(b"%", spelled.replace(b"\\", b"%5C"))


def canonical_pattern(pattern: str) -> str:
    """The pattern of a policy, written as readings are; `*` and what is in braces stay as they are."""
    if pattern.isascii() and not pattern.encode().translate(None, _AS_IT_IS_WRITTEN):
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
    return _replace_each(_NEEDLESS, path, _octet) if b"%" in path else path


def decode_unreserved(path: bytes) -> bytes:
    """What every escape means alike, by an app that normalizes (RFC 3986 section 6.2.2.2)."""
    return _replace_each(_UNRESERVED, path, _octet) if b"%" in path else path


def _octet(escape: bytes) -> bytes:
    return bytes((int(escape[1:], 16),))


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
    dots = _DOTS_HOWEVER_WRITTEN if encoded else _DOTS
    kept: list[bytes] = []
    below = True
    steps: int | None = None
    for segment in path.split(b"/")[1:]:
        steps = dots.get(segment)
        if steps is None:
            kept.append(segment)
        elif steps:
            if kept:
                kept.pop()
            else:
                below = False
    if steps is not None:
        kept.append(b"")
    return b"/" + b"/".join(kept), below


_DOTS: Final = {b".": 0, b"..": 1}  # and how many steps they go up
_DOT: Final = (b".", b"%2e", b"%2E")
_DOTS_HOWEVER_WRITTEN: Final = dict.fromkeys(_DOT, 0) | {one + other: 1 for one in _DOT for other in _DOT}

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
    most = max(1, min(MAX_READINGS, MAX_READ // len(first))) if first else MAX_READINGS
    while waiting:
        reading = waiting.pop()
        if not _AMBIGUOUS.search(reading):
            continue
        for step in _STEPS:
            other = step(reading)
            if other not in found:
                if len(found) >= most:
                    return ()
                found[other] = None
                waiting.append(other)
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
            once = decode_all_but_slashes(_spell(self.judged))  # `%25%36%31` is `%61` then, as `%2561` is
            self._overread = readings(once.replace(b"%25", b"%"))
        return self._overread
