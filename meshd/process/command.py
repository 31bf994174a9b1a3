"""The app that `meshd run -- command` starts once the sidecar is ready, and whose end is the sidecar's end."""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

from meshd.process.child import cause, die_with_parent, exit_code
from meshd.process.descriptors import restore_limit

NOT_FOUND: Final = 127  # as a shell exits
NOT_EXECUTABLE: Final = 126
FORWARDED: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})

log = logging.getLogger(__name__)


class Command:
    """One run of the app."""

    __slots__ = ("argv", "code", "pid")

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = tuple(argv)
        self.pid = 0
        self.code: int | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.pid != 0 and self.code is None

    def start(self) -> None:
        """Run it, with our environment and our standard streams. It is ended when we are killed."""
        parent = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self.pid = os.fork()
            if self.pid == 0:
                self._become(parent)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        log.info("started %s, pid %d", self.argv[0], self.pid)

    def signal(self, number: int) -> None:
        """Pass a signal on. An interrupt typed at a terminal has reached the app already."""
        if self.is_running and not (number == signal.SIGINT and _is_foreground()):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it now."""
        if self.is_running:
            os.kill(self.pid, signal.SIGKILL)

    def reaped(self, status: int) -> None:
        """It ended."""
        self.code = exit_code(status)
        log.info("%s ended: %s", self.argv[0], cause(status))

    def _become(self, parent: int) -> None:
        code = NOT_EXECUTABLE
        try:
            signal.set_wakeup_fd(-1)
            for number in (*FORWARDED, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)  # a disposition of "ignore" would outlive the exec
            die_with_parent(parent, signal.SIGTERM)
            restore_limit()
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execvp(self.argv[0], self.argv)  # noqa: S606  # running a command is what this is for
        except FileNotFoundError:
            code = NOT_FOUND
            sys.stderr.write(f"meshd: {self.argv[0]}: command not found\n")
        except OSError as error:
            sys.stderr.write(f"meshd: {self.argv[0]}: {error.strerror}\n")
        finally:
            sys.stderr.flush()
            os._exit(code)

    def __repr__(self) -> str:
        state = "running" if self.is_running else "not started" if self.code is None else f"ended {self.code}"
        return f"<Command {self.argv[0]} {state}>"


def _is_foreground() -> bool:
    """Whether a terminal's interrupts go to our process group, and so to the app in it."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
