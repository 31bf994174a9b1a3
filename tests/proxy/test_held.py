"""A body that is looked at before it goes anywhere: what was read first comes first, and nothing is lost."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support.requests import exchange_of

from meshd.core.head import ResponseHead
from meshd.http.events import END
from meshd.net import wait
from meshd.net.reactor import Reactor
from meshd.proxy.flight import Flight
from meshd.proxy.held import Held


class Client:
    """The client's side: a body in pieces, and what it was told."""

    def __init__(self, pieces):
        self.pieces, self.told = list(pieces), []

    def body_nowait(self):
        return None

    async def read_body(self):
        return self.pieces.pop(0)

    async def interim(self, head):
        self.told.append(head.status)

    async def respond(self, head, body, *, end):
        self.told.append((head.status, body, end))

    async def send(self, data):
        self.told.append(data)

    async def finish(self, trailers):
        self.told.append(trailers)

    def is_gone(self):
        return True

    def abort(self, reason, status):
        self.told.append((reason, status))


def run(body):
    """Run `body` as a worker does."""
    trio.run(lambda: wait.background.run(body, Reactor()))


@given(st.lists(st.binary(min_size=1, max_size=4), max_size=6), st.lists(st.integers(0, 30), max_size=3))
def test_whatever_is_read_ahead_the_body_is_the_same(pieces, looks):
    client = Client([*pieces, END])
    held = Held(Flight(exchange_of(), client))
    whole, found = b"".join(pieces), []

    async def body():
        for most in looks:
            await held.read(most)
            assert held.is_whole or held.size > most
            assert held.beginning(most) == whole[:most]
        while (piece := held.body_nowait() or await held.read_body()) is not END:
            found.append(piece)

    run(body)
    assert (found, client.pieces) == (pieces, [])


async def test_everything_else_is_the_clients():
    client = Client([])
    held = Held(Flight(exchange_of(), client))
    await held.interim(ResponseHead(103))
    await held.respond(ResponseHead(200), b"a", end=False)
    await held.send(b"b")
    await held.finish([])
    held.abort("broken", 502)
    assert client.told == [103, (200, b"a", False), b"b", [], ("broken", 502)]
    assert (held.is_gone(), repr(held)) == (True, "<Held 0 octets and more to come>")
    with pytest.raises(AssertionError):
        held.take_over()
