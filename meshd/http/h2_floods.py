"""How much of what costs us work a peer may send: counters and token buckets, pure, with the time as an argument.

Each limit has a name, which is in the GOAWAY's debug text and on the counter, and ends the connection with
ENHANCE_YOUR_CALM. The limits follow Envoy's (consecutive empty frames, PRIORITY, WINDOW_UPDATE, queued control frames)
and nghttp2's (rates). A peer that behaves is not punished for being busy: a stream that ends well earns back what a
reset costs, and only resets within a second of the request count (CVE-2023-44487); those that a peer makes us send
count like its own (CVE-2025-8671).
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from meshd.http.h2_events import Code, ConnectionFailed
from meshd.http.limits import REQUEST_LIMITS, RESPONSE_LIMITS, Limits

PREMATURE: Final = 1.0  # seconds: a reset later than that after the head is an ordinary cancellation


@dataclass(frozen=True, slots=True)
class FloodLimits:
    """Counts, octets, and rates a second."""

    queued_control: int = 1000  # replies to control frames that the peer has not read
    queued_frames: int = 10000  # frames of responses that it has not read, small as they may be
    empty_frames: int = 1  # consecutive DATA, HEADERS or CONTINUATION without octets and without an end
    continuations: int = 16  # frames of one header block
    block: int = 65536  # octets of one header block as sent
    decoded_block: int = 262144  # and decoded, where decoding stops; a head that is allowed is far below
    settings_entries: int = 32  # of one SETTINGS frame
    priority: int = 100  # for each stream, and once
    window_updates: int = 5  # before the first stream; then 2 a stream and 20 a DATA frame we sent
    resets: int = 500
    resets_rate: float = 33.0
    settings: int = 100
    settings_rate: float = 1.0
    pings: int = 1000
    pings_rate: float = 100.0
    glitches: int = 2000  # frames that do nothing: unknown ones, those of closed streams, repeated GOAWAYs
    glitches_rate: float = 300.0
    stall: float = 300.0  # seconds in which a stream that waits for window must send `stall_octets`
    stall_octets: int = 65536


LIMITS: Final = FloodLimits()
FRAME: Final = 16384  # octets of the largest frame that we take


@cache
def flood_limits(heads: Limits) -> FloodLimits:
    """With room for heads as large as they may be. A block has some octets a field besides its text, and the decoder
    counts 32 for each (RFC 9113 section 6.5.2)."""
    if heads in (REQUEST_LIMITS, RESPONSE_LIMITS):
        return LIMITS
    block = heads.head + 64 * heads.fields
    return replace(
        LIMITS,
        continuations=max(LIMITS.continuations, block // FRAME + 2),
        block=max(LIMITS.block, block),
        decoded_block=max(LIMITS.decoded_block, 2 * block),
    )


class Bucket:
    """Tokens: `burst` at first, `rate` more a second, never more than `burst`."""

    __slots__ = ("_burst", "_name", "_rate", "_since", "level")

    def __init__(self, name: str, burst: int, rate: float) -> None:
        self._name = name
        self._burst = burst
        self._rate = rate
        self._since: float | None = None
        self.level = float(burst)

    def take(self, now: float) -> None:
        """Spend one. Raises ConnectionFailed when there is none left."""
        if self._since is not None and now > self._since:
            self.level = min(self._burst, self.level + (now - self._since) * self._rate)
        self._since = now
        self.level -= 1
        if self.level < 0:
            raise flood(self._name)

    def earn(self) -> None:
        """Give one back."""
        self.level = min(self._burst, self.level + 1)

    def __repr__(self) -> str:
        return f"<Bucket {self._name} {self.level:.0f}/{self._burst}>"


class Floods:
    """What one peer has sent so far. Every method raises ConnectionFailed when its limit is passed."""

    __slots__ = (
        "_control",
        "_data_sent",
        "_empty",
        "_glitches",
        "_limits",
        "_pings",
        "_priorities",
        "_queued",
        "_resets",
        "_settings",
        "_streams",
        "_window_updates",
    )

    def __init__(self, limits: FloodLimits = LIMITS) -> None:
        self._limits = limits
        self._resets = Bucket("resets", limits.resets, limits.resets_rate)
        self._settings = Bucket("settings", limits.settings, limits.settings_rate)
        self._pings = Bucket("pings", limits.pings, limits.pings_rate)
        self._glitches = Bucket("glitches", limits.glitches, limits.glitches_rate)
        self._control = 0
        self._queued = 0
        self._empty = 0
        self._priorities = 0
        self._window_updates = 0
        self._streams = 0
        self._data_sent = 0

    def opened(self) -> None:
        """A stream began."""
        self._streams += 1

    def finished(self) -> None:
        """A stream ended as it should."""
        self._resets.earn()

    def reset(self, now: float) -> None:
        """A stream was reset early by the peer, or by us because of what the peer sent."""
        self._resets.take(now)

    def content(self, octets: int, *, end: bool) -> None:
        """A frame that carries content came, with so much of it; `end` if it ends a stream or a header block."""
        if octets or end:
            self._empty = 0
            return
        self._empty += 1
        if self._empty > self._limits.empty_frames:
            raise flood("empty_frames")

    def block(self, frames: int, octets: int) -> None:
        """A header block has grown to that."""
        if frames > self._limits.continuations:
            raise flood("continuations")
        if octets > self._limits.block:
            raise flood("header_block")

    def settings(self, entries: int, now: float) -> None:
        """SETTINGS came; we owe an acknowledgement."""
        if entries > self._limits.settings_entries:
            raise flood("settings_entries")
        self._settings.take(now)
        self.control()

    def ping(self, now: float) -> None:
        """PING came; we owe an answer."""
        self._pings.take(now)
        self.control()

    def control(self) -> None:
        """We owe the peer one more control frame."""
        self._control += 1
        if self._control > self._limits.queued_control:
            raise flood("queued_control")

    def collected(self) -> None:
        """What we owed has gone to the socket."""
        self._control = 0
        self._queued = 0

    def queued(self) -> None:
        """We have one more frame of content for the peer."""
        self._queued += 1

    def check_queue(self) -> None:
        """The peer has sent more, and should have read what we said."""
        if self._queued > self._limits.queued_frames:
            raise flood("queued_frames")

    def priority(self) -> None:
        """PRIORITY came."""
        self._priorities += 1
        if self._priorities > self._limits.priority * (1 + self._streams):
            raise flood("priority")

    def data_sent(self, frames: int) -> None:
        """We sent so many DATA frames, which the peer may answer with window."""
        self._data_sent += frames
        self._queued += frames

    def window_update(self) -> None:
        """WINDOW_UPDATE came."""
        self._window_updates += 1
        if self._window_updates > self._limits.window_updates + 2 * (self._streams + 10 * self._data_sent):
            raise flood("window_updates")

    def glitch(self, now: float) -> None:
        """A frame came that does nothing."""
        self._glitches.take(now)

    def __repr__(self) -> str:
        return f"<Floods {self._streams} streams {self._resets!r} {self._glitches!r}>"


def flood(counter: str) -> ConnectionFailed:
    """The end of a connection whose peer passed the limit of that name."""
    return ConnectionFailed(Code.ENHANCE_YOUR_CALM, f"too many: {counter}", counter)


class Stall:
    """Watches one stream that has octets to send and no window: a window that opens by drips keeps nobody alive."""

    __slots__ = ("_sent", "_since")

    def __init__(self) -> None:
        self._since: float | None = None
        self._sent = 0

    def is_over(self, sent: int, now: float, limits: FloodLimits) -> bool:
        """Whether its time is up; `sent` is all that the stream has sent so far. Ask now and then."""
        if self._since is None or sent - self._sent >= limits.stall_octets:
            self._since, self._sent = now, sent
            return False
        return now - self._since >= limits.stall

    def __repr__(self) -> str:
        return f"<Stall since {self._since}>"
