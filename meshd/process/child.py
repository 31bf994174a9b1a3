"""Forking: what a child of the supervisor does first, and how its end is told to people.

Rule 1: no child outlives the supervisor. The kernel kills it when its parent dies (prctl(2), PR_SET_PDEATHSIG); the
look at the parent afterwards closes the gap between the fork and that call.
Rule 2: signals are blocked across the fork, because until the child has let go of them its handlers are the
supervisor's, and a signal that arrives then would be told to the wrong process.
Rule 3: the child's frames stand on those of the supervisor, so it leaves by `os._exit` only.
"""

import ctypes
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

from meshd.process.log import become

PR_SET_PDEATHSIG: Final = 1
PR_SET_NAME: Final = 15
CRASHED: Final = 70  # sysexits.h EX_SOFTWARE

# Given by a terminal to the whole group, or by whoever forwards too much: the supervisor leads. A child
# ignores them all until it says otherwise; that it is to drain stands on the board too, so nothing is missed.
LED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

log = logging.getLogger(__name__)
libc = ctypes.CDLL(None, use_errno=True)


def fork(role: str, body: Callable[[], int]) -> int:
    """Start a process that runs `body` and exits with what it returns. The caller gets its pid."""
    everything = signal.valid_signals()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, everything)
    parent = os.getpid()
    try:
        pid = os.fork()
        if pid == 0:
            _live(role, body, parent)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def die_with_parent(parent: int, number: int) -> None:
    """Have the kernel send us `number` when our parent ends; leave at once if it has ended already."""
    libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(CRASHED)


def _live(role: str, body: Callable[[], int], parent: int) -> None:
    code = CRASHED
    try:
        signal.set_wakeup_fd(-1)
        for number in LED:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        die_with_parent(parent, signal.SIGKILL)
        libc.prctl(PR_SET_NAME, f"meshd-{role.removesuffix('ler')}".encode(), 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        become(role)
        gc.enable()
        code = body()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else CRASHED
    except BaseException:  # nothing may climb into the supervisor's frames; it is told in full
        log.exception("%s crashed", role)
    finally:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass  # the reader is gone; there is nobody left to tell
        os._exit(code)


def exit_code(status: int) -> int:
    """What a shell would say of a wait status: the code, or 128 and the signal's number."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def cause(status: int) -> str:
    """A wait status in words: `exit code 1`, `SIGKILL`."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
