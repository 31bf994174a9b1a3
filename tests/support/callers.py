"""Three clients for the same question: HTTP/1.1, HTTP/2 with prior knowledge, and gRPC.

Each asks one authority over one connection that it keeps.
"""

import http.client
import socket
from dataclasses import dataclass, field

import grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset

PATIENCE = 15  # seconds for an answer


@dataclass
class Answer:
    """What came back: the names of fields in lower case, values of the same name joined."""

    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def add(self, pairs) -> None:
        for name, value in pairs:
            known = self.fields.get(name.lower())
            self.fields[name.lower()] = value if known is None else f"{known},{value}"


class Http1Caller:
    """Over one connection, until the other side closes it."""

    def __init__(self, address: str, authority: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=PATIENCE)
        self._authority = authority

    def ask(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        self._connection.request(method, path, headers={"Host": self._authority, **headers})
        response = self._connection.getresponse()
        answer = Answer(response.status, body=response.read())
        answer.add(response.getheaders())
        return answer

    def close(self) -> None:
        self._connection.close()


class Http2Caller:
    """Over one connection, a stream at a time."""

    def __init__(self, address: str, authority: str) -> None:
        self._authority = authority
        host, _, port = address.rpartition(":")
        self._sock = socket.create_connection((host, int(port)), PATIENCE)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()

    def ask(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        stream = self._h2.get_next_available_stream_id()
        lines = [(":method", method), (":scheme", "http"), (":authority", self._authority), (":path", path)]
        lines += [(name.lower(), value) for name, value in headers.items()]
        self._h2.send_headers(stream, lines, end_stream=True)
        answer = Answer()
        while True:
            self._sock.sendall(self._h2.data_to_send())
            octets = self._sock.recv(65536)
            assert octets, "the connection ended before the answer"
            events = self._h2.receive_data(octets)
            for event in events:
                self._hear(event, answer)
            if any(isinstance(event, StreamEnded) for event in events):
                self._sock.sendall(self._h2.data_to_send())
                return answer

    def _hear(self, event, answer: Answer) -> None:
        assert not isinstance(event, StreamReset), event
        if isinstance(event, ResponseReceived):
            (_, status), *fields = event.headers  # the only pseudo-header comes first
            answer.status = int(status)
            answer.add(fields)
        elif isinstance(event, DataReceived):
            answer.body += event.data
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def close(self) -> None:
        self._sock.close()


class GrpcCaller:
    """Over one channel. Raises grpc.RpcError unless the call is answered with status OK."""

    def __init__(self, address: str, authority: str) -> None:
        options = [("grpc.default_authority", authority), ("grpc.use_local_subchannel_pool", 1)]
        options.append(("grpc.enable_retries", 0))
        self._channel = grpc.insecure_channel(address, options)

    def ask(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        assert method == "POST"
        metadata = [(name.lower(), value) for name, value in headers.items()]
        body, ended = self._channel.unary_unary(path).with_call(b"", PATIENCE, metadata=metadata)
        answer = Answer(200, body=body)
        answer.add((each.key, each.value) for each in ended.initial_metadata())
        return answer

    def close(self) -> None:
        self._channel.close()


CALLERS = {"h1": Http1Caller, "h2": Http2Caller, "grpc": GrpcCaller}
