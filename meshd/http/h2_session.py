"""HTTP/2 without I/O and without a clock: octets in, events out, octets back. What both sides of a connection share.

Theory of operation. The library (see `h2_library`) was made to give up the whole connection whenever one stream is
wrong, and between two sidecars a connection carries many clients. So the session looks at each frame first and is
itself the state of all streams; the library is left with what concerns the connection: settings, pings, HPACK.

Rule 1: a stream that breaks the protocol is reset, and nobody else hears of the offending frame; what that frame took
of the connection's window is given back.
Rule 2: header blocks are decoded whatever becomes of them, for the compression's state, and judged in `h2_fields`.
Rule 3: a stream is in `_streams` from its first frame until both messages are whole or it is reset. What comes for one
that is not there is judged by how it ended (`Departures`).
Rule 4: GOAWAY ends no stream that it does not name (RFC 9113 section 6.8).

Nothing that a peer sends makes `receive` raise. When the connection is lost, `Closed` is the last event. Sending on a
stream that is gone (the driver may not have seen its `Reset` yet) raises StreamBroken; to reset or acknowledge one does
nothing.
"""

from dataclasses import dataclass

from meshd.core.errors import StreamBroken
from meshd.core.head import Headers
from meshd.http.h2_engine import Engine, Offer
from meshd.http.h2_events import Body, Closed, Code, ConnectionFailed, Ended, Event, Reset, code_name
from meshd.http.h2_fields import trailer_fields
from meshd.http.h2_floods import PREMATURE, FloodLimits, Floods, Stall
from meshd.http.h2_frames import goaway_frame, reset_frame, window_update
from meshd.http.h2_library import Library
from meshd.http.h2_stream import Departure, Departures, Stream
from meshd.http.h2_windows import ALLOWANCE, DEFAULT, GROWTH, Inbound, Outbound

UNPROCESSED = "the peer did not process it"


@dataclass(frozen=True, slots=True)
class Statistics:
    """What one session has seen."""

    open: int  # streams
    opened: int
    resets_received: int
    resets_sent: int
    malformed: int  # messages that broke HTTP/2
    refused: int  # streams beyond the limit


