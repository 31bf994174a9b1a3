"""A second try beside a first one that takes too long: the first good answer wins (Envoy's hedge on per-try time-out).

Theory of operation: the first try goes on waiting in the client's task. Its rival is a whole exchange of its own, in a
task of its own, with a downstream that lets it speak to the client only if it wins. Whoever gets a good response head
first wins and ends the other; a server error wins only when there is nobody else left.
Rule 1: only one of the two ever writes to the client: `respond` decides, in one step, before the first octet.
Rule 2: once the rival has won the client's task only waits for it, and takes over all that it learnt.
Rule 3: the rival ends with the exchange, whatever happens.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from meshd.core import flags
from meshd.core.errors import DownstreamError, ProxyError
from meshd.core.exchange import Exchange
from meshd.core.head import Headers, ResponseHead
from meshd.core.route import NO_RETRY
from meshd.net import wait
from meshd.net.stream import Stream
from meshd.proxy.cut import Cut
from meshd.proxy.flight import NEVER, Flight
from meshd.proxy.mirror import Nobody, copy_of

LOST = "another attempt answered first"


class Rival(Nobody):
    """The second try, and the downstream it sees."""

    __slots__ = ("_main", "alone", "ended", "error", "flight", "lost", "won")

    def __init__(self, main: Flight, body: bytes) -> None:
        super().__init__(body)
        self._main = main
        self.flight = Flight(_twin(main.exchange, body), self)
        self.ended = wait.Event()
        self.error: ProxyError | None = None
        self.alone = False  # the first try has failed
        self.won = False
        self.lost = False

    async def run(self, carry: Callable[[Flight], Awaitable[None]]) -> None:
        """Try. Raises nothing that is ours: how it ended is in `error`."""
        try:
            await carry(self.flight)
        except ProxyError as error:
            self.error = error
        finally:
            self.ended.set()

    def lose(self) -> None:
        """The first try has the answer, or there is nobody to tell."""
        if not self.won:
            self.lost = True
            self.flight.cut(Cut.GONE)

    async def finish_race(self) -> bool:
        """The first try failed, or has lost: wait for this one to end, and say whether it answered the client.

        The exchange knows then what this try learnt. Raises when the answer broke off.
        """
        self.alone = True
        main, twin = self._main, self.flight.exchange
        main.idle_deadline = NEVER  # the rival's own flight sees to that
        await self.ended.wait()
        main.touch(wait.now())
        main.exchange.attempts += twin.attempts[len(main.exchange.attempts) :]
        if not self.won:
            return False
        _merge(twin, main.exchange)
        if self.error is not None:
            raise self.error
        return True

    # -- Downstream ----------------------------------------------------------------------------------------------

    async def respond(self, head: ResponseHead, body: bytes, *, end: bool) -> None:
        """Win, or learn that the race is over."""
        if self.lost or (head.status >= 500 and not self.alone):
            self.lost = True
            raise DownstreamError(0, flags.DOWNSTREAM_GONE, LOST)
        self.won = True
        self._main.overtake()
        await self._main.down.respond(head, body, end=end)

    async def send(self, data: bytes) -> None:
        """To the client."""
        await self._main.down.send(data)

    async def finish(self, trailers: Headers) -> None:
        """To the client."""
        await self._main.down.finish(trailers)

    def take_over(self) -> tuple[Stream, bytes]:
        """Never: what asks for another protocol is not hedged."""
        raise AssertionError("a hedged request cannot become a tunnel")

    def is_gone(self) -> bool:
        """Whether the client has left."""
        return self._main.down.is_gone()

    def abort(self, reason: str, status: int) -> None:
        """End the client's response where it stands, if it is ours."""
        if self.won:
            self._main.down.abort(reason, status)

    def __repr__(self) -> str:
        return f"<Rival {'won' if self.won else 'lost' if self.lost else 'under way'}>"


def _twin(exchange: Exchange, body: bytes) -> Exchange:
    """The same exchange for the rival: it tries elsewhere, once, until the same deadline."""
    twin = copy_of(exchange, body, exchange.started)
    route = exchange.route
    assert route is not None
    twin.head.authority = exchange.head.authority
    twin.route = replace(route, retry=NO_RETRY, attempt_timeout=None, hedge=False)
    twin.cluster = exchange.cluster
    twin.trace = exchange.trace
    twin.rpc = exchange.rpc
    twin.asked = exchange.asked
    twin.delay = exchange.delay
    twin.attempts = list(exchange.attempts)
    return twin


def _merge(twin: Exchange, exchange: Exchange) -> None:
    exchange.response = twin.response
    exchange.status = twin.status
    exchange.details = twin.details
    exchange.responded = twin.responded
    exchange.bytes_sent = twin.bytes_sent
    exchange.ended = twin.ended
