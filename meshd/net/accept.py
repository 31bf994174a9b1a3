"""Accepting connections without ever spinning: what is out of descriptors waits, what one client broke is skipped."""

import logging
import socket
from collections.abc import Callable, Coroutine

from meshd.net import wait
from meshd.net.sockets import EXHAUSTED, TRANSIENT

log = logging.getLogger(__name__)

BURST = 32  # connections taken per wake-up, so that one listener never starves the rest
PAUSE = 0.1  # seconds without accepting when descriptors ran out


async def accept_each(
    listener: socket.socket,
    shortage: Callable[[], None],
    serve: Callable[[socket.socket], Coroutine[object, None, None]],
) -> None:
    """Spawn `serve(sock)` for every connection until the listener is closed. `shortage` is called when the system has
    no descriptors or no memory left; accepting then rests for a moment, and connections wait in the kernel's queue.
    """
    try:
        while True:
            await wait.readable(listener.fileno())
            if not _accept_burst(listener, serve):
                shortage()
                await wait.sleep_until(wait.now() + PAUSE)
    except (wait.Closed, ValueError):
        return  # draining: closed under us, or before we came to wait


def _accept_burst(listener: socket.socket, serve: Callable[[socket.socket], Coroutine[object, None, None]]) -> bool:
    """Accept a few; False when the system is short of what that takes."""
    for _ in range(BURST):
        try:
            sock, _address = listener.accept()
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno in TRANSIENT:
                continue
            if error.errno not in EXHAUSTED:
                if listener.fileno() < 0:
                    raise ValueError("closed") from error
                raise
            log.error("accepting stops for %d ms: %s", PAUSE * 1000, error.strerror)  # noqa: TRY400  # a shortage, no bug
            return False
        sock.setblocking(False)  # noqa: FBT003
        wait.opened(sock)
        wait.spawn(serve, sock)
    return True
