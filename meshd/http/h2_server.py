"""The server's side of an HTTP/2 connection: requests in, responses out."""

from typing import Final

from meshd.core.errors import ProtocolError
from meshd.core.head import Headers, ResponseHead
from meshd.http.glimpse import glimpse_fields
from meshd.http.h2_engine import Offer
from meshd.http.h2_events import Code, PingAcked, RequestArrived, RequestRefused
from meshd.http.h2_fields import Malformed, read_request, response_fields
from meshd.http.h2_floods import LIMITS, FloodLimits
from meshd.http.h2_frames import LARGEST, Kind, frame, goaway_frame
from meshd.http.h2_library import LIBRARY, Library
from meshd.http.h2_stream import Departure, Stream
from meshd.http.h2_wire import WireSession
from meshd.http.limits import REQUEST_LIMITS, Limits

_OFFER: Final = Offer()
_DRAINING: Final = b"meshdgo!"  # the payload of the ping that asks whether the first GOAWAY has been read


class ServerSession(WireSession):
    """Hears requests and speaks responses."""

    __slots__ = ("_highest", "_last", "_warned")

    def __init__(
        self,
        offer: Offer = _OFFER,
        heads: Limits = REQUEST_LIMITS,
        limits: FloodLimits = LIMITS,
        library: Library = LIBRARY,
    ) -> None:
        super().__init__(offer, heads, limits, library)
        self._highest = 0
        self._warned = False  # the first GOAWAY is out
        self._last: int | None = None  # the last stream that is served, as the second GOAWAY says

    def send_head(self, stream: int, head: ResponseHead, *, end: bool = False) -> None:
        """An interim or the final response; `end` when no body and no trailers follow. Raises StreamBroken."""
        state = self._speaking(stream)
        fields = response_fields(head, self._library.never_indexed)
        final = head.status >= 200 or head.status == 101
        self._engine.say_fields(stream, fields, end=end and final)
        self._floods.queued()
        if final:
            state.spoken = True
            if end:
                self._end_local(state)

    def drain(self) -> None:
        """Take leave in two steps (RFC 9113 section 6.8): the first call announces that the connection will end, which
        costs no request that is under way; the client's answer, or a second call, sets the last stream. Streams up to
        that one are served on; see `drained`.
        """
        if self.closed is not None or self._last is not None:
            return
        if self._warned:
            self._last = self._highest
            self._engine.say(goaway_frame(self._last, Code.NO_ERROR, "draining"))
            return
        self._warned = True
        self._engine.say(goaway_frame(LARGEST, Code.NO_ERROR, "draining"))
        self._engine.say(frame(Kind.PING, 0, 0, _DRAINING))

    @property
    def drained(self) -> bool:
        """Whether leave has been taken and nothing is left to be done."""
        return self.closed is not None or (self._last is not None and not self._streams)

    def _speaking(self, stream: int) -> Stream:
        state = self._streams.get(stream)
        if state is None or self.closed is not None or state.spoken:
            return self._sending(stream)
        return state

    def _end_local(self, state: Stream) -> None:
        super()._end_local(state)
        if state.deaf and not state.remote_ended and state.id in self._streams:
            self.reset(state.id, Code.NO_ERROR)  # the answer is whole, the rest of the request is not wanted

    def _last_processed(self) -> int:
        return self._highest if self._last is None else self._last

    def _is_idle(self, stream: int) -> bool:
        return stream % 2 == 0 or stream > self._highest

    def _ping_acked(self, payload: bytes) -> None:
        if payload == _DRAINING and self._warned:
            self.drain()
        else:
            self._events.append(PingAcked(payload))

    def _on_fields(self, stream: int, fields: Headers, *, end: bool) -> None:
        state = self._streams.get(stream)
        if state is not None:
            if state.remote_ended:
                self._break(state, Code.STREAM_CLOSED, "HEADERS after the end")
            else:
                self._on_trailers(state, fields, end=end)
        elif stream > self._highest:
            self._highest = stream
            self._on_request(stream, fields, end=end)
        else:
            self._stray(stream, None, head=True)

    def _on_request(self, stream: int, fields: Headers, *, end: bool) -> None:
        if self._last is not None:  # under way when we took leave: the client knows that it was not served
            self._departures.add(stream, Departure.RESET_BY_US)
            self._floods.glitch(self._now)
            return
        if len(self._streams) >= self.offer.streams:
            self._refused += 1
            self._refuse(stream, Code.REFUSED_STREAM)
            return
        try:
            head = read_request(fields, self._heads, end=end, connect_protocol=self.offer.connect_protocol)
        except Malformed:
            self._malformed += 1
            self._refuse(stream, Code.PROTOCOL_ERROR)
            return
        except ProtocolError as error:
            state = self._open(stream, b"")
            state.heard = state.deaf = True
            state.remote_ended = end
            self._events.append(RequestRefused(stream, error, glimpse_fields(fields)))
            return
        state = self._open(stream, head.method)
        state.heard = True
        state.expected = head.length if head.upgrade is None else None
        self._events.append(RequestArrived(stream, head))
        if end:
            self._end_remote(state, [])
