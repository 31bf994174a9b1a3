"""When a process that ended is started again. Pure: the caller says how long it lived."""

from typing import Final

SHORTEST: Final = 0.1  # seconds
LONGEST: Final = 5.0
STABLE: Final = 10.0  # a process that lived this long did not end because of how it was started


class Backoff:
    """At once after the first end; then 0.1 s, doubling up to 5 s, while it keeps ending before it was stable."""

    __slots__ = ("failures",)

    def __init__(self) -> None:
        self.failures = 0  # in a row

    def ended(self, lived: float) -> float:
        """Seconds to wait before the next start, after a process that lived `lived` seconds."""
        if lived >= STABLE:
            self.failures = 0
        self.failures += 1
        if self.failures == 1:
            return 0.0
        return float(min(SHORTEST * 2 ** min(self.failures - 2, 16), LONGEST))

    def __repr__(self) -> str:
        return f"<Backoff {self.failures} failures in a row>"
