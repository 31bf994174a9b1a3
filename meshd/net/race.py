"""Connecting to whichever address answers first (happy eyeballs, RFC 8305 section 5).

Theory of operation: the addresses are dialled one after the other, the next as soon as one has failed or `STAGGER`
after the last was begun. The first connection that comes about wins and the others are closed. One task an address;
whoever races waits for a bell.
"""

import errno
import os
import socket
from collections.abc import Sequence
from typing import Final

from meshd.net import wait
from meshd.net.resolver import family_of
from meshd.net.sockets import bound_reads, tune
from meshd.net.sweep import SocketDeadline

STAGGER: Final = 0.25  # seconds, as RFC 8305 recommends


class NobodyAnswered(OSError):
    """Every address failed; the text names each, and why. `errno` is that of the last."""


class Race:
    """One dial to several addresses."""

    __slots__ = ("_bell", "_errors", "_left", "_limit", "_open", "_port", "winner")

    def __init__(self, addresses: Sequence[str], port: int, limit: SocketDeadline) -> None:
        self._left = list(addresses)
        self._port = port
        self._limit = limit
        self._bell = wait.Signal()
        self._open: dict[str, socket.socket | None] = {}  # being dialled
        self._errors: dict[str, OSError] = {}
        self.winner = ""

    async def run(self) -> tuple[socket.socket, list[str]]:
        """The first connection, and the addresses that were begun before it and did not answer.

        Raises `NobodyAnswered`.
        """
        try:
            self._begin()
            while not self.winner and self._open:
                await self._bell.wait()
        finally:
            losers = [address for address in (*self._errors, *self._open) if address != self.winner]
            for address, sock in self._open.items():
                if sock is not None and address != self.winner:
                    wait.close(sock)
        if not self.winner:
            raise nobody(self._errors)
        won = self._open[self.winner]
        assert won is not None
        return won, losers

    def _begin(self) -> None:
        if not self._left or self.winner or self._limit.overdue:
            return
        address = self._left.pop(0)
        self._open[address] = None
        wait.spawn(self._dial, address)
        if self._left:
            wait.spawn(self._stagger, len(self._left))

    async def _stagger(self, left: int) -> None:
        await wait.sleep_until(wait.now() + STAGGER)
        if self._open and len(self._left) == left:
            self._begin()

    async def _dial(self, address: str) -> None:
        try:
            sock = self._open[address] = open_socket(address)
            self._limit.watch(sock)
            await connect(sock, address, self._port)
        except (OSError, wait.Closed) as error:
            timed_out = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            self._errors[address] = error if isinstance(error, OSError) else timed_out
            if not self.winner:
                del self._open[address]
                self._begin()
        else:
            if self.winner or address not in self._open:
                wait.close(sock)
            else:
                self.winner = address
        self._bell.set()

    def __repr__(self) -> str:
        return f"<Race {len(self._open)} under way, {len(self._left)} left>"


def nobody(errors: dict[str, OSError]) -> NobodyAnswered:
    """Why none of several addresses answered."""
    told = ", ".join(f"{address} {reason_of(error)}" for address, error in errors.items())
    last = list(errors.values())[-1]
    return NobodyAnswered(last.errno, told)


def reason_of(error: OSError) -> str:
    """In a word or two."""
    words = {
        errno.ECONNREFUSED: "refused",
        errno.EHOSTUNREACH: "host unreachable",
        errno.ENETUNREACH: "network unreachable",
        errno.ETIMEDOUT: "timed out",
        errno.EBADF: "timed out",
    }
    number = error.errno or 0
    return words.get(number) or errno.errorcode.get(number, str(error))


def open_socket(address: str) -> socket.socket:
    """For an IP address or the path of a unix socket. Raises OSError."""
    family = socket.AF_UNIX if address.startswith("/") else family_of(address)
    if family is None:
        raise AssertionError(f"{address} is no address")
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    wait.opened(sock)
    tune(sock)
    bound_reads(sock, address)
    return sock


async def connect(sock: socket.socket, address: str, port: int) -> None:
    """Connect, or close the socket. Raises OSError and `Closed`."""
    try:
        error = sock.connect_ex(address if sock.family == socket.AF_UNIX else (address, port))
        if error == errno.EINPROGRESS:
            error = await _connected(sock)
        if error:
            raise OSError(error, os.strerror(error))  # noqa: TRY301  # told of like what connect() itself raises
    except BaseException:
        wait.close(sock)
        raise


async def _connected(sock: socket.socket) -> int:
    """Wait for the connection; the error number that it ended with, 0 for none. A wake-up may be spurious."""
    while True:
        await wait.writable(sock.fileno())
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            return error
        try:
            sock.getpeername()
        except OSError:
            continue
        return 0
