"""The request body on its way up: read once from the client, kept for sending again while it is small.

Theory of operation: most bodies are here in full when the head is, and go out in the same write as the head; no task is
needed. One that still streams gets a task of its own, which lives through all attempts: it reads a piece, waits until
an attempt has a connection, writes it there. A slow upstream therefore stops the reading, which stops the client.
"""

from typing import Final

from meshd.core import flags
from meshd.core.asked import NO_LIMIT
from meshd.core.errors import DownstreamError, UpstreamError
from meshd.core.head import RequestHead
from meshd.core.spelling import fold, fold_all
from meshd.http.events import END, End
from meshd.http.owned import OwnedFields
from meshd.net import wait
from meshd.proxy.cut import Cut
from meshd.proxy.flight import Flight
from meshd.upstream.connection import Carrier

PROGRESS: Final = 1024  # octets of a body of known length that an idle time-out waits for


class Upload:
    """The body of one request. `kept` holds every piece so far, until there are more octets than may be kept."""

    __slots__ = (
        "_attached",
        "_connection",
        "_covered",
        "_flight",
        "_kept",
        "_limit",
        "_most",
        "_owned",
        "_since",
        "_started",
        "end",
        "ended",
        "failure",
        "size",
    )

    def __init__(self, flight: Flight, limit: int, owned: OwnedFields) -> None:
        self._flight = flight
        self._owned = owned
        self._limit = limit
        asked = flight.exchange.asked
        self._most = asked.max_request if asked is not None else NO_LIMIT  # octets
        self._kept: list[bytes] | None = []  # None once it was too much
        self._connection: Carrier | None = None
        self._covered = 0  # pieces that the current attempt got with its head
        self._attached = wait.Event()
        self._since = 0  # octets since the idle clock was started last
        self._started = False
        self.size = 0  # octets
        self.end: End | None = None  # set when the client has sent all
        self.ended = wait.Event()  # the reading task, if any, has nothing more to do
        self.failure: DownstreamError | None = None

    @property
    def replayable(self) -> bool:
        """Whether everything read so far can be sent again."""
        return self._kept is not None

    def whole(self) -> bytes | None:
        """All of the body; None when it is not here in full, or was too much to keep."""
        return b"".join(self._kept) if self.end is not None and self._kept is not None else None

    def take_ready(self) -> None:
        """Take the pieces that came with the head, without waiting."""
        down = self._flight.down
        while self.end is None:
            event = down.body_nowait()
            if event is None:
                return
            self._take(event)

    def prefix(self) -> tuple[bytes, bool]:
        """What a new attempt sends together with its head, and whether that is all of it."""
        if self._kept is None:
            raise AssertionError("a body that was not kept cannot be sent again")
        self._covered = len(self._kept)
        complete = self.end is not None and not self.end.trailers
        return (b"".join(self._kept) if self._kept else b""), complete

    async def attach(self, connection: Carrier) -> None:
        """Send the rest to `connection`, which has the prefix already."""
        if self.end is not None:
            await connection.finish(self.end.trailers)
            return
        self._connection = connection
        self._attached.set()
        if not self._started:
            self._started = True
            wait.spawn(self._run)

    def detach(self) -> None:
        """Send nothing more to the connection of an attempt that has ended."""
        self._connection = None
        if self._attached.is_set():  # else the task may be waiting on it already, and must hear of the next attempt
            self._attached = wait.Event()

    def _take(self, event: bytes | End) -> int:
        """Account for one piece and return its number."""
        if isinstance(event, End):
            self.end = believed(event, self._flight.exchange.head, self._owned) if event.trailers else event
            return -1
        self.size += len(event)
        if self.size > self._most:
            raise DownstreamError(413, flags.DOWNSTREAM_PROTOCOL, "request_payload_too_large")
        self._flight.exchange.bytes_received += len(event)
        if self._kept is None:
            return self._covered
        if self.size > self._limit and self._connection is not None:
            self._kept = None
            return self._covered
        self._kept.append(event)
        return len(self._kept) - 1

    async def _run(self) -> None:
        flight = self._flight
        try:
            while self.end is None:
                event = await flight.down.read_body()
                self._progress(event)
                number = self._take(event)
                await self._forward(event, number)
        except DownstreamError as error:
            self.failure = error
            if not flight.exchange.ended:  # else it was answered without this, and there is nothing left to cut
                flight.cut(Cut.BAD_BODY if error.flag == flags.DOWNSTREAM_PROTOCOL else Cut.GONE)
        finally:
            self.ended.set()

    def _progress(self, event: bytes | End) -> None:
        """The client goes on: the idle clock starts again. In a body of a declared length an octet now and then is no
        progress, and a client that sends so for hours holds a connection of the app; in any other it may be a message.
        """
        flight = self._flight
        self._since += len(event) if isinstance(event, bytes) else PROGRESS
        if self._since >= PROGRESS or flight.exchange.head.length is None:
            self._since = 0
            flight.touch(wait.now())

    async def _forward(self, event: bytes | End, number: int) -> None:
        while self._connection is None:
            if self._flight.exchange.ended:
                return  # answered without it: what still comes is read and dropped
            await self._attached.wait()
        if 0 <= number < self._covered:
            return  # this attempt got it with its head
        try:
            if isinstance(event, End):
                assert self.end is not None  # it was taken
                await self._connection.finish(self.end.trailers)
                start_response_clock(self._flight)
            else:
                await self._connection.send(event)
        except UpstreamError:
            # The reading side of the same connection learns more: an early response, or how it ended.
            self.detach()

    def release(self) -> None:
        """The exchange is over: let the task, if it waits for a connection, see that there will be none."""
        self._attached.set()

    def __repr__(self) -> str:
        state = "whole" if self.end else "under way"
        return f"<Upload {self.size} octets, {state}, {'kept' if self.replayable else 'not kept'}>"


def believed(end: End, head: RequestHead, owned: OwnedFields) -> End:
    """The end with those trailers that an app may take for fields of the head: none that is ours or a policy's to say,
    and none that the head has."""
    said = fold_all(name for name, _ in head.headers)
    kept = [each for each in end.trailers if owned.may_trail(each[0]) and fold(each[0]) not in said]
    return End(kept) if kept else END


def start_response_clock(flight: Flight) -> None:
    """The overall deadline counts from the end of the request, as Envoy's route time-out does; but what the client set
    itself (grpc-timeout) stands."""
    exchange = flight.exchange
    if exchange.route is not None and exchange.route.timeout:
        exchange.deadline = min(exchange.deadline, wait.now() + exchange.route.timeout)
