"""The other end of an HTTP/2 connection, as a test holds it: hyper-h2 with all its checks, or a session of ours.

Both have the same few methods. Bodies go out as fast as the windows open; what comes is acknowledged at once while
`reads` is true and its stream is not among the `ignored`, else when a test says `read`.
"""

from collections import defaultdict

from h2 import events as h2_events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import FlowControlError

from meshd.core.head import RequestHead, ResponseHead
from meshd.http.h2_client import ClientSession
from meshd.http.h2_events import Body, Ended, GoneAway, RequestArrived, Reset, ResponseArrived, WindowOpened
from meshd.http.h2_server import ServerSession

CONNECTION_WINDOW = 1048576  # as ours


class Peer:
    """What it heard, stream by stream, and what it has still to say."""

    def __init__(self):
        self.reads = True
        self.ignored = set()
        self.heads = defaultdict(list)  # fields of each head, the pseudo ones included
        self.bodies = defaultdict(bytearray)
        self.unread = defaultdict(int)
        self.trailers = {}
        self.ended = set()
        self.resets = {}  # code, by stream
        self.goaways = []  # (last stream, code)
        self.waiting = {}  # what is left of bodies: octets, whether they end the stream

    def send(self, stream, body, *, end=True):
        """Send this body, as fast as the other end takes it."""
        before, _ = self.waiting.get(stream, (b"", False))
        self.waiting[stream] = (before + body, end)
        self._go_on(stream)

    def read(self, stream, octets):
        """Acknowledge so much of what was not read."""
        self.unread[stream] -= octets
        self._acknowledge(stream, octets)

    def _go_on(self, stream):
        body, end = self.waiting[stream]
        taken, over = self._send(stream, body, end)
        if over:
            del self.waiting[stream]
        else:
            self.waiting[stream] = (body[taken:], end)

    def _came(self, stream, body, size):
        self.bodies[stream] += body
        self.unread[stream] += size
        if self.reads and stream not in self.ignored:
            self.read(stream, size)

    def _ended_early(self, stream, code):
        self.resets[stream] = int(code)
        self.waiting.pop(stream, None)


class HyperPeer(Peer):
    """hyper-h2."""

    def __init__(self, *, client, streams=100):
        super().__init__()
        self.settings_out = 1  # SETTINGS that are not acknowledged yet
        self.connection = H2Connection(H2Configuration(client_side=client, header_encoding=None))
        self.connection.local_settings.max_concurrent_streams = streams
        self.connection.initiate_connection()
        self.connection.increment_flow_control_window(CONNECTION_WINDOW - 65535)

    def hear(self, octets):
        for event in self.connection.receive_data(octets):
            self._hear(event)
        for stream in list(self.waiting):
            self._go_on(stream)

    def _hear(self, event):
        if isinstance(
            event, h2_events.RequestReceived | h2_events.ResponseReceived | h2_events.InformationalResponseReceived
        ):
            self.heads[event.stream_id].append(dict(map(tuple, event.headers)))
        elif isinstance(event, h2_events.DataReceived):
            self._came(event.stream_id, event.data, event.flow_controlled_length)
        elif isinstance(event, h2_events.TrailersReceived):
            self.trailers[event.stream_id] = list(map(tuple, event.headers))
        elif isinstance(event, h2_events.StreamEnded):
            self.ended.add(event.stream_id)
        elif isinstance(event, h2_events.StreamReset):
            self._ended_early(event.stream_id, event.error_code)
        elif isinstance(event, h2_events.SettingsAcknowledged):
            self.settings_out -= 1
        elif isinstance(event, h2_events.ConnectionTerminated):
            self.goaways.append((event.last_stream_id, int(event.error_code)))

    def say(self):
        return self.connection.data_to_send()

    def change(self, setting, value):
        """Send SETTINGS, if the last ones are acknowledged: hyper-h2 takes any acknowledgement for that of all."""
        if not self.settings_out:
            self.settings_out += 1
            self.connection.update_settings({setting: value})

    def request(self, method=b"GET", path=b"/", fields=(), *, end=True, authority=b"a.test"):
        stream = self.connection.get_next_available_stream_id()
        pseudo = [(b":method", method), (b":scheme", b"http"), (b":authority", authority), (b":path", path)]
        self.connection.send_headers(stream, [*pseudo, *fields], end_stream=end)
        return stream

    def answer(self, stream, status=200, fields=(), *, end=False):
        self.connection.send_headers(stream, [(b":status", b"%d" % status), *fields], end_stream=end)

    def finish(self, stream, trailers):
        self.connection.send_headers(stream, trailers, end_stream=True)

    def reset(self, stream, code):
        self.connection.reset_stream(stream, code)

    def _acknowledge(self, stream, octets):
        self.connection.acknowledge_received_data(octets, stream)

    def _send(self, stream, body, end):
        sent = 0
        while sent < len(body):
            try:
                room = self.connection.local_flow_control_window(stream)
            except FlowControlError:
                room = 0
            size = min(len(body) - sent, room, self.connection.max_outbound_frame_size)
            if size <= 0:
                return sent, False
            self.connection.send_data(stream, body[sent : sent + size])
            sent += size
        if end:
            self.connection.end_stream(stream)
        return sent, True

    def __repr__(self):
        return "<HyperPeer>"


class OwnPeer(Peer):
    """A session of ours."""

    def __init__(self, *, client):
        super().__init__()
        self.session = ClientSession() if client else ServerSession()

    def hear(self, octets):
        for event in self.session.receive(octets, 0.0):
            self._hear(event)
        for stream in list(self.waiting):
            self._go_on(stream)

    def _hear(self, event):
        if isinstance(event, RequestArrived):
            pseudo = {b":method": event.head.method, b":path": event.head.path, b":authority": event.head.authority}
            self.heads[event.stream].append(pseudo | dict(event.head.headers))
        elif isinstance(event, ResponseArrived):
            self.heads[event.stream].append({b":status": b"%d" % event.head.status} | dict(event.head.headers))
        elif isinstance(event, Body):
            self._came(event.stream, event.data, len(event.data))
        elif isinstance(event, Ended):
            self.ended.add(event.stream)
            if event.trailers:
                self.trailers[event.stream] = event.trailers
        elif isinstance(event, Reset):
            self._ended_early(event.stream, event.code)
        elif isinstance(event, GoneAway):
            self.goaways.append((event.last, event.code))
        elif isinstance(event, WindowOpened):
            pass  # `hear` tries every body that waits

    def say(self):
        return self.session.data_to_send()

    def request(self, method=b"GET", path=b"/", fields=(), *, end=True):
        head = RequestHead(method, path, b"a.test", list(fields))
        head.length = 0 if end else None
        return self.session.send_request(head, 0.0, end=end)

    def answer(self, stream, status=200, fields=(), *, end=False):
        self.session.send_head(stream, ResponseHead(status, list(fields), 0 if end else None), end=end)

    def finish(self, stream, trailers):
        self.session.send_trailers(stream, trailers)

    def reset(self, stream, code):
        self.session.reset(stream, code)

    def _acknowledge(self, stream, octets):
        self.session.acknowledge(stream, octets)

    def _send(self, stream, body, end):
        taken = self.session.send_data(stream, body, end=end)
        return taken, taken == len(body)

    def __repr__(self):
        return f"<OwnPeer {self.session!r}>"


PEERS = (HyperPeer, OwnPeer)
