"""Listening sockets and the options that every connection gets."""

import errno
import socket
from pathlib import Path
from typing import Final

# Dead peers are found within about a minute and a half of silence, unacknowledged data within thirty seconds.
KEEPALIVE_IDLE: Final = 60
KEEPALIVE_INTERVAL: Final = 10
KEEPALIVE_PROBES: Final = 3
USER_TIMEOUT_MS: Final = 30_000
# Bytes that the kernel keeps beyond those on their way. Without a bound it keeps megabytes for every client that does
# not read, and we learn late that it does not.
UNSENT: Final = 256 * 1024
LOCAL: Final = ("127.", "::1")
AHEAD: Final = 512 * 1024  # bytes; the kernel doubles it for what it keeps beside them
BACKLOG: Final = 4096


class BadAddress(ValueError):
    """Not something to listen on or to connect to."""


def parse_address(text: str) -> tuple[str, int]:
    """`host:port`, `[v6]:port` or `unix:/path` (port 0). Raises `BadAddress`."""
    if text.startswith("unix:"):
        return text.removeprefix("unix:"), 0
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise BadAddress(
            f"got {text!r}, expected host:port such as 127.0.0.1:15001, [::1]:15001 or unix:/run/meshd.sock"
        )
    return host.strip("[]"), int(port)


def listen(address: str, port: int, *, share: bool = True) -> socket.socket:
    """A bound, listening, non-blocking socket. `share` lets every worker have one of its own on the same port.

    Its options are set before it listens, because connections come in long before a worker accepts them, and what was
    not set when one came it does not inherit.

    Raises OSError with the address in its text.
    """
    if address.startswith("/"):
        return _listen_unix(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        tune(sock)
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {address}:{port}: {error.strerror}") from error
    return sock


def _listen_unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if Path(path).is_socket():
            Path(path).unlink()  # left by a process that was killed
        sock.bind(path)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {path}: {error.strerror}") from error
    return sock


def tune(sock: socket.socket) -> None:
    """The options of every TCP connection; those that are accepted inherit them from the listening socket."""
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)


def bound_reads(sock: socket.socket, address: str) -> None:
    """Before connecting to this machine: let the kernel receive no more ahead of us than a fast reader needs here. It
    would take megabytes off an app for every client that does not read, and the app's time with them."""
    if address.startswith(LOCAL):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, AHEAD)


def acknowledge(sock: socket.socket) -> None:
    """Acknowledge what has come now and not up to 40 ms later. A peer that writes a head and its body separately, with
    Nagle's algorithm on (RFC 9293 section 3.7.4), holds the body back until then. The kernel forgets about it with the
    next write, so this is said again at each read that leaves a message unfinished."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    except OSError:
        pass  # a unix socket, or one that is gone: the next read says so


# What accept() reports of one connection that did not come to be; the listener is fine (accept(2), ERROR HANDLING).
TRANSIENT: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPERM,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
        errno.ETIMEDOUT,
    }
)
# No descriptors or no memory: accepting again at once would only spin.
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
