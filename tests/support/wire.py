"""A client that speaks raw octets, and reads responses without trusting whoever sent them."""

import re
import socket
import time
from typing import Self

STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) [^\r\n]*\r\n")


class RawClient:
    """One TCP connection; `send` whole or octet by octet."""

    def __init__(self, address: str, wrap=None) -> None:
        host, _, port = address.rpartition(":")
        self.sock = socket.create_connection((host.strip("[]"), int(port)), 10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if wrap is not None:
            self.sock = wrap(self.sock)
        self.received = b""
        self.closed = False
        self.reset = False  # it ended otherwise than by an orderly close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes, step: int = 0) -> None:
        """In one write, or `step` octets at a time. A proxy that closes early is no error here."""
        try:
            if not step:
                self.sock.sendall(data)
                return
            for at in range(0, len(data), step):
                self.sock.sendall(data[at : at + step])
        except OSError:
            pass

    def end(self) -> None:
        """Say that nothing more will be sent."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.closed = True

    def read_more(self, seconds: float) -> bool:
        """Whether bytes came; sets `closed` at the end of the connection."""
        if self.closed:
            return False
        self.sock.settimeout(max(seconds, 0.001))
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            return False
        except OSError:
            data, self.reset = b"", True
        self.closed = not data
        self.received += data
        return bool(data)

    def read_until(self, done, seconds: float) -> bool:
        """Read until `done()` or the time is over; whether it came about."""
        end = time.perf_counter() + seconds
        while not done():
            left = end - time.perf_counter()
            if left <= 0 or self.closed:
                return done()
            self.read_more(min(left, 0.02))
        return True

    def responses(self, methods: list[str] | None = None) -> list[tuple[int, dict[str, str], bytes]]:
        """The complete responses so far: status, fields in lower case, body. `methods` of the requests, for HEAD."""
        return parse_responses(self.received, methods or [], self.closed)


def parse_responses(data: bytes, methods: list[str], closed: bool) -> list[tuple[int, dict[str, str], bytes]]:
    found = []
    while (head_end := data.find(b"\r\n\r\n")) >= 0:
        match = STATUS_LINE.match(data)
        assert match, f"not a status line: {data[:60]!r}"
        status = int(match[1])
        fields: dict[str, str] = {}
        for line in data[match.end() : head_end].split(b"\r\n"):
            if line:
                name, _, value = line.decode("latin-1").partition(":")
                key = name.strip().lower()
                fields[key] = f"{fields[key]}, {value.strip()}" if key in fields else value.strip()
        rest = data[head_end + 4 :]
        finals = sum(1 for each in found if each[0] >= 200)
        method = methods[finals] if finals < len(methods) else "GET"
        body, rest, whole = _body(status, fields, rest, method, closed)
        if not whole:
            break
        found.append((status, fields, body))
        data = rest
    return found


def _body(status: int, fields: dict[str, str], data: bytes, method: str, closed: bool) -> tuple[bytes, bytes, bool]:
    if status < 200 or status in (204, 304) or method == "HEAD":
        return b"", data, True
    if "chunked" in fields.get("transfer-encoding", ""):
        body = b""
        while True:
            line, separator, rest = data.partition(b"\r\n")
            if not separator:
                return b"", b"", False
            size = int(line.split(b";")[0], 16)
            if size == 0:
                end = rest.find(b"\r\n") if rest.startswith(b"\r\n") else rest.find(b"\r\n\r\n") + 2
                return body, rest[end + 2 :], rest.startswith(b"\r\n") or b"\r\n\r\n" in rest
            if len(rest) < size + 2:
                return b"", b"", False
            body += rest[:size]
            data = rest[size + 2 :]
    if "content-length" in fields:
        length = int(fields["content-length"])
        return data[:length], data[length:], len(data) >= length
    return data, b"", closed
