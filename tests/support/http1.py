"""Octets through an HTTP/1.1 codec, whole or in pieces; messages to feed it; and h11's reading of the same."""

import itertools

import h11
from hypothesis import strategies as st

from meshd.core.errors import ProtocolError
from meshd.core.head import RequestHead
from meshd.http.body import Shape
from meshd.http.events import End
from meshd.http.h1 import ClientCodec, ServerCodec

REFUSED = "refused"
TOKENS = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=8).map(str.encode)
VALUES = st.binary(max_size=12).map(
    lambda raw: bytes(o for o in raw if o in b"\t" or (o >= 0x20 and o != 0x7F)).strip()
)
OWN = frozenset(
    b"connection content-length transfer-encoding host te expect upgrade keep-alive proxy-connection http2-settings"
    b" trailer cookie via authorization forwarded".split()
)
FIELDS = st.lists(st.tuples(TOKENS.filter(lambda name: name.lower() not in OWN), VALUES), max_size=4)
METHODS = st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"x-Own"])
TARGETS = st.sampled_from([b"/", b"/a/b?c=d", b"/%41//x", b"http://b.test/a", b"/a/../b?", b"/~u;v"])
BODIES = st.binary(max_size=60)


def pieces(data, cuts):
    """`data` cut at these places, in order."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def describe(event):
    """An event as a value to compare; pieces of body are joined by whoever collects."""
    if isinstance(event, End):
        return ("end", tuple(event.trailers))
    head = {name: getattr(event, name) for name in type(event).__slots__ if name != "_index"}
    head["headers"] = tuple(event.headers)
    return ("head", tuple(head.items()))


def collect(codec, parts, *, eof=False, cycle=False):
    """What a codec makes of octets fed piece by piece: heads, joined bodies, ends, and at last whether it refused.

    With `cycle` each end begins the next exchange, as long as the connection goes on.
    """
    found = []
    try:
        for part in [*parts, b""] if eof else parts:
            if part or eof:
                codec.receive(part)
            _drain(codec, found, cycle=cycle)
    except ProtocolError:
        found.append(REFUSED)
    return found


def _drain(codec, found, *, cycle):
    while (event := codec.next_event()) is not None:
        if isinstance(event, bytes):
            if found and isinstance(found[-1], bytes):
                found[-1] += event
            else:
                found.append(event)
            continue
        found.append(describe(event))
        if isinstance(event, End) and cycle:
            if codec.must_close:
                return
            codec.next_cycle()


def asked(method, *, upgrade=None):
    """A client codec that has sent a request."""
    codec = ClientCodec()
    head = RequestHead(method, b"/", b"a.test")
    head.upgrade = upgrade
    if method == b"CONNECT":
        head.authority, head.path = b"a.test:1", b""
    codec.send_request(head, end=True)
    return codec


def chunked(body, sizes, trailers=(), extension=b""):
    """A body in the chunked coding, in chunks of these sizes."""
    out, at = b"", 0
    for size in [*sizes, len(body) or 1]:
        piece = body[at : at + size]
        at += len(piece)
        if piece:
            out += b"%x%b\r\n%b\r\n" % (len(piece), extension, piece)
    return out + b"0\r\n" + b"".join(b"%b: %b\r\n" % field for field in trailers) + b"\r\n"


@st.composite
def framed(draw):
    """The fields that frame a body, and its octets on the wire."""
    body = draw(BODIES)
    way = draw(st.sampled_from(["none", "length", "chunked"]))
    if way == "none":
        return [], b""
    if way == "length":
        return [(b"Content-Length", b"%d" % len(body))], body
    sizes = draw(st.lists(st.integers(1, 20), max_size=4))
    return [(b"Transfer-Encoding", b"chunked")], chunked(
        body, sizes, draw(FIELDS), draw(st.sampled_from([b"", b";a=b"]))
    )


@st.composite
def requests(draw):
    """One valid request in octets."""
    fields, body = draw(framed())
    version = b"1.1" if body and fields[0][0] != b"Content-Length" else draw(st.sampled_from([b"1.1", b"1.1", b"1.0"]))
    connection = draw(st.sampled_from([[], [], [b"close"], [b"keep-alive"], [b"X-Own, close"]]))
    lines = [(b"Host", b"a.test"), *draw(FIELDS), *fields, *((b"Connection", each) for each in connection)]
    first = b"%b %b HTTP/%b\r\n" % (draw(METHODS), draw(TARGETS), version)
    lines = draw(st.permutations(lines))
    return (
        first
        + b"".join(b"%b:%b%b\r\n" % (name, draw(st.sampled_from([b"", b" ", b"\t "])), v) for name, v in lines)
        + (b"\r\n" + body)
    )


@st.composite
def responses(draw):
    """One valid response in octets, perhaps with an interim one in front."""
    fields, body = draw(framed())
    status = draw(st.sampled_from([200, 200, 201, 404, 503, 204, 304]))
    version = b"1.1" if body and fields[0][0] != b"Content-Length" else draw(st.sampled_from([b"1.1", b"1.0"]))
    if status == 204:
        fields, body = [], b""
    if not fields and status not in (204, 304):
        body = draw(BODIES)
    connection = draw(st.sampled_from([[], [b"close"], [b"keep-alive"]]))
    lines = [*draw(FIELDS), *fields, *((b"Connection", each) for each in connection)]
    interim = draw(st.sampled_from([b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 x\r\nlink: y\r\n\r\n"]))
    first = b"HTTP/%b %d %b\r\n" % (version, status, draw(st.sampled_from([b"OK", b"", b"\xe4 b"])))
    return interim + first + b"".join(b"%b: %b\r\n" % field for field in lines) + b"\r\n" + body


SLIPS = [b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b",", b";", b"0", b"\xff", b"%", b"..", b"chunked", b"\r\n "]
SLIPS += [
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: b\r\n",
    b"Connection: close\r\n",
    b"\x0b",
]


@st.composite
def mutated(draw, valid):
    """A valid message with a few octets put in, taken out or doubled."""
    data = draw(valid)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["in", "out", "double", "swap"]))
        if kind == "in":
            data = data[:at] + draw(st.sampled_from(SLIPS)) + data[at:]
        elif kind == "out":
            data = data[:at] + data[at + draw(st.integers(1, 3)) :]
        elif kind == "double":
            data = data[:at] + data[max(0, at - 20) : at] + data[at:]
        else:
            data = data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
    return data


def h11_request(data):
    """h11's reading of one request: head, body, trailers, whether the connection goes on, and what is left over."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    return _read(connection, connection.receive_data, data)


