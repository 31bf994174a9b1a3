"""An HTTP/2 connection being driven: one task reads, one writes, and streams run beside them.

Theory of operation. The session (`http/h2_*.py`) knows the protocol and does no I/O; the link moves octets between it
and the stream, and events from it to the lanes. Rule 1: there is one writer, and whoever has made the session say
something rings for it (`flush`) instead of writing; it runs after everybody who was due, so that what many streams had
to say leaves in one write. Rule 2: while more than `FULL` octets wait for the socket nobody adds to them. Rule 3: when
the connection is lost every lane is told, with the reason. Rule 4: a peer that has ended, or takes nothing more, may
have answered before; what it said is read to its end before anybody is told of a loss.
"""

from collections.abc import Callable
from typing import Final

from meshd.core.errors import StreamBroken
from meshd.http.events import END, End
from meshd.http.h2_client import ClientSession
from meshd.http.h2_events import (
    Body,
    Closed,
    Code,
    Ended,
    PingAcked,
    RequestArrived,
    RequestRefused,
    Reset,
    ResponseArrived,
    SettingsChanged,
    WindowOpened,
)
from meshd.http.h2_server import ServerSession
from meshd.net import wait
from meshd.net.stream import Stream
from meshd.net.verify import alert_in
from meshd.upstream.lane import Lane

FULL: Final = 262_144  # octets of body that wait for the socket
LAST_WORD: Final = 1.0  # seconds for the GOAWAY of a connection that ends
PING: Final = b"meshd-ok"

Request = RequestArrived | RequestRefused


