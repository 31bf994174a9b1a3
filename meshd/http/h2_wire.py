"""The frames of an HTTP/2 session, one method for each type: what is counted, what is wrong with which stream, what the
library gets to hear.
"""

from collections.abc import Callable
from typing import cast

from h2.events import Event as LibraryEvent
from h2.events import StreamReset

from meshd.core.errors import ProtocolError
from meshd.core.head import Headers
from meshd.http.h2_engine import Offer
from meshd.http.h2_events import (
    Code,
    ConnectionFailed,
    Event,
    GoneAway,
    PingAcked,
    Reset,
    SettingsChanged,
    WindowOpened,
)
from meshd.http.h2_fields import read_trailers
from meshd.http.h2_floods import FloodLimits
from meshd.http.h2_frames import ACK, END_HEADERS, END_STREAM, PREFACE, PRIORITY_FLAG, Frame, FrameReader, Kind
from meshd.http.h2_hpack import BadHeaderBlock, size_updates
from meshd.http.h2_library import HeaderListTooLarge, Library
from meshd.http.h2_session import Session
from meshd.http.h2_stream import Departure, Stream
from meshd.http.limits import Limits

_LARGEST = 2**31 - 1


class _Block:
    """A header block that has not come in full."""

    __slots__ = ("flags", "octets", "parts", "stream")

    def __init__(self, stream: int, flags: int, part: bytes) -> None:
        self.stream = stream
        self.flags = flags
        self.parts = [part]
        self.octets = len(part)


