"""Load from wrk: many connections that never think, and a count of everything that was not a good answer."""

import re
import subprocess
from dataclasses import dataclass
from typing import Self

from support.processes import program

ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")


@dataclass(frozen=True)
class Tally:
    """What came of one run."""

    requests: int
    not_2xx: int  # or 3xx, as wrk counts
    connect: int
    read: int
    write: int
    timeout: int

    @property
    def errors(self) -> int:
        """Everything that went wrong."""
        return self.not_2xx + self.connect + self.read + self.write + self.timeout


class Wrk:
    """`with Wrk(address, host="a.test") as wrk: ...` loads while the block runs; `wrk.tally()` waits for the end."""

    def __init__(self, address: str, path: str = "/", *, host: str, connections: int = 32, seconds: int = 2) -> None:
        shape = ["-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "20s"]
        argv = [program("wrk"), *shape, "-H", f"Host: {host}", f"http://{address}{path}"]
        self._limit = seconds + 30
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def tally(self) -> Tally:
        """The count, at the end of the run."""
        out, _ = self._process.communicate(timeout=self._limit)
        assert self._process.returncode == 0, out
        requests = re.search(r"(\d+) requests in", out)
        assert requests, out
        broken = ERRORS.search(out)
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
        numbers = map(int, broken.groups()) if broken else (0, 0, 0, 0)
        return Tally(int(requests[1]), int(refused[1]) if refused else 0, *numbers)
