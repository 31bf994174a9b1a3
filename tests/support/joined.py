"""A connection of HTTP/2 without a socket: whatever is driven at one end, a peer that a test holds at the other."""

import contextlib

import trio
from support.background import settled

from meshd.core.errors import StreamBroken
from meshd.net import wait


class Joined:
    """A stream whose other end is `peer`: it hears at once what is sent, unless the socket takes nothing, and what it
    says waits to be received. Without a peer, tests say octets themselves."""

    def __init__(self, peer=None, *, early=b""):
        self.peer = peer
        self.fd = -1
        self.quick_ack = False
        self.alert = ""
        self.writes = []  # as they were begun
        self.aborted = ""  # why, once it was
        self._full = False
        self._broken = ""  # why it is of no more use
        self._incoming = bytearray(early)
        self._ended = False
        self._moved = wait.Event()

    # -- for the driver ----------------------------------------------------------------------------------------------

    async def receive(self):
        while not (self._incoming or self._ended or self._broken):
            await self._moved.wait()
        if self._broken:
            raise StreamBroken(self._broken)
        octets = bytes(self._incoming)
        self._incoming.clear()
        return octets

    async def send(self, data):
        self.writes.append(bytes(data))
        while self._full and not self._broken:
            await self._moved.wait()
        if self._broken:
            raise StreamBroken(self._broken)
        if self.peer is not None:
            self.peer.hear(bytes(data))
            self.carry()

    def acknowledge(self):
        """Nothing: there is no kernel between."""

    def is_gone(self):
        return bool(self._broken) or self._ended

    def abort(self, reason):
        self.aborted = self.aborted or reason
        self.break_off(reason)

    # -- for tests ---------------------------------------------------------------------------------------------------

    def say(self, octets):
        """These octets come from the peer."""
        self._incoming += octets
        self._move()

    def carry(self):
        """What the peer has to say comes now."""
        if self.peer is not None and (octets := self.peer.say()):
            self.say(octets)

    def end(self):
        """The peer closes in good order."""
        self._ended = True
        self._move()

    def break_off(self, reason="connection reset"):
        """The connection is lost."""
        self._broken = self._broken or reason
        self._move()

    def stop(self):
        """The socket takes nothing from now on."""
        self._full = True

    def go_on(self):
        """The socket takes everything again."""
        self._full = False
        self._move()

    def take_written(self):
        """All that was written since the last look."""
        octets = b"".join(self.writes)
        self.writes.clear()
        return octets

    def _move(self):
        moved, self._moved = self._moved, wait.Event()
        moved.set()

    def __repr__(self):
        return f"<Joined to {self.peer!r}>"


@contextlib.asynccontextmanager
async def driven(link):
    """A nursery with the two tasks of a link under way; it ends with the block."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.write)
        nursery.start_soon(link.read)
        await settled()
        yield nursery
        nursery.cancel_scope.cancel()
