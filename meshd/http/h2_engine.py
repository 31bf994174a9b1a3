"""The library behind a session, kept out of trouble: what it is told, what it says, and what it owes the peer.

Everything it raises on octets of a peer leaves here as ConnectionFailed.
"""

import struct
from dataclasses import dataclass
from typing import Final

from h2.events import Event as LibraryEvent

from meshd.core.head import Headers
from meshd.http.h2_events import Code, ConnectionFailed
from meshd.http.h2_frames import END_HEADERS, END_STREAM, MAX_FRAME, Kind, frame
from meshd.http.h2_library import FieldDecoder, Library

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
DEFAULT_WINDOW: Final = 65535
_GOAWAY_LENGTH: Final = 17  # of the one that the library leaves behind when it gives up


@dataclass(frozen=True, slots=True)
class Offer:
    """What we let the peer do: the settings that we send."""

    streams: int = 100  # at a time; RFC 9113 section 6.5.2 recommends no less
    stream_window: int = 65535
    connection_window: int = 1048576
    header_list: int = 61440
    connect_protocol: bool = False  # extended CONNECT (RFC 8441), for WebSockets


class Engine:
    """One H2Connection. It hears only frames that are valid where they stand, so that it never gives up on its own."""

    __slots__ = ("_connection", "_library", "decoder")

    def __init__(self, library: Library, offer: Offer, decoded_block: int, *, client: bool) -> None:
        self._library = library
        self.decoder = FieldDecoder(library, decoded_block)
        configuration = library.configuration(
            client_side=client,
            header_encoding=None,
            validate_inbound_headers=False,  # judged before, in h2_fields
            normalize_inbound_headers=False,
            validate_outbound_headers=False,  # made of heads, which are valid
            normalize_outbound_headers=False,
        )
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
        connection.initiate_connection()
        connection.increment_flow_control_window(offer.connection_window - DEFAULT_WINDOW)

    def feed(self, octets: bytes) -> list[LibraryEvent]:
        """Tell the library of a frame. Raises ConnectionFailed."""
        try:
            return self._connection.receive_data(octets)
        except self._library.protocol_error as error:
            raise ConnectionFailed(int(getattr(error, "error_code", Code.PROTOCOL_ERROR)), str(error)[:100]) from error
        except _STRAY as error:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, f"{type(error).__name__} {error}"[:100]) from error

    def feed_head(self, stream: int, *, end: bool) -> None:
        """Tell the library that a message began or, as trailers, ended. Raises ConnectionFailed."""
        self.feed(frame(Kind.HEADERS, END_HEADERS | (END_STREAM if end else 0), stream))

    def feed_settings(self, payload: bytes) -> list[LibraryEvent]:
        """Tell the library of the settings that it knows, within bounds. Raises ConnectionFailed."""
        entries = [entry for entry in _ENTRY.iter_unpack(payload) if entry[0] in _KNOWN]
        bounded = [(name, min(value, TABLE_SIZE) if name == HEADER_TABLE_SIZE else value) for name, value in entries]
        return self.feed(frame(Kind.SETTINGS, 0, 0, b"".join([_ENTRY.pack(*entry) for entry in bounded])))

    def feed_window_update(self, octets: bytes) -> bool:
        """Tell the library of more window; whether it reset the stream because that is too much of it. Raises
        ConnectionFailed."""
        return any(type(event) is self._library.stream_reset for event in self.feed(octets))

    def acknowledge(self, stream: int, octets: int) -> None:
        """Give window back to the peer, in pieces that are worth a frame."""
        self._connection.acknowledge_received_data(octets, stream)

    def window(self, stream: int) -> int:
        """Octets that may be sent on an open stream now."""
        return max(0, self._connection.local_flow_control_window(stream))

    @property
    def inbound_window(self) -> int:
        """Octets that the peer may still send on all streams together."""
        return self._connection.inbound_flow_control_window

    @property
    def peer_streams(self) -> int:
        """How many streams the peer lets us have open."""
        return self._connection.remote_settings.max_concurrent_streams

    @property
    def peer_connects(self) -> bool:
        """Whether the peer takes extended CONNECT."""
        return bool(self._connection.remote_settings.get(ENABLE_CONNECT_PROTOCOL, 0))

    @property
    def next_stream(self) -> int:
        """The id of the next stream we may open; too large when there are none left."""
        highest = self._connection.highest_outbound_stream_id
        return highest + 2 if highest else 1

    def send_fields(self, stream: int, fields: Headers, *, end: bool) -> None:
        """A head or trailers."""
        self._connection.send_headers(stream, fields, end_stream=end)

    def send_data(self, stream: int, data: bytes, *, end: bool) -> int:
        """Body that fits the window. The number of frames it took."""
        connection = self._connection
        size = min(connection.max_outbound_frame_size, MAX_FRAME)
        if len(data) <= size:
            connection.send_data(stream, data, end_stream=end)
            return 1
        last = (len(data) - 1) // size * size
        for offset in range(0, last, size):
            connection.send_data(stream, data[offset : offset + size])
        connection.send_data(stream, data[last:], end_stream=end)
        return last // size + 1

    def reset(self, stream: int, code: int) -> None:
        """RST_STREAM on a stream that is open."""
        self._connection.reset_stream(stream, code)

    def collect(self) -> bytes:
        """What goes to the peer."""
        return self._connection.data_to_send()

    def collect_last(self) -> bytes:
        """The same after `feed` failed: without the GOAWAY that the library has written then, for ours says more."""
        data = self._connection.data_to_send()
        left_goaway = data[-_GOAWAY_LENGTH : 4 - _GOAWAY_LENGTH] == b"\0\0\x08\x07"
        return data[:-_GOAWAY_LENGTH] if left_goaway else data

    def __repr__(self) -> str:
        return f"<Engine {self._library.name}>"


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