class Session:
    """Streams, and what may be done with them. `h2_wire` adds the frames, `h2_server` and `h2_client` the heads."""

    __slots__ = (
        "_departures",
        "_engine",
        "_events",
        "_floods",
        "_grown",
        "_inbound",
        "_library",
        "_malformed",
        "_now",
        "_opened",
        "_outbound",
        "_refused",
        "_resets_received",
        "_resets_sent",
        "_streams",
        "_unread",
        "closed",
        "limits",
        "offer",
    )

    client = False

    def __init__(self, offer: Offer, limits: FloodLimits, library: Library) -> None:
        self.offer = offer
        self.limits = limits
        self.closed: Closed | None = None
        self._library = library
        self._engine = Engine(library, offer, limits.decoded_block, client=self.client)
        self._floods = Floods(limits)
        self._streams: dict[int, Stream] = {}
        self._unread: dict[int, int] = {}  # octets of body that nobody has acknowledged, by stream
        self._departures = Departures()
        self._events: list[Event] = []
        self._inbound = Inbound(offer.connection_window)
        self._grown = 0  # octets that windows of open streams are larger than they were offered
        self._outbound = Outbound()
        self._engine.say(window_update(0, offer.connection_window - DEFAULT))
        self._now = 0.0
        self._opened = self._resets_received = self._resets_sent = self._malformed = self._refused = 0

    # What the driver asks.

    def data_to_send(self) -> bytes:
        """All that waits to go out. Ask when the socket can take it: what is not asked for counts against the peer."""
        self._floods.collected()
        return self._engine.collect()

    @property
    def open_streams(self) -> int:
        """Streams that are not over."""
        return len(self._streams)

    def window(self, stream: int) -> int:
        """Octets of body that may be sent on a stream now; 0 for one that is gone."""
        state = self._streams.get(stream)
        if state is None or not state.spoken or state.local_ended or self.closed is not None:
            return 0
        return self._window(state)

    def _window(self, state: Stream) -> int:
        return max(0, min(state.outbound, self._outbound.left))

    def starved(self, now: float) -> list[int]:
        """Streams that have waited too long for window, to be reset; ask now and then."""
        return [
            stream.id
            for stream in self._streams.values()
            if stream.stall is not None and stream.stall.is_over(stream.sent, now, self.limits)
        ]

    def statistics(self) -> Statistics:
        """What this session has seen so far."""
        return Statistics(
            len(self._streams),
            self._opened,
            self._resets_received,
            self._resets_sent,
            self._malformed,
            self._refused,
        )

    # What the driver does.

    def send_data(self, stream: int, data: bytes, *, end: bool = False) -> int:
        """Send as much of the body as the windows take, and say how many octets that were.

        `end` takes effect when all of it was sent. For the rest, wait for `WindowOpened` of this stream or of 0.
        Raises StreamBroken.
        """
        state = self._sending(stream)
        size = len(data)
        taken = min(size, self._window(state)) if size else 0
        whole = taken == size
        if taken or (end and whole):
            piece = data if whole else data[:taken]
            self._floods.data_sent(self._engine.say_data(stream, piece, end=end and whole))
            state.outbound -= taken
            self._outbound.left -= taken
            state.sent += taken
        if not whole:
            if state.stall is None:
                state.stall = Stall()
        else:
            state.stall = None
            if end:
                self._end_local(state)
        return taken

    def send_trailers(self, stream: int, trailers: Headers) -> None:
        """End the message with these trailers; there may be none. Raises StreamBroken."""
        state = self._sending(stream)
        fields = trailer_fields(trailers, self._library.never_indexed) if trailers else []
        if fields:
            self._engine.say_fields(stream, fields, end=True)
            self._floods.queued()
        else:
            self._floods.data_sent(self._engine.say_data(stream, b"", end=True))
        self._end_local(state)

    def acknowledge(self, stream: int, octets: int) -> None:
        """So many octets of this stream's body have been consumed: let the peer send as many more."""
        unread = self._unread.get(stream)
        if unread is None or self.closed is not None:
            return
        octets = min(octets, unread)
        if octets == unread:
            del self._unread[stream]
        else:
            self._unread[stream] = unread - octets
        self._give_back(self._streams.get(stream), octets)

    def reset(self, stream: int, code: int = Code.CANCEL) -> None:
        """Give a stream up, whatever state it is in; what nobody has read of it goes back to the peer's windows."""
        state = self._streams.get(stream)
        if state is None:
            self._release(stream)
        elif self.closed is None:
            self._engine.say(reset_frame(stream, code))
            self._resets_sent += 1
            self._forget(state, Departure.RESET_BY_US)

    def awaits_end(self, stream: int) -> bool:
        """Whether we have said all there is to say on a stream, and the peer has not."""
        state = self._streams.get(stream)
        return state is not None and state.local_ended and not state.remote_ended

    def go_away(self, code: int = Code.NO_ERROR, details: str = "") -> None:
        """End the connection now: GOAWAY, and nothing works any more. Open streams are the driver's to end."""
        if self.closed is None:
            self._engine.say(goaway_frame(self._last_processed(), code, details))
            self.closed = Closed(code, details)

    # What both sides need when frames come.

    def _last_processed(self) -> int:
        """The last stream of the peer's that we did anything about."""
        return 0

    def _sending(self, stream: int) -> Stream:
        state = self._streams.get(stream)
        if state is None or self.closed is not None:
            raise StreamBroken("the stream is over" if self.closed is None else self.closed.details)
        assert state.spoken, "a body before its head"
        assert not state.local_ended, "a body after its end"
        return state

    def _open(self, stream: int, method: bytes) -> Stream:
        state = self._streams[stream] = Stream(stream, method, self._now, self._engine.peer_window)
        self._opened += 1
        self._floods.opened()
        return state

    def _end_local(self, state: Stream) -> None:
        state.local_ended = True
        if state.remote_ended:
            self._finish(state)

    def _end_remote(self, state: Stream, trailers: Headers) -> None:
        """The peer's message is whole, if it adds up."""
        state.remote_ended = True
        if not state.deaf:
            self._events.append(Ended(state.id, trailers))
        if state.local_ended:
            self._finish(state)

    def _drop(self, state: Stream) -> None:
        del self._streams[state.id]
        if state.inbound is not None and state.inbound.grown:
            self._shrink(state.inbound)

    def _finish(self, state: Stream) -> None:
        self._drop(state)
        self._departures.add(state.id, Departure.WHOLE)
        self._floods.finished()

    def _forget(self, state: Stream, how: Departure) -> None:
        """A stream was reset: whatever the driver has not read of it goes back to the connection's window."""
        self._drop(state)
        self._departures.add(state.id, how)
        self._release(state.id)

    def _release(self, stream: int) -> None:
        unread = self._unread.pop(stream, 0)
        if unread:
            self._give_back(None, unread)

    def _break(self, state: Stream, code: int, details: str, proxy_error: str = "") -> None:
        """Reset a stream because of what the peer sent on it. Raises ConnectionFailed when that is too often."""
        if code == Code.PROTOCOL_ERROR:
            self._malformed += 1
        self._engine.say(reset_frame(state.id, code))
        self._resets_sent += 1
        self._forget(state, Departure.RESET_BY_US)
        self._events.append(Reset(state.id, code, details, by_peer=False, proxy_error=proxy_error))
        self._floods.control()
        self._count_reset()

    def _refuse(self, stream: int, code: int) -> None:
        """Reset a stream that was never opened. Raises ConnectionFailed when that is too often."""
        self._engine.say(reset_frame(stream, code))
        self._resets_sent += 1
        self._departures.add(stream, Departure.RESET_BY_US)
        self._floods.control()
        self._count_reset()

    def _pay(self, octets: int) -> None:
        """DATA has come: whatever becomes of it, it counts against the connection's window, padding included."""
        if not self._inbound.take(octets):
            raise ConnectionFailed(Code.FLOW_CONTROL_ERROR, "more than the connection's window")

    def _give_back(self, state: Stream | None, octets: int) -> None:
        """So much of what has come is done with: the peer may send as much again."""
        if again := self._inbound.consume(octets):
            self._engine.say(window_update(0, again))
        if state is None or state.remote_ended or state.inbound is None:
            return
        if again := state.inbound.consume(octets):
            extra = state.inbound.grow(min(GROWTH - self._grown, ALLOWANCE.left), self._now)
            self._grown += extra
            ALLOWANCE.left -= extra
            self._engine.say(window_update(state.id, again + extra))

    def _shrink(self, window: Inbound) -> None:
        self._grown -= window.grown
        ALLOWANCE.left += window.grown
        window.grown = 0

    def release(self) -> None:
        """Nothing comes any more: what the windows of streams have grown by is for others."""
        for state in self._streams.values():
            if state.inbound is not None:
                self._shrink(state.inbound)

    def _take_body(self, state: Stream, data: bytes, overhead: int) -> None:
        """Body of a stream that is open for it; padding is nobody's to consume."""
        if overhead:
            self._give_back(state, overhead)
        if not data:
            return
        if state.deaf:
            self._give_back(state, len(data))
            return
        self._unread[state.id] = self._unread.get(state.id, 0) + len(data)
        self._events.append(Body(state.id, data))

    def _reset_by_peer(self, state: Stream, code: int) -> None:
        self._resets_received += 1
        self._forget(state, Departure.RESET_BY_PEER)
        unprocessed = code == Code.REFUSED_STREAM
        details = UNPROCESSED if unprocessed else f"the peer reset the stream: {code_name(code)}"
        self._events.append(Reset(state.id, code, details, by_peer=True, unprocessed=unprocessed))
        if self._now - state.opened < PREMATURE:
            self._count_reset()

    def _count_reset(self) -> None:
        """Resets are an attack on servers alone: a client has as many of them as it sends requests."""
        if self.client:
            self._floods.glitch(self._now)
        else:
            self._floods.reset(self._now)

    def _lose(self, error: ConnectionFailed, *, by_peer: bool) -> None:
        """The end: resets of all that is open, then `Closed`."""
        if not by_peer:
            self._engine.say(goaway_frame(self._last_processed(), error.code, error.details))
        for stream in list(self._streams.values()):
            self._events.append(self._lost(stream, error, by_peer=by_peer))
        self._streams.clear()
        self._unread.clear()
        self.closed = Closed(error.code, error.details, error.counter)
        self._events.append(self.closed)

    def _lost(self, state: Stream, error: ConnectionFailed, *, by_peer: bool) -> Reset:
        return Reset(state.id, error.code, error.details, by_peer=by_peer)

    def __repr__(self) -> str:
        state = repr(self.closed) if self.closed is not None else f"{len(self._streams)} streams"
        return f"<{type(self).__name__} {state}>"
