"""Bytes both ways: each direction to its own end, and both streams closed whatever happens."""

import trio
from support.requests import exchange_of

from meshd.core.errors import StreamBroken
from meshd.net import wait
from meshd.proxy.flight import Flight
from meshd.proxy.tunnel import Tunnel


class Side:
    """One stream of a tunnel: gives these pieces, then its end; keeps what it is sent. Breaks on an exception."""

    def __init__(self, *incoming):
        self.incoming = [*incoming, b""]
        self.got = b""
        self.eof = False
        self.aborted = trio.Event()

    def acknowledge(self):
        pass

    async def receive(self):
        await trio.lowlevel.checkpoint()
        piece = self.incoming.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def send(self, data):
        assert not self.eof, "sent behind its end"
        await trio.lowlevel.checkpoint()
        self.got += data

    async def send_eof(self):
        self.eof = True

    def abort(self, reason):
        self.aborted.set()


class Deaf(Side):
    """Breaks when it is sent anything."""

    async def send(self, data):
        raise StreamBroken("broken pipe")


async def joined(client, app, to_app=b"", to_client=b""):
    tunnel = Tunnel(Flight(exchange_of(), None), client, app)
    await wait.background.run(lambda: tunnel.run(to_app, to_client), None)
    return tunnel


async def test_what_came_early_goes_first_and_all_is_counted():
    client, app = Side(b"c1", b"c2"), Side(b"a1")
    tunnel = await joined(client, app, b"early", b"first")
    assert (app.got, client.got) == (b"earlyc1c2", b"firsta1")
    assert (tunnel.received, tunnel.sent) == (9, 7)
    assert client.eof
    assert app.eof


async def test_an_end_one_way_leaves_the_other_way_open():
    client, app = Side(), Side(*[b"x"] * 20)
    await joined(client, app)
    assert app.eof
    assert client.got == b"x" * 20


async def test_a_break_ends_both():
    for client, app in (
        (Side(StreamBroken("reset")), Side()),
        (Side(), Side(StreamBroken("reset"))),
        (Deaf(), Side(b"x")),
        (Side(b"x"), Deaf()),
    ):
        await joined(client, app)
        assert client.aborted.is_set()
        assert app.aborted.is_set()
