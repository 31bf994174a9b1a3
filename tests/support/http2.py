"""What tests of HTTP/2 share: frames as octets, header blocks without an encoder, two sessions and the wire between."""

import base64
import struct
from itertools import pairwise

from hypothesis import strategies as st

from meshd.http.h2_client import ClientSession
from meshd.http.h2_events import Body, Event
from meshd.http.h2_frames import ACK, END_HEADERS, END_STREAM, PREFACE, Kind, frame
from meshd.http.h2_library import NAMES, load
from meshd.http.h2_server import ServerSession

LIBRARIES = [load(name) for name in NAMES]
SETTINGS = frame(Kind.SETTINGS, 0, 0)
SETTINGS_ACK = frame(Kind.SETTINGS, ACK, 0)
OPENING = PREFACE + SETTINGS
GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.test"), (b":path", b"/")]
POST = [(b":method", b"POST"), *GET[1:]]


def block(fields):
    """A header block of literals that touch no table, names and values as they are (RFC 7541 section 6.2.2)."""
    octets = b""
    for name, value in fields:
        octets += b"\x00" + _integer(len(name)) + name + _integer(len(value)) + value
    return octets


def _integer(number):
    if number < 127:
        return bytes((number,))
    rest, octets = number - 127, b"\x7f"
    while rest >= 128:
        octets += bytes((rest % 128 | 128,))
        rest //= 128
    return octets + bytes((rest,))


def headers(stream, fields, *, end=False, flags=0):
    return frame(Kind.HEADERS, flags | END_HEADERS | (END_STREAM if end else 0), stream, block(fields))


def data(stream, octets, *, end=False):
    return frame(Kind.DATA, END_STREAM if end else 0, stream, octets)


def settings(**values):
    numbers = {"table": 1, "push": 2, "streams": 3, "window": 4, "frame": 5, "list": 6, "connect": 8}
    entries = [struct.pack(">HI", numbers[name], value) for name, value in values.items()]
    return frame(Kind.SETTINGS, 0, 0, b"".join(entries))


def frames(octets):
    """What was sent, frame by frame: (kind, flags, stream, payload)."""
    found = []
    while octets:
        length = int.from_bytes(octets[:3], "big")
        stream = int.from_bytes(octets[5:9], "big") & 0x7FFFFFFF
        found.append((octets[3], octets[4], stream, octets[9 : 9 + length]))
        octets = octets[9 + length :]
    return found


def sent(session, kind):
    """The frames of one kind that a session has to send, as (stream, payload)."""
    return [(stream, payload) for found, _, stream, payload in frames(session.data_to_send()) if found == kind]


def server(library, *, opening=OPENING, **arguments):
    """A server whose client has just opened the connection."""
    session = ServerSession(library=library, **arguments)
    session.receive(opening, 0.0)
    session.data_to_send()
    return session


def client(library, *, opening=SETTINGS, **arguments):
    """A client whose server has just answered the preface."""
    session = ClientSession(library=library, **arguments)
    session.receive(opening, 0.0)
    session.data_to_send()
    return session


class Wire:
    """A client and a server, and what each has heard."""

    def __init__(self, library, **offers):
        self.client = ClientSession(library=library)
        self.server = ServerSession(library=library, **offers)
        self.heard_by_client: list[Event] = []
        self.heard_by_server: list[Event] = []
        self.carry()

    def carry(self, now=0.0):
        """Carry octets until both are silent."""
        while (out := self.client.data_to_send()) + (back := self.server.data_to_send()):
            if out:
                self.heard_by_server += self.server.receive(out, now)
            if back:
                self.heard_by_client += self.client.receive(back, now)


def described(events):
    """Events as values that compare, pieces of body joined."""
    found = []
    for event in events:
        if isinstance(event, Body) and found and found[-1][:2] == ("Body", event.stream):
            found[-1] = ("Body", event.stream, found[-1][2] + event.data)
        elif isinstance(event, Body):
            found.append(("Body", event.stream, event.data))
        else:
            head = getattr(event, "head", None)
            fields = (head.headers, getattr(head, "length", None)) if head is not None else None
            found.append((repr(event), getattr(event, "trailers", None), fields))
    return found


