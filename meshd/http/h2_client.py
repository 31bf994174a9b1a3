"""The client's side of an HTTP/2 connection: requests out, responses in."""

from dataclasses import replace
from functools import cache
from typing import Final

from meshd.core.errors import ProtocolError, StreamBroken
from meshd.core.head import Headers, RequestHead
from meshd.http.h1 import MAX_INTERIM
from meshd.http.h2_engine import Offer
from meshd.http.h2_events import Code, Reset, ResponseArrived
from meshd.http.h2_fields import read_response, request_fields
from meshd.http.h2_floods import LIMITS, FloodLimits
from meshd.http.h2_frames import LARGEST, Kind, frame, goaway_frame
from meshd.http.h2_library import LIBRARY, Library
from meshd.http.h2_session import UNPROCESSED
from meshd.http.h2_stream import Departure, Stream
from meshd.http.h2_wire import WireSession
from meshd.http.limits import RESPONSE_LIMITS, Limits

_OFFER: Final = Offer(header_list=RESPONSE_LIMITS.head)


@cache
def offer_of(heads: Limits) -> Offer:
    """What a client lets its server do, with what heads may be."""
    return replace(_OFFER, header_list=heads.head)


class ClientSession(WireSession):
    """Speaks requests and hears responses."""

    client = True

    __slots__ = ("_leaving", "_next")

    def __init__(
        self,
        offer: Offer = _OFFER,
        heads: Limits = RESPONSE_LIMITS,
        limits: FloodLimits = LIMITS,
        library: Library = LIBRARY,
    ) -> None:
        super().__init__(offer, heads, limits, library)
        self._leaving = False
        self._next = 1  # the id of the next stream

    @property
    def room(self) -> int:
        """How many more requests may begin now; 0 for good when the server or we go away, or ids run out."""
        if self.closed is not None or self._leaving or self.peer_last is not None:
            return 0
        if self._next > LARGEST:
            return 0
        return max(0, min(self.offer.streams, self._engine.peer_streams) - len(self._streams))

    @property
    def usable(self) -> bool:
        """Whether there will ever be room again."""
        gone = self.closed is not None or self._leaving or self.peer_last is not None
        return not gone and self._next <= LARGEST

    @property
    def takes_upgrades(self) -> bool:
        """Whether the server takes extended CONNECT (RFC 8441)."""
        return self._engine.peer_connects

    def send_request(self, head: RequestHead, now: float, *, end: bool = False) -> int:
        """Begin a request; `end` when no body and no trailers follow. The id of its stream.

        There must be room, and an upgrade must be something that the server takes. Raises StreamBroken, with nothing
        sent, when there is no room after all.
        """
        if not self.room:
            raise StreamBroken("no room for another stream", unsent=True)
        assert head.upgrade is None or self.takes_upgrades, "an upgrade that the server does not take"
        stream = self._next
        self._next = stream + 2
        self._engine.say_fields(stream, request_fields(head, self._library.never_indexed, end=end), end=end)
        self._now = now
        state = self._open(stream, b"CONNECT" if head.upgrade is not None else head.method)
        state.spoken = True
        state.local_ended = end
        return stream

    def ping(self, payload: bytes) -> None:
        """Ask for a sign of life: `PingAcked` with the same eight octets follows."""
        self._engine.say(frame(Kind.PING, 0, 0, payload))

    def drain(self) -> None:
        """Begin no more requests; those under way are finished. See `drained`."""
        if not self._leaving and self.closed is None:
            self._leaving = True
            self._engine.say(goaway_frame(0, Code.NO_ERROR, "draining"))

    @property
    def drained(self) -> bool:
        """Whether no request can begin and none is under way."""
        return not self.usable and not self._streams

    def _is_idle(self, stream: int) -> bool:
        return stream % 2 == 0 or stream >= self._next

    def _gone_away(self, code: int) -> None:
        assert self.peer_last is not None
        for state in [state for state in self._streams.values() if state.id > self.peer_last]:
            self._forget(state, Departure.RESET_BY_US)
            self._events.append(Reset(state.id, code, UNPROCESSED, by_peer=True, unprocessed=True))

    def _on_fields(self, stream: int, fields: Headers, *, end: bool) -> None:
        state = self._streams.get(stream)
        if state is None:
            self._stray(stream, None, head=True)
        elif state.remote_ended:
            self._break(state, Code.STREAM_CLOSED, "HEADERS after the end")
        elif state.heard:
            self._on_trailers(state, fields, end=end)
        else:
            self._on_response(state, fields, end=end)

    def _on_response(self, state: Stream, fields: Headers, *, end: bool) -> None:
        try:
            head = read_response(fields, self._heads, state.method, end=end)
        except ProtocolError as error:
            self._break(state, Code.PROTOCOL_ERROR, error.details, error.proxy_error)
            return
        if head.status < 200:
            state.interim += 1
            if state.interim > MAX_INTERIM:
                self._break(state, Code.ENHANCE_YOUR_CALM, f"more than {MAX_INTERIM} interim responses")
            else:
                self._events.append(ResponseArrived(state.id, head))
            return
        state.heard = True
        state.expected = 0 if head.bodiless else head.length
        self._events.append(ResponseArrived(state.id, head))
        if end:
            self._end_remote(state, [])
