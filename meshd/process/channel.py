"""Messages between two processes of the sidecar: tuples of plain values over a socketpair.

Theory of operation: the pair is SOCK_SEQPACKET, so a message arrives whole or not at all: a process that dies in the
middle of sending leaves no half record behind for its successor. Sending never waits: when the reader cannot keep up,
the message is dropped and counted, because traffic must not wait for telemetry. What is longer than one datagram may
be travels as a memfd, of which the message carries only the descriptor (unix(7), SCM_RIGHTS).

Rule 1: the supervisor keeps both ends of every pair, so a process that is started again takes up the same pair, and
what was sent meanwhile waits for it. There is no end of file here; a process whose parent died is ended by the kernel.
Rule 2: both ends run the same program: values are checked where they are used, not for malice but for staleness.
"""

import array
import marshal
import os
import socket
from typing import Final

Message = tuple[object, ...]

INLINE: Final = 48 * 1024  # octets; above, the message travels as a memfd
MAX_MESSAGE: Final = 256 * 1024 * 1024
DESCRIPTOR: Final = socket.CMSG_SPACE(array.array("i", [0]).itemsize)


class Channel:
    """One end of a pair."""

    __slots__ = ("dropped", "sent", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.dropped = 0
        self.sent = 0

    def send(self, *message: object) -> bool:
        """Send without ever waiting. False when there was no room: it is dropped, and counted.

        Raises ValueError when the message holds what `marshal` does not know: a mistake in this program.
        """
        body = marshal.dumps(message)  # type: ignore[arg-type]  # object: what it refuses is a ValueError
        try:
            if len(body) <= INLINE:
                self.sock.send(body, socket.MSG_NOSIGNAL)
            else:
                self._send_descriptor(body)
        except OSError:  # EAGAIN, EPIPE, ENOBUFS, EMFILE: whatever the cause, traffic goes on without this message
            self.dropped += 1
            return False
        self.sent += 1
        return True

    def receive(self) -> Message | None:
        """The next message; None when none is there."""
        try:
            body, ancillary, _flags, _address = self.sock.recvmsg(
                INLINE, DESCRIPTOR, socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
            )
        except BlockingIOError:
            return None
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                body = _take(array.array("i", value)[0])
        if not body:
            return None
        message: object = marshal.loads(body)  # noqa: S302  # from a process of our own
        assert isinstance(message, tuple)
        return message

    def fileno(self) -> int:
        """For whoever waits on it."""
        return self.sock.fileno()

    def close(self) -> None:
        """Give the descriptor back."""
        self.sock.close()

    def _send_descriptor(self, body: bytes) -> None:
        file = os.memfd_create("meshd-message")
        try:
            view = memoryview(body)
            while view:
                view = view[os.write(file, view) :]
            socket.send_fds(self.sock, [b"\0"], [file], socket.MSG_NOSIGNAL)
        finally:
            os.close(file)

    def __repr__(self) -> str:
        return f"<Channel {self.sent} sent, {self.dropped} dropped>"


def pair() -> tuple[Channel, Channel]:
    """Two connected ends."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    return Channel(left), Channel(right)


def _take(file: int) -> bytes:
    """Everything in a memfd, which is then closed."""
    try:
        size = os.fstat(file).st_size
        assert size <= MAX_MESSAGE
        body = bytearray()
        while len(body) < size:
            body += os.pread(file, size - len(body), len(body))
        return bytes(body)
    finally:
        os.close(file)
