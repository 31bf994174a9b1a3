"""File descriptors: as many as the system lets us have, and the app we start has what it would have without us.

The soft limit that a login shell and systemd give, 1024, is there for programs that call select(2), which breaks above
it; we do not. So we raise it to the hard limit at the start, and put it back for the app of `meshd run -- command`.
"""

import resource
from typing import Final

MOST: Final = 1_048_576  # some systems say a billion, and tables grow with it
PLENTY: Final = 10_000  # connections that one worker's processor is enough for
FEWEST: Final = 4

_given: list[tuple[int, int]] = []  # the limits that we were started with


def raise_limit() -> None:
    """Raise the soft limit to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    _given[:] = [(soft, hard)]
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def restore_limit() -> None:
    """In the child that becomes the app: what it would have without us."""
    for limits in _given:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def connections(wanted: int | None) -> int:
    """How many connections of clients a worker may have, if `wanted` are: fewer than half of the descriptors, because
    each may need one more toward the app, and something is left for everything else."""
    return max(FEWEST, min(wanted or PLENTY, limit() * 2 // 5))


def limit() -> int:
    """How many this process may have."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else min(soft, MOST)
