"""Asking authorizers outside whether a request may pass, before anything else is decided about it.

Rule 1: a question is an exchange of its own, carried like any other, with its own time-out; whatever becomes of it is
an answer or none, and none is judged as the provider says. Rule 2: a client that leaves, or a drain, ends the question
too. Rule 3: an answer is kept whole up to `MOST` octets; a larger one is none. Rule 4: what is read of a body to be
shown stays with the exchange, and goes on to the app as if nobody had looked.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from meshd.core import flags
from meshd.core.errors import DownstreamError, ProxyError
from meshd.core.exchange import Exchange
from meshd.core.head import Headers, RequestHead, ResponseHead
from meshd.core.reply import Reply
from meshd.filters.ext_authz import Answer, BodyLimit, Check, Gate, Shown
from meshd.http.events import END, End
from meshd.http.grpc import begin_rpc, is_grpc
from meshd.net import wait
from meshd.net.stream import Stream
from meshd.net.sweep import INTERVAL
from meshd.proxy.cut import Cut
from meshd.proxy.flight import Flight
from meshd.proxy.held import Held

MOST: Final = 65_536  # octets of an answer's body

Carry: TypeAlias = Callable[[Flight, str], Awaitable[None]]  # a question, and the cluster it goes to


class Asker:
    """The downstream of a question: it says all it has to say at once, and keeps the answer."""

    __slots__ = ("_body", "_head", "_is_whole", "_question", "_trailers")

    def __init__(self, question: bytes = b"") -> None:
        self._question = question
        self._head: ResponseHead | None = None
        self._body = b""
        self._trailers: Headers = []
        self._is_whole = False

    @property
    def answer(self) -> Answer | None:
        """The answer; None until it is whole."""
        return Answer(self._head, self._body, self._trailers) if self._head is not None and self._is_whole else None

    def body_nowait(self) -> bytes | End | None:
        """All of the question's body, then its end."""
        question, self._question = self._question, b""
        return question or END

    async def read_body(self) -> bytes | End:
        """As `body_nowait`: everything is here."""
        question, self._question = self._question, b""
        return question or END

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
        self._trailers = trailers
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
    """Why the request may not pass; None when it may. Raises DownstreamError when its body cannot be shown."""
    exchange = flight.exchange
    for step in gate.before.on_request:
        if (reply := step(exchange)) is not None:
            return reply
    held: Held | None = None
    for check in gate.checks:
        entry = check.asking.rules.find_as_read(exchange)
        if entry is None:
            continue
        shown, limit = None, check.asking.body
        if limit is not None and has_body(exchange.head):
            if held is None:
                held = Held(flight)
                flight.down = held
            shown = await _show(held, exchange.head, limit)
        answer = await _ask(flight, check, shown, carry)
        if (reply := check.judge(exchange, entry, answer)) is not None:
            exchange.bytes_received = held.size if held is not None else 0
            return reply
    return None


def has_body(head: RequestHead) -> bool:
    """Whether there is a body to show. What follows a request for another protocol is none."""
    return head.length != 0 and head.upgrade is None


async def _show(held: Held, head: RequestHead, limit: BodyLimit) -> Shown:
    """As much of the body as the authorizer sees. Raises DownstreamError for one that is too large, whether or not the
    authorizer may fail open."""
    is_larger = head.length is not None and head.length > limit.most
    if limit.partial and is_larger:
        await held.read(limit.most - 1)  # no more needs to be here to know that there is more
    elif not is_larger:
        await held.read(limit.most)
    is_larger = is_larger or not held.is_whole or held.size > limit.most
    if is_larger and not limit.partial:
        raise DownstreamError(413, flags.DOWNSTREAM_PROTOCOL, "request_payload_too_large")
    return Shown(held.beginning(limit.most), partial=is_larger)


async def _ask(flight: Flight, check: Check, shown: Shown | None, carry: Carry) -> Answer | None:
    """The authorizer's answer; None when there is no whole one in time."""
    parent, about = flight.exchange, check.asking
    question = check.question(parent, shown)
    asking = Exchange(question.head, parent.peer, wait.now(), inbound=parent.inbound)
    asking.listener, asking.request_id, asking.route = parent.listener, parent.request_id, about.route
    if is_grpc(question.head.get(b"content-type")) and question.head.protocol == b"h2":
        asking.rpc = begin_rpc(question.head, asking.started)
    asker = Asker(question.body)
    child = Flight(asking, asker)
    wait.spawn(_watch, flight, child)
    try:
        await carry(child, about.cluster)
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
