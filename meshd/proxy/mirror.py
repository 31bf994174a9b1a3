"""Copies of requests, sent elsewhere: nobody waits for them, and their answers are read and dropped.

Rule 1: a copy costs the request it was made of nothing but the copying: it runs in a task of its own, with a deadline
of its own, and whatever becomes of it is nobody's concern. Rule 2: only what is here in full is copied: a body larger
than the route keeps for sending again is not. Rule 3: at most `MOST` copies are under way in a worker; further ones
are not made, and the exchange notes so.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from meshd.core.errors import ProxyError
from meshd.core.exchange import Exchange
from meshd.core.head import Headers, RequestHead, ResponseHead, split_authority
from meshd.core.route import NO_RETRY, Route
from meshd.http.events import END, End
from meshd.net import wait
from meshd.net.stream import Stream
from meshd.net.sweep import INTERVAL
from meshd.proxy.flight import Flight

MOST: Final = 128
SUFFIX: Final = b"-shadow"  # of the host, as Envoy marks copies
ROUTE: Final = Route("mirror", retry=NO_RETRY)


class Nobody:
    """The downstream of a copy: it has sent all it has to say, and listens to nothing."""

    __slots__ = ("_body",)

    def __init__(self, body: bytes) -> None:
        self._body = body

    def body_nowait(self) -> bytes | End | None:
        """The body, then its end."""
        body, self._body = self._body, b""
        return body or END

    async def read_body(self) -> bytes | End:
        """As `body_nowait`: everything is here."""
        body, self._body = self._body, b""
        return body or END

    async def interim(self, head: ResponseHead) -> None:
        """Dropped."""

    async def respond(self, head: ResponseHead, body: bytes, *, end: bool) -> None:
        """Dropped."""

    async def send(self, data: bytes) -> None:
        """Dropped."""

    async def finish(self, trailers: Headers) -> None:
        """Dropped."""

    def take_over(self) -> tuple[Stream, bytes]:
        """Never: a copy asks for no other protocol."""
        raise AssertionError("a copy cannot become a tunnel")

    def is_gone(self) -> bool:
        """Never."""
        return False

    def abort(self, reason: str, status: int) -> None:
        """There is nobody to tell."""


class Copies:
    """Those under way in this worker."""

    __slots__ = ("_is_watched", "_under_way")

    def __init__(self) -> None:
        self._under_way: set[Flight] = set()
        self._is_watched = False

    def send(self, exchange: Exchange, body: bytes, carry: Callable[[str, Flight], Awaitable[None]]) -> None:
        """Send the copies that filters asked for, each by `carry` to the cluster of its name; once."""
        asked = exchange.asked
        if asked is None:
            return
        mirrors, asked.mirrors = asked.mirrors, []
        if exchange.head.upgrade is not None or exchange.head.method == b"CONNECT":
            return
        for name in mirrors:
            if not self.start(exchange, body, partial(carry, name)):
                exchange.note("mirror", "no copy: too many are under way")

    def start(self, exchange: Exchange, body: bytes, carry: Callable[[Flight], Awaitable[None]]) -> bool:
        """Send a copy of `exchange` by `carry`; False when there are too many already."""
        if len(self._under_way) >= MOST:
            return False
        flight = Flight(copy_of(exchange, body, wait.now()), Nobody(body))
        self._under_way.add(flight)
        wait.spawn(self._run, flight, carry)
        if not self._is_watched:
            self._is_watched = True
            wait.spawn(self._watch)
        return True

    async def _run(self, flight: Flight, carry: Callable[[Flight], Awaitable[None]]) -> None:
        try:
            await carry(flight)
        except ProxyError:
            pass  # rule 1
        finally:
            self._under_way.discard(flight)

    async def _watch(self) -> None:
        """Deadlines, for as long as there are any."""
        while self._under_way:
            await wait.sleep_until(wait.now() + INTERVAL)
            now = wait.now()
            for flight in tuple(self._under_way):
                flight.sweep(now)
        self._is_watched = False

    def __repr__(self) -> str:
        return f"<Copies {len(self._under_way)} under way>"


def copy_of(exchange: Exchange, body: bytes, now: float) -> Exchange:
    """The same request, to a host that says what it is."""
    head = exchange.head
    fresh = RequestHead(head.method, head.forwarded_path, shadow(head.authority), list(head.headers))
    fresh.query = head.query
    fresh.scheme = head.scheme
    fresh.length = len(body)
    copy = Exchange(fresh, exchange.peer, now, inbound=exchange.inbound)
    copy.listener = exchange.listener
    copy.request_id = exchange.request_id
    copy.route = ROUTE
    return copy


def shadow(authority: bytes) -> bytes:
    """The authority with the suffix on its host; an address has no host name to put it on."""
    host, port = split_authority(authority)
    if host.endswith(b"]") or host.replace(b".", b"").isdigit():
        return authority
    return host + SUFFIX if port is None else b"%b%b:%d" % (host, SUFFIX, port)
