"""The frames of streams, one method for each type: what is counted, what is wrong with which stream, what the
library gets to hear.
"""

from collections.abc import Callable
from typing import ClassVar

from meshd.core.errors import ProtocolError
from meshd.core.head import Headers
from meshd.http.h2_control import ControlSession
from meshd.http.h2_engine import Offer
from meshd.http.h2_events import Code, ConnectionFailed, Event, WindowOpened
from meshd.http.h2_fields import read_trailers
from meshd.http.h2_floods import FloodLimits
from meshd.http.h2_frames import (
    END_HEADERS,
    END_STREAM,
    LARGEST,
    PREFACE,
    PRIORITY_FLAG,
    Frame,
    FrameReader,
    HeaderBlock,
    Kind,
)
from meshd.http.h2_hpack import BadHeaderBlock, size_updates
from meshd.http.h2_library import HeaderListTooLarge, Library
from meshd.http.h2_stream import Departure, Stream
from meshd.http.h2_windows import Inbound
from meshd.http.limits import Limits


class WireSession(ControlSession):
    """A session that hears frames."""

    __slots__ = ("_block", "_heads", "_reader")

    def __init__(self, offer: Offer, heads: Limits, limits: FloodLimits, library: Library) -> None:
        super().__init__(offer, limits, library)
        self._heads = heads
        self._reader = FrameReader(b"" if self.client else PREFACE)
        self._block: HeaderBlock | None = None  # one that has not come in full
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
            self._floods.check_queue()
            reader = self._reader
            reader.receive(data)
            while (frame := reader.next_frame()) is not None:
                self._hear(frame)
        except ConnectionFailed as error:
            self._lose(error, by_peer=False)
        return events

    @property
    def unfinished(self) -> bool:
        """Whether the peer is in the middle of its preface, its first settings or a header block: not to be waited for
        longer than for a request head.
        """
        return not self._settled or self._block is not None or self._reader.partial

    def _hear(self, frame: Frame) -> None:
        kind = frame.kind
        if self._block is not None and (kind != Kind.CONTINUATION or frame.stream != self._block.frame.stream):
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "another frame within a header block")
        if not self._settled and kind != Kind.SETTINGS:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        handler = self._HANDLERS.get(kind)
        if handler is None:
            self._floods.glitch(self._now)  # types that we do not know are ignored (RFC 9113 section 4.1)
        else:
            handler(self, frame)

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

    def _on_data(self, frame: Frame) -> None:
        state = self._check_stream(frame)
        data = frame.content()
        end = bool(frame.flags & END_STREAM)
        octets = frame.length
        self._floods.content(len(data), end=end)
        self._pay(octets)
        if state is None or state.remote_ended:
            self._give_back(None, octets)
            self._stray(frame.stream, state)
            return
        if wrong := self._misfit(state, len(data), octets, end=end):
            self._give_back(None, octets)
            self._break(state, *wrong)
            return
        self._take_body(state, data, octets - len(data))
        if end:
            self._end_remote(state, [])

    def _misfit(self, state: Stream, size: int, octets: int, *, end: bool) -> tuple[int, str] | None:
        """Why this much more body, of a frame of so many octets, breaks its stream."""
        if not state.heard:
            return Code.PROTOCOL_ERROR, "DATA before the head"
        state.received += size
        if not state.fits(end=end):
            return Code.PROTOCOL_ERROR, "a body that is not as long as its content-length"
        if octets:
            if state.inbound is None:
                state.inbound = Inbound(self.offer.stream_window)
            if not state.inbound.take(octets):
                return Code.FLOW_CONTROL_ERROR, "more than the stream's window"
        return None

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
        if ended:
            self._on_block(frame, part)
        else:
            self._block = HeaderBlock(frame, part)

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
            self._on_block(block.frame, b"".join(block.parts))

    def _on_block(self, first: Frame, block: bytes) -> None:
        if block and block[0] >> 5 == 1 and size_updates(block) > 2:  # RFC 7541 section 4.2
            raise ConnectionFailed(Code.COMPRESSION_ERROR, "a header block that resizes the table over and over")
        try:
            fields = self._engine.decoder.decode(block)
        except BadHeaderBlock as error:
            raise ConnectionFailed(Code.COMPRESSION_ERROR, str(error)[:100]) from error
        except HeaderListTooLarge as error:
            raise ConnectionFailed(Code.ENHANCE_YOUR_CALM, "header list too large", "header_list") from error
        self._on_fields(first.stream, fields, end=bool(first.flags & END_STREAM))
        if first.depends_on_itself and (state := self._streams.get(first.stream)) is not None:
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
            self._break(state, Code.PROTOCOL_ERROR, error.details, error.proxy_error)
            return
        if not state.fits(end=True):
            self._break(state, Code.PROTOCOL_ERROR, "a body that is not as long as its content-length")
            return
        self._end_remote(state, trailers)

    def _on_priority(self, frame: Frame) -> None:
        """Priorities mean nothing any more (RFC 9113 section 5.3.2), but wrong ones are still errors."""
        self._floods.priority()
        if frame.stream == 0:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if frame.length != 5:
            code, wrong = Code.FRAME_SIZE_ERROR, "PRIORITY of a wrong size"
        elif frame.depends_on_itself:
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
        self._reset_by_peer(state, int.from_bytes(frame.payload, "big"))

    def _on_window_update(self, frame: Frame) -> None:
        if frame.length != 4:
            raise ConnectionFailed(Code.FRAME_SIZE_ERROR, f"WINDOW_UPDATE of {frame.length} octets")
        self._floods.window_update()
        octets = int.from_bytes(frame.payload, "big") & LARGEST
        if not frame.stream:
            if not octets:
                raise ConnectionFailed(Code.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
            self._outbound.widen(octets)
            self._events.append(WindowOpened(0))
            return
        state = self._check_stream(frame)
        if state is None:
            return
        state.outbound += octets
        if not octets:
            self._break(state, Code.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        elif state.outbound > LARGEST:
            self._break(state, Code.FLOW_CONTROL_ERROR, "a window beyond all bounds")
        else:
            self._events.append(WindowOpened(frame.stream))

    _HANDLERS: ClassVar[dict[int, Callable[["WireSession", Frame], None]]] = {
        **ControlSession.HANDLERS,
        Kind.DATA: _on_data,
        Kind.HEADERS: _on_headers,
        Kind.PRIORITY: _on_priority,
        Kind.RST_STREAM: _on_reset,
        Kind.WINDOW_UPDATE: _on_window_update,
        Kind.CONTINUATION: _on_continuation,
    }
