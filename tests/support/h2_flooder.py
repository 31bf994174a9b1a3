"""A client that floods: it plays the steps of a case and, if it reads at all, hears what it is told meanwhile."""

import select
import time

from support.h2_raw import H2RawClient

PIECE = 65536


class Flooder(H2RawClient):
    """One connection; `reads` is whether it ever looks at what comes back."""

    def __init__(self, address: str, *, reads: bool) -> None:
        super().__init__(address)
        self.reads = reads
        self.stalled = False  # the peer took no more
        self.sock.setblocking(False)

    def play(self, steps, patience: float, pause: float) -> None:
        """All steps that come within `pause` seconds of waiting, as (kind, value); a peer that takes nothing for
        `patience` seconds ends it."""
        for kind, value in steps:
            if self.closed or self.stalled:
                return
            if kind == "wait":
                if pause <= 0:
                    return
                self.listen(min(value, pause))
                pause -= value
            else:
                self._write(memoryview(value), patience)

    def listen(self, seconds: float) -> None:
        """Hear what comes for so long, or until the end."""
        end = time.perf_counter() + seconds
        while not self.closed and (left := end - time.perf_counter()) > 0:
            if not self.reads:
                time.sleep(left)
            elif select.select([self.sock], [], [], left)[0]:
                self._read()

    def _write(self, data: memoryview, patience: float) -> None:
        while data and not self.closed:
            readable, writable, _ = select.select([self.sock] if self.reads else [], [self.sock], [], patience)
            if readable:
                self._read()
            elif not writable:
                self.stalled = True
                return
            if writable and not self.closed:
                try:
                    data = data[self.sock.send(data[:PIECE]) :]
                except BlockingIOError:
                    continue
                except OSError:
                    self._read_rest()

    def _read(self) -> None:
        try:
            data = self.sock.recv(4 * PIECE)
        except BlockingIOError:
            return
        except OSError:
            data, self.reset = b"", True
        self.received += data
        self.closed = not data

    def _read_rest(self) -> None:
        """What was said before the connection broke."""
        while not self.closed:
            self._read()
            if not self.closed and not select.select([self.sock], [], [], 1.0)[0]:
                self.closed = True
