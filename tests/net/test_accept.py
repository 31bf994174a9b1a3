"""Accepting never spins: short of descriptors it says so and rests, and what one client broke is skipped."""

import errno
import socket

import trio

from meshd.net import wait
from meshd.net.accept import PAUSE, accept_each


class Listener:
    """A listening socket whose next accepts fail as told."""

    def __init__(self, *failures):
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.failures = list(failures)
        self.accepts = 0

    def fileno(self):
        return self.sock.fileno()

    def accept(self):
        self.accepts += 1
        if self.failures:
            raise OSError(self.failures.pop(0), "as told")
        return self.sock.accept()


async def test_a_shortage_is_told_of_and_waited_out():
    listener, short, served = Listener(errno.EMFILE, errno.ENFILE), [], trio.Event()

    async def serve(sock):
        wait.close(sock)
        served.set()

    async def body():
        wait.spawn(accept_each, listener, lambda: short.append(trio.current_time()), serve)
        with trio.fail_after(30):
            await served.wait()

    with socket.create_connection(listener.sock.getsockname()):
        await wait.background.run(body)
    assert len(short) == 2
    assert short[1] - short[0] >= PAUSE
    assert listener.accepts <= 5
    listener.sock.close()


async def test_a_connection_that_broke_before_it_was_accepted_is_skipped():
    listener, short, served = Listener(errno.ECONNABORTED), [], trio.Event()

    async def serve(sock):
        wait.close(sock)
        served.set()

    async def body():
        wait.spawn(accept_each, listener, lambda: short.append(1), serve)
        with trio.fail_after(30):
            await served.wait()

    with socket.create_connection(listener.sock.getsockname()):
        await wait.background.run(body)
    assert short == []
    listener.sock.close()
