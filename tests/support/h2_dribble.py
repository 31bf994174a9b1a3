"""An app of HTTP/2 that answers thousands of streams slowly: `python h2_dribble.py PORT_FILE`; raw frames, no library.

GET /down/COUNT/SIZE/SECONDS: COUNT pieces of SIZE octets, one every so many seconds. POST /up: "ok" once the body is
whole. GET /whole/SIZE: that many octets as fast as the windows allow.
"""

import os
import sys
from pathlib import Path

import trio
from hpack import Decoder

sys.path.insert(0, str(Path(__file__).parents[1]))  # when it runs by itself

from support.http2 import SETTINGS_ACK, settings

from meshd.http.h2_frames import ACK, END_HEADERS, END_STREAM, PREFACE, Kind, frame, window_update

HEADER = 9
TICK = 0.05  # seconds between looks at what is due
WINDOW = 65535
PIECE = 16384


class Frames:
    """What comes on a connection, frame by frame."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._octets = bytearray()

    async def skip(self, count: int) -> None:
        while len(self._octets) < count:
            await self._more()
        del self._octets[:count]

    async def batch(self) -> list[tuple[int, int, int, bytes]]:
        """All whole frames that are here, one at least: kind, flags, stream, payload. Raises EOFError."""
        found: list[tuple[int, int, int, bytes]] = []
        while not found:
            at, octets = 0, self._octets
            while at + HEADER <= len(octets):
                size = HEADER + int.from_bytes(octets[at : at + 3], "big")
                if at + size > len(octets):
                    break
                stream = int.from_bytes(octets[at + 5 : at + HEADER], "big") & 0x7FFFFFFF
                found.append((octets[at + 3], octets[at + 4], stream, bytes(octets[at + HEADER : at + size])))
                at += size
            del octets[:at]
            if not found:
                await self._more()
        return found

    async def _more(self) -> None:
        data = await self._stream.receive_some(262144)
        if not data:
            raise EOFError
        self._octets += data


class Answer:
    """What is left to be sent on one stream."""

    def __init__(self, path: str) -> None:
        _, kind, *numbers = path.split("/")
        self.count, self.size, self.pause = 1, int(numbers[0]) if kind == "whole" else 2, 0.0
        if kind == "down":
            self.count, self.size, self.pause = int(numbers[0]), int(numbers[1]), float(numbers[2])
        self.due = trio.current_time() + self.pause
        self.left = self.size  # of the piece that is due
        self.window = WINDOW


class Connection:
    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._frames = Frames(stream)
        self._decoder = Decoder()
        self._asked: dict[int, Answer] = {}
        self._answers: dict[int, Answer] = {}  # to requests that are whole
        self._window = WINDOW
        self._out = bytearray()
        self._ring = trio.Event()

    async def serve(self) -> None:
        await self._frames.skip(len(PREFACE))
        self._say(settings(streams=1000) + window_update(0, 2**30))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            while True:
                for each in await self._frames.batch():
                    self._hear(*each)

    def _say(self, octets: bytes) -> None:
        self._out += octets
        self._ring.set()

    def _hear(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == Kind.HEADERS:
            path = dict(self._decoder.decode(payload))[":path"]
            self._asked[stream] = Answer(path)
        elif kind == Kind.WINDOW_UPDATE:
            size = int.from_bytes(payload, "big")
            if not stream:
                self._window += size
            elif stream in self._answers:
                self._answers[stream].window += size
            self._ring.set()
        elif kind == Kind.SETTINGS and not flags & ACK:
            self._say(SETTINGS_ACK)
        elif kind == Kind.PING and not flags & ACK:
            self._say(frame(Kind.PING, ACK, 0, payload))
        elif kind == Kind.RST_STREAM:
            self._asked.pop(stream, None)
            self._answers.pop(stream, None)
        if kind in {Kind.HEADERS, Kind.DATA} and flags & END_STREAM:
            self._answers[stream] = self._asked.pop(stream)
            self._say(frame(Kind.HEADERS, END_HEADERS, stream, b"\x88"))  # :status 200

    async def _write(self) -> None:
        while True:
            with trio.move_on_after(TICK):
                await self._ring.wait()
            self._ring = trio.Event()
            now = trio.current_time()
            for stream, answer in list(self._answers.items()):
                while answer.due <= now and self._window and answer.window and stream in self._answers:
                    self._send(stream, answer)
            out, self._out = self._out, bytearray()
            if out:
                await self._stream.send_all(out)

    def _send(self, stream: int, answer: Answer) -> None:
        """As much of the piece that is due as the windows take in one frame."""
        size = min(answer.left, answer.window, self._window, PIECE)
        answer.left -= size
        answer.window -= size
        self._window -= size
        end = not answer.left and answer.count == 1
        self._out += frame(Kind.DATA, END_STREAM if end else 0, stream, bytes(size))
        if not answer.left:
            answer.count -= 1
            answer.left = answer.size
            answer.due += answer.pause
        if end:
            del self._answers[stream]


async def serve(stream: trio.SocketStream) -> None:
    try:
        await Connection(stream).serve()
    except* (EOFError, trio.BrokenResourceError):
        pass
    await trio.aclose_forcefully(stream)


async def main(port_file: Path) -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        fresh = port_file.with_suffix(".new")
        fresh.write_text(str(listeners[0].socket.getsockname()[1]))
        os.replace(fresh, port_file)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
