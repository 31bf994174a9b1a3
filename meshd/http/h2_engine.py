"""What a session says, and the library behind it, kept out of trouble.

The library negotiates the settings, answers pings and compresses. It hears nothing of streams: their states are the
session's, their windows are in `h2_windows`, and both cost a tenth there. Everything that it raises on octets of a peer
leaves here as ConnectionFailed.
"""

import struct
from dataclasses import dataclass
from typing import Final

from meshd.core.head import Headers
from meshd.http.h2_events import Code, ConnectionFailed
from meshd.http.h2_frames import END_HEADERS, END_STREAM, MAX_FRAME, Kind, frame
from meshd.http.h2_library import FieldDecoder, Library
from meshd.http.h2_windows import GROWTH

# Identifiers of settings (RFC 9113 section 6.5.2, RFC 8441 section 3).
HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6
ENABLE_CONNECT_PROTOCOL: Final = 8
_KNOWN: Final = frozenset((1, 2, 3, 4, 5, 6, 8))
_ENTRY: Final = struct.Struct(">HI")
TABLE_SIZE: Final = 4096  # of HPACK, both ways: a peer may offer more, and would have us fill it
# RFC 9113 section 6.5.2; of streams there is no limit.
_UNTIL_SAID: Final = {HEADER_TABLE_SIZE: 4096, INITIAL_WINDOW_SIZE: 65535, MAX_FRAME_SIZE: 16384}


@dataclass(frozen=True, slots=True)
class Offer:
    """What we let the peer do: the settings that we send."""

    streams: int = 100  # at a time; RFC 9113 section 6.5.2 recommends no less
    stream_window: int = 65535
    # Twice all of those, for no less than half of it is given back at a time: what nobody reads of 99 streams
    # keeps no octet from the hundredth, and what may wait unread is bounded by the streams' own windows.
    connection_window: int = 2 * (100 * 65535 + GROWTH)
    header_list: int = 61440
    connect_protocol: bool = False  # extended CONNECT (RFC 8441), for WebSockets


class Engine:
    """One H2Connection, which hears only frames that are valid where they stand, so that it never gives up on its own.
    And all that waits to go out."""

    __slots__ = ("_connection", "_library", "_out", "decoder", "peer_frame", "peer_streams", "peer_window")

    def __init__(self, library: Library, offer: Offer, decoded_block: int, *, client: bool) -> None:
        self._library = library
        self._out = bytearray()
        self.decoder = FieldDecoder(library, decoded_block)
        configuration = library.configuration(client_side=client, header_encoding=None)
        connection = self._connection = library.connection(configuration)
        values = {
            HEADER_TABLE_SIZE: TABLE_SIZE,
            INITIAL_WINDOW_SIZE: offer.stream_window,
            MAX_FRAME_SIZE: MAX_FRAME,
            MAX_HEADER_LIST_SIZE: offer.header_list,
        }
        if client:
            values[ENABLE_PUSH] = 0
        else:
            values[MAX_CONCURRENT_STREAMS] = offer.streams
            values[ENABLE_CONNECT_PROTOCOL] = int(offer.connect_protocol)
        connection.local_settings = library.settings(
            client=client, initial_values={library.setting(name): value for name, value in values.items()}
        )
        # What holds until the peer says otherwise; jh2 would take it for a browser, with a hundred times the window.
        connection.remote_settings = library.settings(
            client=not client, initial_values={library.setting(name): value for name, value in _UNTIL_SAID.items()}
        )
        connection.initiate_connection()
        self._out += connection.data_to_send()
        self._note_settings()

    def _note_settings(self) -> None:
        theirs = self._connection.remote_settings
        self.peer_streams: int = theirs.max_concurrent_streams  # how many streams the peer lets us have open
        self.peer_window: int = theirs.initial_window_size  # that a stream begins with
        self.peer_frame: int = min(theirs.max_frame_size, MAX_FRAME)  # octets of payload that we send at most

    def feed(self, octets: bytes) -> None:
        """Tell the library of a frame about the connection. Raises ConnectionFailed."""
        connection = self._connection
        try:
            connection.receive_data(octets)
        except self._library.protocol_error as error:
            raise _failed(error) from error
        except _STRAY as error:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, f"{type(error).__name__} {error}"[:100]) from error
        self._out += connection.data_to_send()

    def feed_settings(self, payload: bytes) -> None:
        """Tell the library of the settings that it knows, within bounds. Raises ConnectionFailed."""
        entries = [entry for entry in _ENTRY.iter_unpack(payload) if entry[0] in _KNOWN]
        bounded = [(name, min(value, TABLE_SIZE) if name == HEADER_TABLE_SIZE else value) for name, value in entries]
        self.feed(frame(Kind.SETTINGS, 0, 0, b"".join([_ENTRY.pack(*entry) for entry in bounded])))
        self._note_settings()

    @property
    def peer_connects(self) -> bool:
        """Whether the peer takes extended CONNECT."""
        return bool(self._connection.remote_settings.get(ENABLE_CONNECT_PROTOCOL, 0))

    def say(self, octets: bytes) -> None:
        """Have whole frames go out."""
        self._out += octets

    def say_fields(self, stream: int, fields: Headers, *, end: bool) -> None:
        """A head or trailers."""
        block = self._library.encode(self._connection.encoder, fields)
        size = self.peer_frame
        flags = END_STREAM if end else 0
        if len(block) <= size:
            self._out += frame(Kind.HEADERS, flags | END_HEADERS, stream, block)
            return
        out = self._out
        out += frame(Kind.HEADERS, flags, stream, block[:size])
        last = (len(block) - 1) // size * size
        for offset in range(size, last, size):
            out += frame(Kind.CONTINUATION, 0, stream, block[offset : offset + size])
        out += frame(Kind.CONTINUATION, END_HEADERS, stream, block[last:])

    def say_data(self, stream: int, data: bytes, *, end: bool) -> int:
        """Body. The number of frames it took."""
        octets, size = len(data), self.peer_frame
        flags = END_STREAM if end else 0
        if octets <= size:
            self._out += frame(Kind.DATA, flags, stream, data)
            return 1
        out = self._out
        last = (octets - 1) // size * size
        for offset in range(0, last, size):
            out += frame(Kind.DATA, 0, stream, data[offset : offset + size])
        out += frame(Kind.DATA, flags, stream, data[last:])
        return last // size + 1

    def collect(self) -> bytes:
        """What goes to the peer, once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def __repr__(self) -> str:
        return f"<Engine {self._library.name}, {len(self._out)} octets to go out>"


def _failed(error: Exception) -> ConnectionFailed:
    return ConnectionFailed(int(getattr(error, "error_code", Code.PROTOCOL_ERROR)), str(error)[:100])


# What the library has been seen to raise on hostile octets besides its own errors.
_STRAY = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    RecursionError,
    struct.error,
)
