"""Lanes of a client's connection at work, before a peer or a test that says its octets."""

import contextlib

import trio
from support.http2 import LIBRARIES, SETTINGS, frames
from support.joined import Joined, driven

from meshd.core.head import RequestHead
from meshd.http.h2_client import ClientSession
from meshd.upstream.lane import Lane
from meshd.upstream.link import Link

OK = [(b":status", b"200")]


def begin(link, *, end=False):
    """A lane whose request is out."""
    head = RequestHead(b"GET" if end else b"POST", b"/", b"a.test")
    head.length = 0 if end else None
    stream = link.session.send_request(head, trio.current_time(), end=end)
    lane = link.lanes[stream] = Lane(link, stream)
    link.flush()
    return lane


@contextlib.asynccontextmanager
async def linked(library=LIBRARIES[0], peer=None):
    """A client's link at work, its stream, and a nursery; the peer has said its settings."""
    stream = Joined(peer)
    if peer is None:
        stream.say(SETTINGS)
    link = Link(ClientSession(library=library), stream)
    async with driven(link) as nursery:
        stream.take_written()
        yield link, stream, nursery


def said(stream, kind):
    """The frames of one kind that were written since the last look, as (stream, payload)."""
    return [(number, payload) for found, _, number, payload in frames(stream.take_written()) if found == kind]