def h11_response(data, method, *, eof, upgrade=None):
    """The same for a response to `method`."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    target = b"a.test:1" if method == b"CONNECT" else b"/"
    extra = [("Upgrade", upgrade), ("Connection", "upgrade")] if upgrade else []
    connection.send(h11.Request(method=method, target=target, headers=[("Host", "a.test"), *extra]))
    connection.send(h11.EndOfMessage())
    return _read(connection, connection.receive_data, data, eof=eof)


def _read(connection, receive, data, *, eof=False):
    heads, body, trailers = [], b"", None
    receive(data)
    if eof:
        receive(b"")
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            break
        if isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
            break
        else:
            heads.append(event)
    state = connection.their_state  # of one that may switch protocols it says nothing
    goes_on = None if state in (h11.MIGHT_SWITCH_PROTOCOL, h11.SWITCHED_PROTOCOL) else state is h11.DONE
    return heads, body, trailers, goes_on, bytes(connection.trailing_data[0])


def one_request(data):
    """Our reading of one request, in the same shape; None when it is refused or not here in full."""
    codec = ServerCodec()
    codec.receive(data)
    body = b""
    try:
        head = codec.next_event()
        while head is not None and isinstance(event := codec.next_event(), bytes):
            body += event
    except ProtocolError:
        return None
    if head is None or not isinstance(event, End):
        return None
    return head, body, event.trailers, not codec.must_close, codec.leftover()


def one_response(data, method, *, eof, upgrade=None):
    """Our reading of the responses to one request; None when refused or not here in full."""
    codec = asked(method, upgrade=upgrade)
    codec.receive(data)
    if eof:
        codec.receive(b"")
    heads, body = [], b""
    try:
        while (event := codec.next_event()) is not None and not isinstance(event, End):
            if isinstance(event, bytes):
                body += event
            else:
                heads.append(event)
    except ProtocolError:
        return None
    tunnel = codec._reader.shape is Shape.TUNNEL
    if not heads or (event is None and not tunnel):
        return None
    return heads, body, event.trailers if event is not None else None, codec._keep, codec.leftover()