class Link:
    """`on_request` hears of what a client asks for; a client's link has none."""

    __slots__ = (
        "_gate",
        "_is_read",
        "_on_request",
        "_ringing",
        "_waiting",
        "alert",
        "deadline",
        "heard_at",
        "lanes",
        "pinged_at",
        "reason",
        "session",
        "settled",
        "starving",
        "stream",
    )

    def __init__(
        self,
        session: ClientSession | ServerSession,
        stream: Stream,
        on_request: Callable[[Request], None] | None = None,
    ) -> None:
        self.session = session
        self.stream = stream
        self.lanes: dict[int, Lane] = {}
        self.starving: set[Lane] = set()  # those that wait for window
        self.settled = wait.Event()  # the peer's first SETTINGS have come, or never will
        self.alert = ""  # of TLS, that ended the connection
        self.reason = ""  # why the connection is of no more use
        self.heard_at = wait.now()
        self.pinged_at = 0.0  # 0 while no ping is out
        self.deadline = float("inf")  # when a connection that ends is closed, whatever is still to be written
        self._on_request = on_request
        self._ringing = wait.Signal()
        self._waiting = 0  # octets of body that the session has and the socket has not
        self._gate: wait.Event | None = None
        self._is_read = False

    # -- for lanes -----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Have what the session says written, after everybody who is due has said something."""
        self._ringing.set()

    @property
    def is_full(self) -> bool:
        """Whether more must not be given to the session now."""
        return self._waiting >= FULL and not self.reason

    async def drained(self) -> None:
        """Wait until the socket has taken what waits, or never will. May return without cause."""
        if self._gate is None:
            self._gate = wait.Event()
        await self._gate.wait()

    def sent(self, octets: int) -> None:
        """So many octets of body were given to the session."""
        self._waiting += octets
        self._ringing.set()

    def consumed(self, stream: int, octets: int) -> None:
        """So many octets of body were taken out of a lane: the peer may send as many more."""
        self.session.acknowledge(stream, octets)
        self._ringing.set()

    def forget(self, lane: Lane) -> None:
        """A lane is used no more."""
        self.lanes.pop(lane.id, None)
        self._ringing.set()

    # -- the two tasks -------------------------------------------------------------------------------------------

    async def read(self, early: bytes = b"") -> None:
        """Hear the peer until the connection is of no more use; afterwards every lane is over. `early` came before."""
        session, stream = self.session, self.stream
        self._is_read = True
        try:
            while session.closed is None:
                data = early or await stream.receive()
                early = b""
                now = wait.now()
                if data:
                    self.heard_at = now
                    if not self.settled.is_set():
                        self.alert = self.alert or alert_in(data)
                for event in session.receive(data, now):
                    self._hear(event)
                self._ringing.set()
                if self.lanes:
                    stream.acknowledge()
        except StreamBroken as error:
            self.alert = self.alert or error.alert
            self.lose(str(error))
        finally:
            self._is_read = False
            session.release()
            self.deadline = wait.now() + LAST_WORD
            self.settled.set()
            self._ringing.set()

    async def write(self) -> None:
        """Say what the session has to say, all of it at a time, until the connection is of no more use; then close."""
        session, stream = self.session, self.stream
        try:
            while True:
                while data := session.data_to_send():
                    if self._waiting and self._is_read and stream.is_gone():
                        await self._hear_out("the peer closed the connection")
                        return
                    self._waiting = 0
                    await stream.send(data)
                self.open_gate()
                if session.closed is not None or self.reason:
                    return
                await self._ringing.wait()
        except StreamBroken as error:
            await self._hear_out(str(error))
            self.lose(str(error))
        finally:
            self.reason = self.reason or "the connection has ended"
            self.open_gate()
            stream.abort(self.reason)

    async def _hear_out(self, reason: str) -> None:
        """Let the reader come to the end of what the peer has said, but not for longer than a last word takes."""
        self.reason = self.reason or reason
        self.deadline = min(self.deadline, wait.now() + LAST_WORD)
        while self._is_read:
            await self._ringing.wait()

    def open_gate(self) -> None:
        """Let whoever waits in `drained` look again."""
        if self._gate is not None:
            self._gate.set()
            self._gate = None

    # -- events --------------------------------------------------------------------------------------------------

    def _hear(self, event: object) -> None:
        if isinstance(event, RequestArrived | RequestRefused):
            assert self._on_request is not None
            self._on_request(event)
        elif isinstance(event, Body):
            self._put(event.stream, event.data)
        elif isinstance(event, Ended):
            self._put(event.stream, End(event.trailers) if event.trailers else END)
        elif isinstance(event, ResponseArrived):
            self._put(event.stream, event.head)
        elif isinstance(event, Reset):
            if (lane := self.lanes.get(event.stream)) is not None:
                lane.end(event)
        elif isinstance(event, WindowOpened):
            self._widen(event.stream)
        elif isinstance(event, PingAcked):
            self.pinged_at = 0.0
        elif isinstance(event, SettingsChanged):
            self.settled.set()
        elif isinstance(event, Closed):
            self.reason = self.reason or event.details

    def _widen(self, stream: int) -> None:
        for lane in (self.lanes.get(stream),) if stream else tuple(self.starving):
            if lane is not None:
                lane.widen()

    def _put(self, stream: int, item: object) -> None:
        lane = self.lanes.get(stream)
        if lane is not None:
            lane.put(item)  # type: ignore[arg-type]  # one of the three that `_hear` puts

    def lose(self, reason: str) -> None:
        """The connection is of no more use: tell every lane why."""
        self.reason = self.reason or reason
        self.session.receive(b"", wait.now())  # over for the session too; it would call any end the peer's own
        for lane in tuple(self.lanes.values()):
            lane.end(Reset(lane.id, Code.CANCEL, self.reason, by_peer=True))
        self._ringing.set()

    # -- upkeep --------------------------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Give up streams that starve, and a connection whose last word nobody takes."""
        for stream in self.session.starved(now):
            lane = self.lanes.get(stream)
            if lane is not None:
                lane.reset(Code.CANCEL, "the peer opened no window for too long")
        if now > self.deadline:
            self.stream.abort(self.reason)

    def keep_alive(self, now: float, interval: float, limit: float) -> None:
        """Ask a peer that was silent for `interval` whether it lives, and give it up after `limit` without an answer.
        Only while streams are open: an idle connection is the pool's to close."""
        if not self.lanes or self.session.closed is not None or not isinstance(self.session, ClientSession):
            return
        if self.pinged_at:
            if self.heard_at > self.pinged_at:
                self.pinged_at = 0.0  # whatever it said, it lives
            elif now - self.pinged_at > limit:
                self.reason = self.reason or "the peer did not answer a ping"
                self.stream.abort(self.reason)
        elif now - self.heard_at > interval:
            self.pinged_at = now
            self.session.ping(PING)
            self._ringing.set()

    def close(self, reason: str) -> None:
        """End it now, with a GOAWAY if the socket takes it at once."""
        if self.session.closed is None:
            self.session.go_away(Code.NO_ERROR, reason)
        self.lose(reason)
        self.deadline = min(self.deadline, wait.now() + LAST_WORD)

    def __repr__(self) -> str:
        return f"<Link {self.session!r} {len(self.lanes)} lanes{f' over: {self.reason}' if self.reason else ''}>"
