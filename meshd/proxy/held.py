"""A request body of which the beginning is read before anybody knows where the request goes, and kept for whoever it
goes to.

Theory of operation: `Held` takes the place of the client's side of an exchange. `read` collects pieces until there are
enough; whoever carries the exchange on then reads these first and the rest as it comes, and sees no difference.
Rule 1: no more is read than was asked for and the piece that goes beyond it, so memory is bounded by what the caller
asks for and the size of one piece. Rule 2: a reader that waits gives way when the exchange is cut, as a ticket of a
pool does. It then still waits for the client, until whoever ends the connection wakes it, and does no more.
"""

from collections import deque

from meshd.core import flags, proxy_errors
from meshd.core.errors import DownstreamError
from meshd.core.head import Headers, ResponseHead
from meshd.http.events import End
from meshd.net import wait
from meshd.net.stream import Stream
from meshd.proxy.cut import Cut
from meshd.proxy.flight import Downstream, Flight

CONTINUE = 100


class Held:
    """The client's side of one exchange, some of whose body is here."""

    __slots__ = ("_done", "_down", "_failure", "_flight", "_pieces", "_wanted", "is_whole", "size")

    def __init__(self, flight: Flight) -> None:
        self._flight = flight
        self._down: Downstream = flight.down
        self._pieces: deque[bytes | End] = deque()
        self._wanted = 0
        self._done = wait.Event()
        self._failure: DownstreamError | None = None
        self.size = 0  # octets that are here
        self.is_whole = False  # the end is here as well

    async def read(self, most: int) -> None:
        """Have the whole body here, or more octets than `most`. Raises DownstreamError."""
        self._wanted = most
        self._take_ready()
        if self._has_enough:
            return
        flight = self._flight
        await self._encourage()
        self._done = wait.Event()
        flight.ticket = self
        wait.spawn(self._run)
        await self._done.wait()
        flight.ticket = None
        if self._failure is not None:
            raise self._failure
        if flight.cause is Cut.IDLE:
            kind = proxy_errors.HTTP_REQUEST_ERROR  # no next hop was asked anything
            raise DownstreamError(408, flags.STREAM_IDLE, flight.cause.value, proxy_error=kind)
        if flight.cause is not None:
            self._down.abort(flight.cause.value, 503)
            raise DownstreamError(0, flags.DOWNSTREAM_GONE, flight.cause.value)

    def beginning(self, most: int) -> bytes:
        """The first octets of what is here, at most so many."""
        return b"".join([piece for piece in self._pieces if isinstance(piece, bytes)])[:most]

    def expire(self) -> None:
        """The exchange was cut: nobody waits for more."""
        self._done.set()

    @property
    def _has_enough(self) -> bool:
        return self.is_whole or self.size > self._wanted

    def _take_ready(self) -> None:
        while not self._has_enough and (piece := self._down.body_nowait()) is not None:
            self._keep(piece)

    def _keep(self, piece: bytes | End) -> None:
        self._pieces.append(piece)
        if isinstance(piece, End):
            self.is_whole = True
        else:
            self.size += len(piece)

    async def _encourage(self) -> None:
        """Who waits for a word before it sends its body (RFC 9110 section 10.1.1) gets it from us, and only once."""
        head = self._flight.exchange.head
        if head.expect_continue:
            head.expect_continue = False
            await self._down.interim(ResponseHead(CONTINUE))

    async def _run(self) -> None:
        flight = self._flight
        try:
            while not self._has_enough and flight.cause is None:
                self._keep(await self._down.read_body())
                flight.touch(wait.now())
        except DownstreamError as error:
            self._failure = error
        finally:
            self._done.set()

    # -- Downstream ----------------------------------------------------------------------------------------------

    def body_nowait(self) -> bytes | End | None:
        """The next piece of the body that is here."""
        return self._pieces.popleft() if self._pieces else self._down.body_nowait()

    async def read_body(self) -> bytes | End:
        """The next piece of the body, or its end."""
        return self._pieces.popleft() if self._pieces else await self._down.read_body()

    async def interim(self, head: ResponseHead) -> None:
        """To the client."""
        await self._down.interim(head)

    async def respond(self, head: ResponseHead, body: bytes, *, end: bool) -> None:
        """To the client."""
        await self._down.respond(head, body, end=end)

    async def send(self, data: bytes) -> None:
        """To the client."""
        await self._down.send(data)

    async def finish(self, trailers: Headers) -> None:
        """To the client."""
        await self._down.finish(trailers)

    def take_over(self) -> tuple[Stream, bytes]:
        """Never: what asks for another protocol has no body that could be held."""
        raise AssertionError("a request whose body is held cannot become a tunnel")

    def is_gone(self) -> bool:
        """Whether the client has left."""
        return self._down.is_gone()

    def abort(self, reason: str, status: int) -> None:
        """End the client's response where it stands."""
        self._down.abort(reason, status)

    def __repr__(self) -> str:
        return f"<Held {self.size} octets{'' if self.is_whole else ' and more to come'}>"
