"""What may be written to an app, and whether what arrived there is what was meant."""

import base64
import re

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
FIELD = re.compile(
    rb"(" + TOKEN + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[ \t\x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
)
REQUEST_LINE = re.compile(TOKEN + rb" [\x21-\x7e\x80-\xff]+ HTTP/1\.1")


def strictly_valid(octets: bytes) -> str:
    """What is wrong with a request as written upstream; empty when nothing is."""
    head, separator, _ = octets.partition(b"\r\n\r\n")
    if not separator:
        return ""  # an aborted one
    line, *fields = head.split(b"\r\n")
    if not REQUEST_LINE.fullmatch(line):
        return f"request line {line!r}"
    seen: dict[bytes, list[bytes]] = {}
    for field in fields:
        match = FIELD.fullmatch(field)
        if not match:
            return f"field {field!r}"
        seen.setdefault(match[1].lower(), []).append(match[2])
    if len(seen.get(b"host", [])) != 1:
        return f"{len(seen.get(b'host', []))} host fields"
    lengths, codings = seen.get(b"content-length", []), seen.get(b"transfer-encoding", [])
    if lengths and codings:
        return "content-length and transfer-encoding"
    if len(lengths) > 1 or (lengths and not re.fullmatch(rb"0|[1-9][0-9]*", lengths[0])):
        return f"content-length {lengths}"
    if codings and codings != [b"chunked"]:
        return f"transfer-encoding {codings}"
    return ""


def same_path(got: str, wanted: str) -> bool:
    if got == wanted:
        return True
    got, wanted = got.partition("?")[0], wanted.partition("?")[0]
    return got.rstrip("/") == wanted.rstrip("/") or _plain(got) == _plain(wanted)


def _plain(path: str) -> list[str]:
    """Segments with dots and doubled slashes resolved (RFC 3986 section 5.2.4)."""
    segments: list[str] = []
    for part in path.split("/"):
        if part == "..":
            segments[-1:] = []
        elif part not in ("", "."):
            segments.append(part)
    return segments


def arrived_as(requests, wanted) -> str:
    """Why these recorded requests are not exactly the wanted ones; empty when they are."""
    if len(requests) != len(wanted):
        return f"{len(requests)} requests arrived, wanted {len(wanted)}"
    for got, want in zip(requests, wanted, strict=True):
        host = _authority(got.header("host") or "")
        hosts = {_authority(each) for each in one_of(want["host"] or host)}  # none given: whatever we make of it
        paths = one_of(want["path"])
        if got.method != want["method"] or host not in hosts or not any(same_path(got.target, each) for each in paths):
            return f"{got.method} {host} {got.target}, wanted {want}"
        if got.body != base64.b64decode(want["body_b64"]):
            return f"body {got.body[:60]!r}, wanted {want['body_b64']}"
    return ""


def one_of(value) -> list[str]:
    return value if isinstance(value, list) else [value]


def _authority(text: str) -> str:
    """In lower case and without the default port."""
    return text.lower().removesuffix(":80").removesuffix(":")
