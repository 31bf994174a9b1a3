"""The last words of a process that has stopped answering: what it was doing, and what it had not sent yet.

Theory of operation: before the watchdog kills, it asks (`QUESTION`), and waits a moment. Two answer. The interpreter
writes where its main thread stands, from the signal handler itself, so even from a call that never comes back to
Python. Then, if Python code runs at all, the process names the requests it serves, sends the records that it still
holds, and waits to be killed: what it did after that would be in no log. A process that was stopped (SIGSTOP) is
continued to be asked. Nothing of it costs anything while all is well.

Rule 1: a question that the supervisor did not put on the board is a signal that went astray, and is not answered.
Rule 2: the answer is kept in memory that the supervisor shares, so it is there after the end.
"""

import faulthandler
import fcntl
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Final, TypeAlias

from meshd.core.exchange import Exchange
from meshd.process.board import Row

QUESTION: Final = signal.SIGUSR2
GRACE: Final = 0.5  # seconds to answer
SIZE: Final = 8192  # bytes of an answer that are shown
FRAMES: Final = 12  # of the stack
OTHERS: Final = 5  # requests under way that are named beside the one it was serving
PATH: Final = 200  # characters

LastWords: TypeAlias = Callable[[FrameType | None], Iterable[str]]


class Stall:
    """One place in a fleet: the question to whoever has it, and the answer."""

    __slots__ = ("_file", "asked")

    def __init__(self) -> None:
        self._file = os.memfd_create("meshd-stall")
        fcntl.fcntl(self._file, fcntl.F_SETFL, os.O_APPEND)
        self.asked = 0.0  # when, monotonic; 0 for not

    def begin(self) -> None:
        """Another process has the place."""
        self.asked = 0.0
        os.ftruncate(self._file, 0)

    def descriptors(self) -> list[int]:
        """What a child must keep."""
        return [self._file]

    def listen(self, row: Row, last_words: LastWords) -> None:
        """In the child: answer from now on. `last_words` gets the frame that was interrupted."""

        def answer(_number: int, frame: FrameType | None) -> None:
            if not row.is_asked:
                return
            try:
                for line in last_words(frame):
                    os.write(self._file, f"{line}\n".encode("utf-8", "backslashreplace"))
            except Exception as error:  # noqa: BLE001  # it is about to be killed; what there is has been said
                os.write(self._file, f"could not say more: {error!r}\n".encode("utf-8", "backslashreplace"))
            row.answered()
            while True:
                signal.pause()

        signal.signal(QUESTION, answer)
        faulthandler.register(QUESTION, self._file, all_threads=False, chain=True)

    def text(self) -> str:
        """What it said, for the log: where it stands, and what it was serving."""
        said = os.pread(self._file, SIZE, 0).decode("utf-8", "replace").splitlines()
        stack = [line.strip() for line in said if line.startswith("  File ")]
        words = [
            line for line in said if line and not line.startswith(("  File ", "Stack (", "Current thread", "  ..."))
        ]
        where = [f"it stands at {stack[0]}", *(f"  called from {line}" for line in stack[1:FRAMES])] if stack else []
        return "\n".join([*words, *where])

    def close(self) -> None:
        """Give the memory back."""
        os.close(self._file)

    def __repr__(self) -> str:
        return f"<Stall{' asked' if self.asked else ''}>"


def serving_in(frame: FrameType | None) -> Exchange | None:
    """The exchange that the interrupted code was serving, if its stack shows one."""
    while frame is not None:
        for found in frame.f_locals.values():
            if isinstance(found, Exchange):
                return found
        frame = frame.f_back
    return None


def described(under_way: list[Exchange], serving: Exchange | None, now: float) -> Iterator[str]:
    """Lines for people: the request that it was serving, and those that wait beside it, the latest first."""
    if serving is not None:
        yield f"serving {_request(serving, now)}"
    others = sorted((each for each in under_way if each is not serving), key=lambda each: -each.started)
    for exchange in others[:OTHERS]:
        yield f"under way: {_request(exchange, now)}"
    if len(others) > OTHERS:
        yield f"and {len(others) - OTHERS} more under way"


def _request(exchange: Exchange, now: float) -> str:
    """Method, path, authority, peer and age. Never the query, which may hold secrets."""
    head, peer = exchange.head, exchange.peer
    method, path, host = (text.decode("utf-8", "backslashreplace") for text in (head.method, head.path, head.authority))
    who = f"{peer.address}:{peer.port}" + (f" ({peer.spiffe_id})" if peer.principal else "")
    return f"{method} {path[:PATH]} of {host or '-'} from {who}, for {now - exchange.started:.1f} s"