class WireSession(Session):
    """A session that hears frames."""

    __slots__ = ("_block", "_expected_acks", "_handlers", "_heads", "_reader", "_settled", "_told", "peer_last")

    def __init__(self, offer: Offer, heads: Limits, limits: FloodLimits, library: Library) -> None:
        super().__init__(offer, limits, library)
        self._heads = heads
        self._reader = FrameReader(b"" if self.client else PREFACE)
        self._block: _Block | None = None
        self._settled = False  # the peer's first SETTINGS have come
        self._expected_acks = 1
        self.peer_last: int | None = None  # what the peer's GOAWAY says of our streams
        self._handlers: dict[int, Callable[[Frame], None]] = {
            Kind.DATA: self._on_data,
            Kind.HEADERS: self._on_headers,
            Kind.PRIORITY: self._on_priority,
            Kind.RST_STREAM: self._on_reset,
            Kind.SETTINGS: self._on_settings,
            Kind.PUSH_PROMISE: self._on_push,
            Kind.PING: self._on_ping,
            Kind.GOAWAY: self._on_goaway,
            Kind.WINDOW_UPDATE: self._on_window_update,
            Kind.CONTINUATION: self._on_continuation,
        }
        self._told: dict[type, Callable[[LibraryEvent], None]] = {library.stream_reset: self._told_reset}
        if not self.client:
            self._engine.feed(PREFACE)

    def receive(self, data: bytes, now: float) -> list[Event]:
        """What came from the peer means this; empty bytes are its end. Never raises."""
        if self.closed is not None:
            return []
        events: list[Event] = []
        self._events, self._now = events, now
        try:
            if not data:
                self._lose(ConnectionFailed(Code.NO_ERROR, "the peer closed the connection"), by_peer=True)
                return events
            reader = self._reader
            reader.receive(data)
            while (frame := reader.next_frame()) is not None:
                self._hear(frame)
        except ConnectionFailed as error:
            self._lose(error, by_peer=False)
        else:
            self._give_back()
        return events

    @property
    def unfinished(self) -> bool:
        """Whether the peer is in the middle of its preface, its first settings or a header block: not to be waited for
        longer than for a request head.
        """
        return not self._settled or self._block is not None or self._reader.partial

    def _hear(self, frame: Frame) -> None:
        kind = frame.kind
        if self._block is not None and (kind != Kind.CONTINUATION or frame.stream != self._block.stream):
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "another frame within a header block")
        if not self._settled and kind != Kind.SETTINGS:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        handler = self._handlers.get(kind)
        if handler is None:
            self._floods.glitch(self._now)  # types that we do not know are ignored (RFC 9113 section 4.1)
        else:
            handler(frame)

    def _feed(self, octets: bytes) -> None:
        for event in self._engine.feed(octets):
            told = self._told.get(type(event))
            if told is not None:
                told(event)

    def _told_reset(self, event: LibraryEvent) -> None:
        """The library reset a stream by itself, as when its window grows beyond all bounds."""
        event = cast("StreamReset", event)
        assert event.stream_id is not None
        state = self._streams.get(event.stream_id)
        if state is not None:
            code = int(event.error_code or 0)
            self._resets_sent += 1
            self._forget(state, Departure.RESET_BY_US)
            self._events.append(Reset(state.id, code, "the peer broke flow control", by_peer=False))
            self._floods.control()
            self._floods.reset(self._now)

    def _is_idle(self, stream: int) -> bool:
        """Whether nobody has opened that stream yet."""
        raise NotImplementedError

    def _check_stream(self, frame: Frame, length: int | None = None) -> Stream | None:
        """The stream a frame is about; None when it is over. Raises ConnectionFailed for one that never was."""
        if length is not None and frame.length != length:
            raise ConnectionFailed(Code.FRAME_SIZE_ERROR, f"a frame of type {frame.kind} with {frame.length} octets")
        state = self._streams.get(frame.stream)
        if state is None and (frame.stream == 0 or self._is_idle(frame.stream)):
            raise ConnectionFailed(Code.PROTOCOL_ERROR, f"a frame of type {frame.kind} on stream {frame.stream}")
        return state

    def _check_connection(self, frame: Frame, length: int | None = None) -> None:
        if frame.stream:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, f"a frame of type {frame.kind} on stream {frame.stream}")
        if length is not None and frame.length != length:
            raise ConnectionFailed(Code.FRAME_SIZE_ERROR, f"a frame of type {frame.kind} with {frame.length} octets")

    def _on_data(self, frame: Frame) -> None:
        state = self._check_stream(frame)
        data = frame.content()
        end = bool(frame.flags & END_STREAM)
        self._floods.content(len(data), end=end)
        if state is None or state.remote_ended:
            self._discard(frame.length)
            self._stray(frame.stream, state)
            return
        if not self._has_head(state):
            self._discard(frame.length)
            self._break(state, Code.PROTOCOL_ERROR, "DATA before the head")
            return
        state.received += len(data)
        if not state.fits(end=end):
            self._discard(frame.length)
            self._break(state, Code.PROTOCOL_ERROR, "a body that is not as long as its content-length")
            return
        self._feed(frame.octets)
        self._take_body(state, data, frame.length - len(data))
        if end:
            self._end_remote(state, [])

    def _has_head(self, state: Stream) -> bool:
        return state.heard

    def _stray(self, stream: int, state: Stream | None, *, head: bool = False) -> None:
        """Content on a stream that is over for the peer."""
        if state is not None:
            self._break(state, Code.STREAM_CLOSED, "content after the end")
            return
        how = self._departures.find(stream)
        if how is Departure.RESET_BY_US:
            self._floods.glitch(self._now)  # under way then
        elif how is Departure.WHOLE:
            raise ConnectionFailed(Code.STREAM_CLOSED, f"content on stream {stream}, which is over")
        elif how is None and head:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, f"HEADERS on stream {stream}, which was passed over")
        else:
            self._refuse(stream, Code.STREAM_CLOSED)

    def _on_headers(self, frame: Frame) -> None:
        if frame.stream % 2 == 0:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, f"HEADERS on stream {frame.stream}")
        flags = frame.flags
        part = frame.content(5 if flags & PRIORITY_FLAG else 0)
        ended = bool(flags & END_HEADERS)
        self._floods.content(len(part), end=ended)
        if flags & PRIORITY_FLAG and _depends_on_itself(frame):
            flags |= _SELF
        if ended:
            self._on_block(frame.stream, flags, part)
        else:
            self._block = _Block(frame.stream, flags, part)

    def _on_continuation(self, frame: Frame) -> None:
        block = self._block
        if block is None:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        ended = bool(frame.flags & END_HEADERS)
        self._floods.content(frame.length, end=ended)
        block.parts.append(frame.payload)
        block.octets += frame.length
        self._floods.block(len(block.parts), block.octets)
        if ended:
            self._block = None
            self._on_block(block.stream, block.flags, b"".join(block.parts))

    def _on_block(self, stream: int, flags: int, block: bytes) -> None:
        if block and block[0] >> 5 == 1 and size_updates(block) > 2:  # RFC 7541 section 4.2
            raise ConnectionFailed(Code.COMPRESSION_ERROR, "a header block that resizes the table over and over")
        try:
            fields = self._engine.decoder.decode(block)
        except BadHeaderBlock as error:
            raise ConnectionFailed(Code.COMPRESSION_ERROR, str(error)[:100]) from error
        except HeaderListTooLarge as error:
            raise ConnectionFailed(Code.ENHANCE_YOUR_CALM, "header list too large", "header_list") from error
        self._on_fields(stream, fields, end=bool(flags & END_STREAM))
        if flags & _SELF and (state := self._streams.get(stream)) is not None:
            self._break(state, Code.PROTOCOL_ERROR, "a stream that depends on itself")

    def _on_fields(self, stream: int, fields: Headers, *, end: bool) -> None:
        """A header block is here: a head or trailers."""
        raise NotImplementedError

    def _on_trailers(self, state: Stream, fields: Headers, *, end: bool) -> None:
        if not end:
            self._break(state, Code.PROTOCOL_ERROR, "trailers that do not end the stream")
            return
        try:
            trailers = read_trailers(fields, self._heads)
        except ProtocolError as error:
            self._break(state, Code.PROTOCOL_ERROR, error.details)
            return
        if not state.fits(end=True):
            self._break(state, Code.PROTOCOL_ERROR, "a body that is not as long as its content-length")
            return
        self._engine.feed_head(state.id, end=True)
        self._end_remote(state, trailers)

    def _on_priority(self, frame: Frame) -> None:
        """Priorities mean nothing any more (RFC 9113 section 5.3.2), but wrong ones are still errors."""
        self._floods.priority()
        if frame.stream == 0:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if frame.length != 5:
            code, wrong = Code.FRAME_SIZE_ERROR, "PRIORITY of a wrong size"
        elif _depends_on_itself(frame):
            code, wrong = Code.PROTOCOL_ERROR, "a stream that depends on itself"
        else:
            return
        state = self._streams.get(frame.stream)
        if state is not None:
            self._break(state, code, wrong)
        elif self._is_idle(frame.stream):
            raise ConnectionFailed(code, wrong)
        elif self._departures.find(frame.stream) is not Departure.RESET_BY_US:
            self._refuse(frame.stream, code)

    def _on_reset(self, frame: Frame) -> None:
        state = self._check_stream(frame, 4)
        if state is None:
            self._floods.glitch(self._now)
            return
        self._engine.feed(frame.octets)
        self._reset_by_peer(state, int.from_bytes(frame.payload, "big"))

    def _on_settings(self, frame: Frame) -> None:
        self._check_connection(frame, 0 if frame.flags & ACK else None)
        if frame.flags & ACK:
            if not self._settled:
                raise ConnectionFailed(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            if not self._expected_acks:
                self._floods.glitch(self._now)
                return
            self._expected_acks -= 1
            self._engine.feed(frame.octets)
            return
        if frame.length % 6:
            raise ConnectionFailed(Code.FRAME_SIZE_ERROR, f"SETTINGS of {frame.length} octets")
        self._floods.settings(frame.length // 6, self._now)
        self._engine.feed_settings(frame.payload)
        self._settled = True
        self._events.append(SettingsChanged(self._engine.peer_streams))
        self._events.append(WindowOpened(0))

    def _on_push(self, frame: Frame) -> None:
        raise ConnectionFailed(Code.PROTOCOL_ERROR, f"PUSH_PROMISE on stream {frame.stream}")

    def _on_ping(self, frame: Frame) -> None:
        self._check_connection(frame, 8)
        if frame.flags & ACK:
            self._floods.glitch(self._now)
            self._ping_acked(frame.payload)
            return
        self._floods.ping(self._now)
        self._engine.feed(frame.octets)

    def _ping_acked(self, payload: bytes) -> None:
        self._events.append(PingAcked(payload))

    def _on_goaway(self, frame: Frame) -> None:
        self._check_connection(frame)
        if frame.length < 8:
            raise ConnectionFailed(Code.FRAME_SIZE_ERROR, f"GOAWAY of {frame.length} octets")
        self._floods.glitch(self._now)
        payload = frame.payload
        last = int.from_bytes(payload[:4], "big") & _LARGEST
        code = int.from_bytes(payload[4:8], "big")
        details = payload[8:136].decode("ascii", "replace")
        self.peer_last = last if self.peer_last is None else min(last, self.peer_last)
        self._gone_away(code)
        self._events.append(GoneAway(self.peer_last, code, details))

    def _gone_away(self, code: int) -> None:
        """What the peer's GOAWAY means for open streams."""

    def _on_window_update(self, frame: Frame) -> None:
        if frame.length != 4:
            raise ConnectionFailed(Code.FRAME_SIZE_ERROR, f"WINDOW_UPDATE of {frame.length} octets")
        self._floods.window_update()
        empty = not int.from_bytes(frame.payload, "big") & _LARGEST
        if frame.stream:
            state = self._check_stream(frame)
            if state is None:
                return
            if empty:
                self._break(state, Code.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
                return
        elif empty:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        self._feed(frame.octets)
        if not frame.stream or frame.stream in self._streams:
            self._events.append(WindowOpened(frame.stream))


_SELF = 0x100  # beyond the flags of a frame: its priority is wrong


def _depends_on_itself(frame: Frame) -> bool:
    start = 10 if frame.kind == Kind.HEADERS and frame.flags & 0x8 else 9
    return int.from_bytes(frame.octets[start : start + 4], "big") & _LARGEST == frame.stream
