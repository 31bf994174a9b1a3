"""Clients of HTTP/2 with a hundred streams each, all of which take their time; raw frames, no library."""

import socket
from dataclasses import dataclass, field

import trio
from support.h2_dribble import Frames
from support.http2 import SETTINGS_ACK, block, settings

from meshd.http.h2_frames import ACK, END_HEADERS, END_STREAM, PREFACE, Kind, frame, window_update

CREDIT = 2**30  # the window of a connection, so that only its streams are slow
STEP = 0.1  # seconds between the beginnings of two connections


@dataclass(frozen=True)
class Habit:
    """What each stream does."""

    path: str
    pieces: int = 0  # of the request's body
    size: int = 0  # of each, octets
    window: int = 65535  # for the response, at first
    sip: int = 0  # octets of window that are given at a step, once those before are used up
    pause: float = 0.2  # seconds between two steps


@dataclass
class Told:
    """How far each stream has got, by connection and stream id."""

    received: dict[tuple[int, int], int] = field(default_factory=dict)  # octets of the response; there once it began
    whole: set[tuple[int, int]] = field(default_factory=set)
    failed: dict[tuple[int, int], str] = field(default_factory=dict)

    @property
    def over(self) -> int:
        return len(self.whole) + len(self.failed)


class Shared:
    """A connection on which two tasks write."""

    def __init__(self, stream: trio.SocketStream) -> None:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = stream
        self._lock = trio.Lock()

    async def send(self, octets: bytes) -> None:
        async with self._lock:
            await self.stream.send_all(octets)


class Crowd:
    """So many connections to one address, with so many streams each."""

    def __init__(self, address: str, host: str, habit: Habit, connections: int, streams: int, step=STEP) -> None:
        self._address = address
        self._host = host
        self._habit = habit
        self.connections = connections
        self.streams = streams
        self.told = Told()
        self._step = step
        self.begun = 0  # streams whose request has left

    async def run(self) -> None:
        """Until every stream is over."""
        async with trio.open_nursery() as nursery:
            for number in range(self.connections):
                nursery.start_soon(self._connection, number)
                await trio.sleep(self._step)

    async def _connection(self, number: int) -> None:
        host, _, port = self._address.rpartition(":")
        stream = Shared(await trio.open_tcp_stream(host, int(port)))
        ids = range(1, 2 * self.streams, 2)
        async with trio.open_nursery() as nursery:
            out: list[bytes] = [PREFACE, settings(window=self._habit.window), window_update(0, CREDIT)]
            out += [self._head(each) for each in ids]
            await stream.send(b"".join(out))
            self.begun += len(ids)
            nursery.start_soon(self._steps, stream, number, ids)
            await self._listen(stream, number, ids)
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(stream.stream)

    def _head(self, stream: int) -> bytes:
        method = b"POST" if self._habit.pieces else b"GET"
        fields = [(b":method", method), (b":scheme", b"http"), (b":authority", self._host.encode())]
        end = 0 if self._habit.pieces else END_STREAM
        octets = block([*fields, (b":path", self._habit.path.encode())])
        return frame(Kind.HEADERS, END_HEADERS | end, stream, octets)

    async def _steps(self, stream: Shared, number: int, ids: range) -> None:
        """What all streams of a connection do at the same time."""
        habit = self._habit
        for piece in range(habit.pieces):
            await trio.sleep(habit.pause)
            end = END_STREAM if piece == habit.pieces - 1 else 0
            await stream.send(b"".join(frame(Kind.DATA, end, each, bytes(habit.size)) for each in ids))
        given = dict.fromkeys(ids, habit.window)
        while habit.sip:
            await trio.sleep(habit.pause)
            thirsty = [each for each in given if self.told.received.get((number, each), 0) == given[each]]
            await stream.send(b"".join(window_update(each, habit.sip) for each in thirsty))
            for each in thirsty:
                given[each] += habit.sip

    async def _listen(self, stream: Shared, number: int, ids: range) -> None:
        frames, told, left = Frames(stream.stream), self.told, set(ids)
        while left:
            try:
                batch = await frames.batch()
            except (EOFError, trio.BrokenResourceError):
                told.failed |= {(number, each): "the connection ended" for each in left}
                return
            for kind, flags, each, payload in batch:
                if kind == Kind.SETTINGS and not flags & ACK:
                    await stream.send(SETTINGS_ACK)
                elif kind == Kind.HEADERS:
                    told.received.setdefault((number, each), 0)
                    if not payload.startswith(b"\x88") and (number, each) not in told.whole:
                        told.failed[number, each] = "not 200"
                elif kind == Kind.DATA:
                    told.received[number, each] += len(payload)
                elif kind == Kind.RST_STREAM:
                    told.failed[number, each] = f"reset: {int.from_bytes(payload, 'big')}"
                    left.discard(each)
                if kind in {Kind.HEADERS, Kind.DATA} and flags & END_STREAM:
                    left.discard(each)
                    if (number, each) not in told.failed:
                        told.whole.add((number, each))
