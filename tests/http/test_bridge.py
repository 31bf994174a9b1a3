"""From HTTP/1.1 to HTTP/2 and back, over both codecs and the wire between: what goes end to end arrives as it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.http2 import LIBRARIES, cut, names, values

from meshd.core.head import RequestHead, ResponseHead
from meshd.http.events import End
from meshd.http.framing import CONNECTION_FIELDS, NOT_IN_TRAILERS
from meshd.http.h1 import ClientCodec, ServerCodec
from meshd.http.h2_client import ClientSession
from meshd.http.h2_events import Body, Ended, RequestArrived, ResponseArrived
from meshd.http.h2_server import ServerSession

libraries = pytest.mark.parametrize("library", LIBRARIES, ids=repr)
NOT_ALONE = CONNECTION_FIELDS | NOT_IN_TRAILERS | {b"cookie", b"http2-settings", b"expect"}
fields = st.lists(st.tuples(names, values), max_size=5).map(
    lambda found: [field for field in found if field[0] not in NOT_ALONE]
)
pieces = st.lists(st.binary(min_size=1, max_size=2000), max_size=4)
# Fields, body, trailers, and whether its length is declared; only where it is not, HTTP/1.1 has room for trailers.
messages = st.tuples(fields, pieces, fields, st.booleans())
places = st.lists(st.integers(0, 10_000), max_size=6)


def read(codec, octets):
    """The one message in these octets: head, body, trailers."""
    codec.receive(octets)
    head, body = codec.next_event(), b""
    while not isinstance(piece := codec.next_event(), End):
        body += piece
    return head, body, piece.trailers


def heard(events, kind):
    """The one message in these events: its head, its body and its trailers."""
    [head] = [event.head for event in events if isinstance(event, kind)]
    [end] = [event for event in events if isinstance(event, Ended)]
    return head, b"".join(event.data for event in events if isinstance(event, Body)), end.trailers


def through(session, octets, cuts):
    return [event for piece in cut(octets, cuts) for event in session.receive(piece, 0.0)]


def joined(library):
    """A client and a server that have greeted each other."""
    client, server = ClientSession(library=library), ServerSession(library=library)
    server.receive(client.data_to_send(), 0.0)
    client.receive(server.data_to_send(), 0.0)
    return client, server


def say(session, stream, body, trailers):
    assert session.send_data(stream, body) == len(body)
    session.send_trailers(stream, trailers)


def facts(head):
    return head.method, head.path, head.query, head.authority, sorted(head.headers), head.length


@libraries
@given(messages, places)
def test_a_request_there_and_back(library, message, cuts):
    headers, body, trailers, declared = message
    whole = b"".join(body)
    first = RequestHead(b"POST", b"/a/b", b"a.test:81", headers)
    first.query = b"c=d"
    first.length = len(whole) if declared else None
    trailers = [] if declared else trailers
    codec = ClientCodec()
    octets = codec.send_request(first, end=False) + b"".join(map(codec.send_data, body)) + codec.send_end(trailers)
    head, content, ending = read(ServerCodec(), octets)

    client, server = joined(library)
    stream = client.send_request(head, 0.0)
    say(client, stream, content, ending)
    head, content, ending = heard(through(server, client.data_to_send(), cuts), RequestArrived)

    codec = ClientCodec()
    octets = codec.send_request(head, end=False) + codec.send_data(content) + codec.send_end(ending)
    head, content, ending = read(ServerCodec(), octets)
    assert facts(head) == facts(first)
    assert (content, ending) == (whole, trailers)


@libraries
@given(st.sampled_from([200, 206, 404, 500]), messages, places)
def test_a_response_there_and_back(library, status, message, cuts):
    headers, body, trailers, declared = message
    whole = b"".join(body)
    trailers = [] if declared else trailers
    first = ResponseHead(status, headers, len(whole) if declared else None)
    asked = RequestHead(b"GET", b"/", b"a.test")
    head, content, ending = over_http1(asked, first, whole, trailers)

    client, server = joined(library)
    stream = client.send_request(asked, 0.0, end=True)
    server.receive(client.data_to_send(), 0.0)
    server.send_head(stream, head)
    say(server, stream, content, ending)
    head, content, ending = heard(through(client, server.data_to_send(), cuts), ResponseArrived)

    head, content, ending = over_http1(asked, head, content, ending)
    assert (head.status, sorted(head.headers), head.length) == (status, sorted(headers), first.length)
    assert (content, ending) == (whole, trailers)


def over_http1(asked, head, body, trailers):
    """What a client of HTTP/1.1 reads of this answer."""
    client, server = ClientCodec(), ServerCodec()
    server.receive(client.send_request(asked, end=True))
    while not isinstance(server.next_event(), End):
        pass
    octets = server.send_head(head, end=False) + server.send_data(body) + server.send_end(trailers)
    return read(client, octets)
