"""Bytes both ways between two streams: what is left of HTTP after an upgrade, and all there is of TCP.

Each direction runs on its own until its end; an end is passed on as an end, so that a half-closed conversation goes
on in the other direction. Memory is one read each way: a stalled reader stops the other side.
"""

from meshd.core.errors import StreamBroken
from meshd.core.head import ResponseHead
from meshd.net import wait
from meshd.net.stream import Stream
from meshd.proxy.flight import Flight


class Tunnel:
    """Two streams, joined."""

    __slots__ = ("_flight", "_over", "downstream", "received", "sent", "upstream")

    def __init__(self, flight: Flight, downstream: Stream, upstream: Stream) -> None:
        self._flight = flight
        self._over = wait.Event()
        self.downstream = downstream
        self.upstream = upstream
        self.received = 0  # octets from the client
        self.sent = 0  # octets to the client

    async def run(self, to_upstream: bytes, to_downstream: bytes) -> None:
        """Carry bytes until both directions have ended or either stream broke; then close both."""
        wait.spawn(self._upward, to_upstream)
        try:
            self.sent = await self._pump(self.upstream, self.downstream, to_downstream)
            await self._over.wait()
        except StreamBroken:
            pass  # the other direction is woken below; how it ended is in the numbers
        finally:
            self.upstream.abort("the tunnel ended")
            self.downstream.abort("the tunnel ended")

    async def _upward(self, first: bytes) -> None:
        try:
            self.received = await self._pump(self.downstream, self.upstream, first)
        except StreamBroken:
            self.upstream.abort("the client broke off")
            self.downstream.abort("the client broke off")
        finally:
            self._over.set()

    async def _pump(self, source: Stream, sink: Stream, first: bytes) -> int:
        flight = self._flight
        octets = len(first)
        if first:
            await sink.send(first)
        while data := await source.receive():
            source.acknowledge()  # nobody knows where a message of this protocol ends
            flight.touch(wait.now())
            octets += len(data)
            await sink.send(data)
        await sink.send_eof()
        return octets


async def switch(flight: Flight, response: ResponseHead) -> None:
    """Answer the upgrade and carry whatever protocol it leads to. The overall deadline no longer holds, the idle one
    does."""
    connection, exchange = flight.connection, flight.exchange
    assert connection is not None
    exchange.deadline = float("inf")
    exchange.responded = wait.now()
    if exchange.head.protocol == b"h2":
        exchange.status = 200  # as its client sees it (RFC 8441 section 5)
    await flight.down.respond(response, b"", end=False)
    stream, early = flight.down.take_over()
    tunnel = Tunnel(flight, stream, connection.stream)
    await tunnel.run(early, connection.leftover())
    exchange.bytes_received += tunnel.received
    exchange.bytes_sent += tunnel.sent
