"""What apps make of a path, spelled out step by step on plain octets: slow, and of nothing that the product uses."""

from itertools import permutations
from urllib.parse import unquote_to_bytes

PIECES = [
    b"/",
    b"//",
    b"a",
    b"admin",
    b"public",
    b".",
    b"..",
    b"%2e%2E",
    b"%2F",
    b"%2f..",
    b"%5C",
    b"\\",
    b";",
    b";x=1",
    b"%3b",
    b"%61",
    b"%20",
    b"%252F",
    b"%252e",
    b"[0]",
    b"%",
]


def _segments(path, edit):
    return b"/" + b"/".join(edit(path.split(b"/")[1:]))


def _merge(path):
    while b"//" in path:
        path = path.replace(b"//", b"/")
    return path


def _resolve(path):
    kept = []
    parts = path.split(b"/")[1:]
    for place, part in enumerate(parts):
        last = place == len(parts) - 1
        if part == b"..":
            kept = kept[:-1]
        elif part != b".":
            kept.append(part)
        if last and part in (b".", b".."):
            kept.append(b"")
    return b"/" + b"/".join(kept)


def _decode(path):
    """Once. What would end the path for whoever takes it apart, or be decoded again, stays written as it was."""
    parts = path.replace(b"%25", b"\0").split(b"\0")
    return b"%25".join(_keep(unquote_to_bytes(part)) for part in parts)


def _keep(octets):
    return octets.replace(b"%", b"%25")


def _decode_segments(path):
    """By an app that takes the path apart first: a slash within a segment stays one of the segment."""
    return _segments(path, lambda parts: [_decode(part).replace(b"/", b"%2F") for part in parts])


STEPS = (
    _decode,
    lambda path: path.replace(b"%2f", b"/").replace(b"%2F", b"/").replace(b"%5C", b"\\"),
    _decode_segments,
    _merge,
    _resolve,
    lambda path: path.replace(b"\\", b"/"),
    lambda path: _segments(path, lambda parts: [part.partition(b";")[0] for part in parts]),
)


def enumerate_readings(path):
    """The path after any of the steps in any order, each at most once."""
    found = {path}
    for count in (1, 2, 3, 4):
        for steps in permutations(STEPS, count):
            reading = path
            for step in steps:
                reading = step(reading)
            found.add(reading)
    return found