def cut(octets, places):
    """The same octets in pieces, cut at `places`."""
    edges = sorted({place % (len(octets) + 1) for place in places} | {0, len(octets)})
    return [octets[start:end] for start, end in pairwise(edges)]


def expand_flood(steps):
    """The steps of one row of h2_flood.jsonl as ("send", octets) and ("wait", seconds), in order."""
    for step in steps:
        if "send_b64" in step:
            yield "send", base64.b64decode(step["send_b64"])
        elif "wait_s" in step:
            yield "wait", step["wait_s"]
        elif "repeat" in step:
            for turn in range(step["repeat"]):
                yield from expand_flood([_shifted(inner, turn, step["steps"]) for inner in step["steps"]])
        elif "split_block" in step:
            yield "send", _split(**step["split_block"])
        elif "loop" in step:
            yield from _loop(step)
        elif "drip" in step:
            yield from _drip(**step["drip"])
        else:
            raise AssertionError(f"unknown step {sorted(step)}")


def _shifted(step, turn, steps):
    """Stream ids go on where the turn before ended."""
    if not step.get("sid_step"):
        return step
    streams = max(each.get("loop", 0) for each in steps)
    return {**step, "sid_start": step["sid_start"] + turn * streams * step["sid_step"]}


def _split(sid, block_b64, chunk, first="continuation"):
    octets = base64.b64decode(block_b64)
    parts = [octets[place : place + chunk] for place in range(0, len(octets), chunk)]
    flags = [0] * (len(parts) - 1) + [END_HEADERS]
    kinds = [Kind.HEADERS if first == "headers" else Kind.CONTINUATION] + [Kind.CONTINUATION] * (len(parts) - 1)
    return b"".join(frame(kind, flag, sid, part) for kind, flag, part in zip(kinds, flags, parts, strict=True))


def _loop(step):
    octets, sid = bytearray(), step["sid_start"]
    for _ in range(step["loop"]):
        for kind, flags, stream, payload in step["frames"]:
            at = sid if stream == "sid" else stream
            if kind == "prio-self":
                octets += frame(Kind.PRIORITY, 0, at, struct.pack(">IB", at, 15))
            else:
                octets += frame(kind, flags, at, base64.b64decode(payload))
        sid += step["sid_step"]
        if len(octets) > 65536:
            yield "send", bytes(octets)
            octets.clear()
    yield "send", bytes(octets)


def _drip(every_s, for_s, frames):
    octets = b"".join(frame(kind, flags, stream, base64.b64decode(payload)) for kind, flags, stream, payload in frames)
    for _ in range(int(for_s / every_s)):
        yield "wait", every_s
        yield "send", octets


names = st.from_regex(rb"[a-z][a-z0-9-]{0,12}", fullmatch=True)
values = st.from_regex(rb"([!-~]([ -~]{0,12}[!-~])?)?", fullmatch=True)
some_frames = st.builds(
    frame,
    st.one_of(st.integers(0, 9), st.integers(0, 255)),
    st.one_of(st.sampled_from([0, 1, 4, 5, 8, 9, 0x20, 0x25, 0x2D]), st.integers(0, 255)),
    st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1)),
    st.one_of(
        st.binary(max_size=24),
        st.sampled_from([block(GET), block(POST), block([(b":status", b"200")]), block([(b"x", b"y")]), b"\0" * 4]),
        st.builds(struct.pack, st.just(">I"), st.integers(0, 2**32 - 1)),
        st.builds(struct.pack, st.just(">HI"), st.integers(0, 10), st.integers(0, 2**32 - 1)),
        st.builds(struct.pack, st.just(">II"), st.integers(0, 2**32 - 1), st.integers(0, 15)),
    ),
)
