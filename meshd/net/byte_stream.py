"""What the data path needs of a connection, whatever it runs over."""

from typing import Protocol

Bytes = bytes | bytearray | memoryview


class Stream(Protocol):
    """What the data path needs of a connection."""

    fd: int
    alert: str  # of TLS, that the peer has sent; empty for none
    quick_ack: bool  # whether `acknowledge` does anything

    async def receive(self) -> bytes:
        """Wait for bytes and return what is there, `CHUNK` at most; empty at the peer's orderly end."""

    async def send(self, data: Bytes) -> None:
        """Write everything."""

    async def send_eof(self) -> None:
        """Say that nothing more will be written; reading goes on."""

    def acknowledge(self) -> None:
        """Have the kernel acknowledge what came at once, where `quick_ack` says so: for who reads a message that is not
        whole yet, because its sender may wait for that before it sends the rest."""

    def is_gone(self) -> bool:
        """Whether the peer has closed or reset, even while bytes of it wait unread. One cheap system call."""

    def has_left(self) -> bool:
        """Whether nobody is there any more to hear an answer: the peer has reset, or closed, as far as can be told.
        One that has only ended its own direction is there."""

    def has_news(self) -> bool:
        """Whether bytes wait unread, or the peer has closed or reset. One cheap system call."""

    def is_stale(self) -> bool:
        """Whether an idle connection has ended or has received bytes nobody asked for. One cheap system call."""

    def is_quiet(self) -> bool:
        """Whether an idle connection is known to be neither, as of the last turn of the event loop. No system call."""

    def close(self) -> None:
        """Close at once; TLS says close_notify if the kernel has room for it. After large writes: `send_eof` first."""

    def interrupt(self, reason: str) -> None:
        """Wake whoever waits on this stream with `StreamBroken(reason)`, but leave it open for a last word."""

    def abort(self, reason: str) -> None:
        """Close at once and wake whoever waits on this stream with `StreamBroken(reason)`."""
