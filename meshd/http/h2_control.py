"""The frames of the connection itself: SETTINGS, PING and GOAWAY, and PUSH_PROMISE, which nobody may send us."""

from collections.abc import Callable
from typing import ClassVar

from meshd.http.h2_engine import Offer
from meshd.http.h2_events import Code, ConnectionFailed, GoneAway, PingAcked, SettingsChanged, WindowOpened
from meshd.http.h2_floods import FloodLimits
from meshd.http.h2_frames import ACK, LARGEST, Frame, Kind
from meshd.http.h2_library import Library
from meshd.http.h2_session import Session


class ControlSession(Session):
    """A session that hears what its peer says of the connection."""

    __slots__ = ("_expected_acks", "_settled", "peer_last")

    def __init__(self, offer: Offer, limits: FloodLimits, library: Library) -> None:
        super().__init__(offer, limits, library)
        self._settled = False  # the peer's first SETTINGS have come
        self._expected_acks = 1
        self.peer_last: int | None = None  # what the peer's GOAWAY says of our streams

    def _check_connection(self, frame: Frame, length: int | None = None) -> None:
        if frame.stream:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, f"a frame of type {frame.kind} on stream {frame.stream}")
        if length is not None and frame.length != length:
            raise ConnectionFailed(Code.FRAME_SIZE_ERROR, f"a frame of type {frame.kind} with {frame.length} octets")

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
        before = self._engine.peer_window
        self._engine.feed_settings(frame.payload)
        if change := self._engine.peer_window - before:
            self._shift_windows(change)
        self._settled = True
        self._events.append(SettingsChanged(self._engine.peer_streams))
        self._events.append(WindowOpened(0))

    def _shift_windows(self, change: int) -> None:
        """The peer lets streams begin with another window: those that are open move along (RFC 9113 section 6.9.2)."""
        for state in self._streams.values():
            state.outbound += change
            if state.outbound > LARGEST:
                raise ConnectionFailed(Code.FLOW_CONTROL_ERROR, "a window beyond all bounds")

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
        last = int.from_bytes(payload[:4], "big") & LARGEST
        code = int.from_bytes(payload[4:8], "big")
        details = payload[8:136].decode("ascii", "replace")
        self.peer_last = last if self.peer_last is None else min(last, self.peer_last)
        self._gone_away(code)
        self._events.append(GoneAway(self.peer_last, code, details))

    def _gone_away(self, code: int) -> None:
        """What the peer's GOAWAY means for open streams."""

    HANDLERS: ClassVar[dict[int, Callable[["ControlSession", Frame], None]]] = {
        Kind.SETTINGS: _on_settings,
        Kind.PUSH_PROMISE: _on_push,
        Kind.PING: _on_ping,
        Kind.GOAWAY: _on_goaway,
    }
