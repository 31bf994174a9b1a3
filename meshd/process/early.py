"""The first moments of `meshd run`, before anything that takes time is imported.

Rule 1: "read it again" (SIGHUP) and "the log was rotated" (SIGUSR1) end nobody: they are held until the supervisor
listens, and are told to it then. Rule 2: who is asked to end before anything serves ends at once, with the exit code
of a sidecar that has drained; as process 1 of a container, too, where the kernel would ignore a signal that has no
handler. Rule 3: the numbers of the standard streams belong to them: where one is closed, a socket that we open later
would take its number, and our log would be written to it. Rule 4: nothing is imported here that need not be: until this
has run the default actions of signals hold.
"""

import os
import signal

HELD = frozenset({signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})
ASKED_TO_END = (signal.SIGTERM, signal.SIGINT)


def prepare(argv: list[str]) -> None:
    """Do so if this is the command line of `meshd run`."""
    if argv[1:2] != ["run"]:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    for number in ASKED_TO_END:
        signal.signal(number, _end)
    keep_standard_streams()


def keep_standard_streams() -> None:
    """Open /dev/null wherever a standard stream is closed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003  # the lowest number free: this one


def _end(_number: int, _frame: object) -> None:
    os._exit(0)
