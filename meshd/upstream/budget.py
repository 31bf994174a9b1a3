"""The retry budget: retries are a share of the recent requests and a few more, so that they never become a storm.

The window form, on which linkerd2 and Gateway API's XBackendTrafficPolicy agree: 20 % of the requests of the last ten
seconds, plus ten a second.
"""

from dataclasses import dataclass

SLOTS = 10  # the window is forgotten a slot at a time


@dataclass(frozen=True, slots=True)
class BudgetStatistics:
    """What the window holds."""

    requests: int
    retries: int
    left: float


class Budget:
    """Counts of one window in a ring of slots. O(1) a call; time is an argument (monotonic seconds)."""

    __slots__ = ("_at", "_length", "_requests", "_retries", "minimum", "share", "total_requests", "total_retries")

    def __init__(self, share: float = 0.2, per_second: float = 10.0, window: float = 10.0) -> None:
        self.share = share
        self.minimum = per_second * window
        self._length = window / SLOTS
        self._requests = [0] * SLOTS
        self._retries = [0] * SLOTS
        self.total_requests = 0
        self.total_retries = 0
        self._at = 0  # number of the current slot since the epoch of the clock

    def deposit(self, now: float) -> None:
        """A request began."""
        self._turn(now)
        self._requests[self._at % SLOTS] += 1
        self.total_requests += 1

    def withdraw(self, now: float) -> bool:
        """Whether one more retry fits; if so it is counted."""
        self._turn(now)
        if self.total_retries + 1 > self.minimum + self.share * self.total_requests:
            return False
        self._retries[self._at % SLOTS] += 1
        self.total_retries += 1
        return True

    def _turn(self, now: float) -> None:
        """Forget the slots that left the window."""
        at = int(now / self._length)
        if at == self._at:
            return
        for slot in range(max(self._at + 1, at - SLOTS + 1), at + 1):
            place = slot % SLOTS
            self.total_requests -= self._requests[place]
            self.total_retries -= self._retries[place]
            self._requests[place] = self._retries[place] = 0
        self._at = max(at, self._at)

    def statistics(self) -> BudgetStatistics:
        """As of the last call."""
        left = self.minimum + self.share * self.total_requests - self.total_retries
        return BudgetStatistics(self.total_requests, self.total_retries, left)

    def __repr__(self) -> str:
        return f"<Budget {self.total_retries} retries of {self.total_requests} requests>"
