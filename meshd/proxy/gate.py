"""Asking authorizers outside whether a request may pass, before anything else is decided about it.

Rule 1: a question is an exchange of its own, carried like any other, with its own time-out; whatever becomes of it is
an answer or none, and none is judged as the provider says. Rule 2: a client that leaves, or a drain, ends the question
too. Rule 3: an answer is kept whole up to `MOST` octets; a larger one is none.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from meshd.core.errors import DownstreamError, ProxyError
from meshd.core.exchange import Exchange
from meshd.core.head import Headers, ResponseHead
from meshd.core.reply import Reply
from meshd.filters.ext_authz import Answer, Check, Gate
from meshd.http.events import END, End
from meshd.net import wait
from meshd.net.stream import Stream
from meshd.net.sweep import INTERVAL
from meshd.proxy.cut import Cut
from meshd.proxy.flight import Flight

MOST: Final = 65_536  # octets of an answer's body

Carry: TypeAlias = Callable[[Flight, str], Awaitable[None]]  # a question, and the cluster it goes to


class Asker:
    """The downstream of a question: it has said everything, and keeps the answer."""

    __slots__ = ("_body", "_head", "_is_whole")

    def __init__(self) -> None:
        self._head: ResponseHead | None = None
        self._body = b""
        self._is_whole = False

    @property
    def answer(self) -> Answer | None:
        """The answer; None until it is whole."""
        return Answer(self._head, self._body) if self._head is not None and self._is_whole else None

    def body_nowait(self) -> bytes | End | None:
        """There is none."""
        return END

    async def read_body(self) -> bytes | End:
        """There is none."""
        return END

    async def interim(self, head: ResponseHead) -> None:
        """Of no interest."""

    async def respond(self, head: ResponseHead, body: bytes, *, end: bool) -> None:
        """The head, and the first of the body."""
        self._head = head
        self._is_whole = end
        await self.send(body)

    async def send(self, data: bytes) -> None:
        """More of the body. Raises DownstreamError when it is too much."""
        self._body += data
        if len(self._body) > MOST:
            self._is_whole = False
            raise DownstreamError(0, "", "the answer of an authorizer is too large")

    async def finish(self, trailers: Headers) -> None:
        """That was all."""
        self._is_whole = True

    def take_over(self) -> tuple[Stream, bytes]:
        """Never: a question asks for no other protocol."""
        raise AssertionError("a question cannot become a tunnel")

    def is_gone(self) -> bool:
        """Never by itself."""
        return False

    def abort(self, reason: str, status: int) -> None:
        """There will be no more of the answer."""
        self._is_whole = False


async def pass_gate(flight: Flight, gate: Gate, carry: Carry) -> Reply | None:
    """Why the request may not pass; None when it may."""
    exchange = flight.exchange
    for step in gate.before.on_request:
        if (reply := step(exchange)) is not None:
            return reply
    for check in gate.checks:
        entry = check.rules.find(exchange)
        if entry is None:
            continue
        answer = await _ask(flight, check, carry)
        if (reply := check.judge(exchange, entry, answer)) is not None:
            return reply
    return None


async def _ask(flight: Flight, check: Check, carry: Carry) -> Answer | None:
    """The authorizer's answer; None when there is no whole one in time."""
    parent = flight.exchange
    asking = Exchange(check.question(parent), parent.peer, wait.now(), inbound=parent.inbound)
    asking.listener, asking.request_id, asking.route = parent.listener, parent.request_id, check.route
    asker = Asker()
    child = Flight(asking, asker)
    wait.spawn(_watch, flight, child)
    try:
        await carry(child, check.cluster)
    except ProxyError as error:
        parent.note("ext_authz_error", error.details)
        return None
    finally:
        asking.ended = asking.ended or wait.now()  # which ends the watch
    return asker.answer


async def _watch(flight: Flight, child: Flight) -> None:
    """Deadlines of the question, and the end of whoever asked."""
    while not child.exchange.ended:
        child.sweep(wait.now())
        if flight.cause is not None:
            child.cut(Cut.GONE)
        await wait.sleep_until(wait.now() + INTERVAL)
