"""One stream of an HTTP/2 connection, as the task that uses it sees it: a letter box and two bells.

The connection's reader puts in what came and rings; the task takes it out when it likes. What it has not taken out
counts against the peer's window, so nobody's body piles up beyond that, and a task that is slow slows its own peer and
nobody else.
"""

from collections import deque
from typing import TYPE_CHECKING

from meshd.core.errors import StreamBroken
from meshd.core.head import Headers, ResponseHead
from meshd.http.events import End
from meshd.http.h2_events import Code, Reset
from meshd.net import wait

if TYPE_CHECKING:
    from meshd.upstream.link import Link


LEFT = Reset(0, Code.CANCEL, "nobody uses the stream any more", by_peer=False)


class Lane:
    """Everything that waits raises StreamBroken when the stream, or its connection, is over before its time."""

    __slots__ = ("_drops", "_heard", "_inbox", "_room", "broken", "id", "link")

    def __init__(self, link: "Link", stream: int) -> None:
        self.link = link
        self.id = stream
        self.broken: Reset | None = None  # how it ended before its time
        self._inbox: deque[ResponseHead | bytes | End] = deque()
        self._drops = False
        self._heard = wait.Signal()
        self._room = wait.Signal()

    # -- for the reader of the connection ------------------------------------------------------------------------

    def put(self, item: ResponseHead | bytes | End) -> None:
        """Something came."""
        if self._drops:
            self.link.consumed(self.id, len(item)) if isinstance(item, bytes) else self.leave()
            return
        self._inbox.append(item)
        self._heard.set()

    def widen(self) -> None:
        """There may be room to send again."""
        self._room.set()

    def end(self, reset: Reset) -> None:
        """The stream is over; what came before stays to be read."""
        if self.broken is None:
            self.broken = reset
        self._heard.set()
        self._room.set()
        self.link.open_gate()

    # -- for the task --------------------------------------------------------------------------------------------

    def take(self) -> ResponseHead | bytes | End | None:
        """What came first of what is here; None when nothing is. Body counts as consumed from now on."""
        if not self._inbox:
            return None
        item = self._inbox.popleft()
        if isinstance(item, bytes):
            self.link.consumed(self.id, len(item))
        return item

    def take_body(self) -> tuple[bytes, End | None]:
        """All of the body that is here, and its end if that is here too."""
        pieces: list[bytes] = []
        end = None
        while self._inbox and not isinstance(self._inbox[0], ResponseHead):
            item = self._inbox.popleft()
            if isinstance(item, End):
                end = item
                break
            assert isinstance(item, bytes)
            pieces.append(item)
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if body:
            self.link.consumed(self.id, len(body))
        return body, end

    async def next(self) -> ResponseHead | bytes | End:
        """The same as `take`, once it is here."""
        while not self._inbox:
            if self.broken is not None:
                raise StreamBroken(self.broken.details)
            await self._heard.wait()
        item = self.take()
        assert item is not None
        return item

    async def send(self, data: bytes, *, end: bool = False) -> None:
        """Send body as fast as the peer takes it; with `end` the message ends behind it."""
        link = self.link
        session = link.session
        while True:
            while link.is_full and self.broken is None:
                await link.drained()
            if self.broken is not None:
                raise StreamBroken(self.broken.details)
            taken = session.send_data(self.id, data, end=end)
            link.sent(taken)
            if taken == len(data):
                return
            data = data[taken:]
            link.starving.add(self)
            try:
                await self._room.wait()
            finally:
                link.starving.discard(self)

    def finish(self, trailers: Headers) -> None:
        """End the message."""
        if self.broken is not None:
            raise StreamBroken(self.broken.details)
        self.link.session.send_trailers(self.id, trailers)
        self.link.flush()

    def reset(self, code: int, reason: str) -> None:
        """Give the stream up and wake whoever waits on it; nothing when it is over anyway."""
        self.link.session.reset(self.id, code)
        self.link.flush()
        self.end(Reset(self.id, code, reason, by_peer=False))

    def drop(self) -> None:
        """Nobody reads it any more, but the peer may say all it has to say: what comes is thrown away as it comes."""
        self._drops = True
        if self._inbox:
            self.take_body()

    def leave(self) -> None:
        """Nobody uses it any more: what is still open of it is given up, in the way that costs the peer least.

        An upload that was answered before its end may still wait here: it hears that nothing more comes.
        """
        if self._inbox:
            self.take_body()  # its octets count against the window of all the others
        self.link.session.reset(self.id, Code.NO_ERROR if not self.link.session.client else Code.CANCEL)
        self.link.forget(self)
        if self.broken is None:
            self.broken = LEFT
        self._heard.set()
        self._room.set()

    def __repr__(self) -> str:
        return f"<Lane {self.id} {'broken' if self.broken else f'{len(self._inbox)} to read'}>"
