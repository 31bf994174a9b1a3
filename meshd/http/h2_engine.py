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
    """One H2Connection. It hears only frames that are valid where they stand, so that it never gives up on its own.

    Heads and bodies, which are most of what there is, go to its state machines and windows directly: its own methods
    parse and build each frame a second time, and run checks whose answers are known, which is half of what it costs.
    """

    __slots__ = ("_connection", "_connection_input", "_library", "_ours", "_stream_input", "_theirs", "decoder")

    def __init__(self, library: Library, offer: Offer, decoded_block: int, *, client: bool) -> None:
        self._library = library
        self._stream_input = library.stream_input
        self._connection_input = library.connection_input
        self._ours = library.allowed(client)
        self._theirs = library.allowed(not client)
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
            raise _failed(error) from error
        except _STRAY as error:
            raise ConnectionFailed(Code.PROTOCOL_ERROR, f"{type(error).__name__} {error}"[:100]) from error

    def feed_head(self, stream: int, *, end: bool) -> None:
        """Tell the library that a message began or, as trailers, ended. Raises ConnectionFailed."""
        connection, inputs = self._connection, self._stream_input
        try:
            connection.state_machine.process_input(self._connection_input.RECV_HEADERS)
            state = connection.streams.get(stream)
            if state is None:
                state = connection._begin_new_stream(stream, self._theirs)  # noqa: SLF001
            state.state_machine.process_input(inputs.RECV_HEADERS)
            if end:
                state.state_machine.process_input(inputs.RECV_END_STREAM)
        except self._library.protocol_error as error:
            raise _failed(error) from error

    def feed_body(self, stream: int, octets: int, *, end: bool) -> None:
        """Tell the library that so much body came, padding included. Raises ConnectionFailed."""
        connection, inputs = self._connection, self._stream_input
        try:
            connection.state_machine.process_input(self._connection_input.RECV_DATA)
            connection._inbound_flow_control_window_manager.window_consumed(octets)  # noqa: SLF001
            state = connection.streams[stream]
            state.state_machine.process_input(inputs.RECV_DATA)
            state._inbound_window_manager.window_consumed(octets)  # noqa: SLF001
            if end:
                state.state_machine.process_input(inputs.RECV_END_STREAM)
        except self._library.protocol_error as error:
            raise _failed(error) from error

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
        connection, inputs = self._connection, self._stream_input
        connection.state_machine.process_input(self._connection_input.SEND_HEADERS)
        state = connection.streams.get(stream)
        if state is None:
            state = connection._begin_new_stream(stream, self._ours)  # noqa: SLF001
        interim = fields[0][0] == b":status" and fields[0][1] < b"200"
        state.state_machine.process_input(inputs.SEND_INFORMATIONAL_HEADERS if interim else inputs.SEND_HEADERS)
        if end:
            state.state_machine.process_input(inputs.SEND_END_STREAM)
        block = self._library.encode(connection.encoder, fields)
        size = min(connection.max_outbound_frame_size, MAX_FRAME)
        out = connection._data_to_send  # noqa: SLF001
        flags = END_STREAM if end else 0
        if len(block) <= size:
            out += frame(Kind.HEADERS, flags | END_HEADERS, stream, block)
            return
        out += frame(Kind.HEADERS, flags, stream, block[:size])
        last = (len(block) - 1) // size * size
        for offset in range(size, last, size):
            out += frame(Kind.CONTINUATION, 0, stream, block[offset : offset + size])
        out += frame(Kind.CONTINUATION, END_HEADERS, stream, block[last:])

    def send_data(self, stream: int, data: bytes, *, end: bool) -> int:
        """Body that fits the window. The number of frames it took."""
        connection, inputs = self._connection, self._stream_input
        connection.state_machine.process_input(self._connection_input.SEND_DATA)
        state = connection.streams[stream]
        state.state_machine.process_input(inputs.SEND_DATA)
        if end:
            state.state_machine.process_input(inputs.SEND_END_STREAM)
        octets = len(data)
        state.outbound_flow_control_window -= octets
        connection.outbound_flow_control_window -= octets
        size = min(connection.max_outbound_frame_size, MAX_FRAME)
        out = connection._data_to_send  # noqa: SLF001
        last = max(0, octets - 1) // size * size
        for offset in range(0, last, size):
            out += frame(Kind.DATA, 0, stream, data[offset : offset + size])
        out += frame(Kind.DATA, END_STREAM if end else 0, stream, data[last:] if last else data)
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
