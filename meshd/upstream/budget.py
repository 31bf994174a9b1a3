"""The retry budget: retries are a share of the recent requests, or a few a second, so that they never become a storm.

The window form, on which linkerd2 and Gateway API's XBackendTrafficPolicy agree: 20 % of the requests of the last ten
seconds, and ten a second whatever there is of requests. The second is a floor and not added to the share: with both, an
endpoint that fails everything at 500 requests a second would see 1.22 times the load instead of 1.2.
Rule 1: the window is a ring of slots, forgotten a slot at a time, and errs on the side of fewer retries: a retry is
remembered for the window and up to one slot more, a request for the window and up to one slot less. So whenever a retry
is granted, over the stretch as long as the window that ends with it, retries <= max(floor, share x requests).
"""

from dataclasses import dataclass
from typing import Final

SLOTS: Final = 10  # of the window; retries are kept for one more


@dataclass(frozen=True, slots=True)
class BudgetStatistics:
    """What the window holds."""

    requests: int
    retries: int
    left: float
    active: int
    refused: int


class Budget:
    """Counts of one window. O(1) a call; time is an argument (monotonic seconds)."""

    __slots__ = (
        "_at",
        "_length",
        "_requests",
        "_retries",
        "active",
        "floor",
        "max_active",
        "refused",
        "share",
        "total_requests",
        "total_retries",
    )

    def __init__(
        self,
        share: float = 0.2,
        per_second: float = 10.0,
        window: float = 10.0,
        *,
        max_active: int | None = None,
    ) -> None:
        self.share = share
        self.floor = per_second * window
        self.max_active = max_active  # retries under way at once; None for no limit
        self.active = 0  # kept by the cluster
        self.refused = 0
        self.total_requests = 0
        self.total_retries = 0
        self._length = window / SLOTS
        self._requests = [0] * SLOTS
        self._retries = [0] * (SLOTS + 1)
        self._at = 0  # number of the current slot since the epoch of the clock

    def deposit(self, now: float) -> None:
        """A request began."""
        if now >= (self._at + 1) * self._length:
            self._turn(now)
        self._requests[self._at % SLOTS] += 1
        self.total_requests += 1

    def withdraw(self, now: float) -> bool:
        """Whether one more retry fits; if so it is counted."""
        if now >= (self._at + 1) * self._length:
            self._turn(now)
        full = self.max_active is not None and self.active >= self.max_active
        if full or self.total_retries + 1 > max(self.floor, self.share * self.total_requests):
            self.refused += 1
            return False
        self._retries[self._at % (SLOTS + 1)] += 1
        self.total_retries += 1
        return True

    def _turn(self, now: float) -> None:
        """Forget the slots that left the window."""
        at = max(int(now / self._length), self._at)  # the division may round to just below the slot we know to be over
        for slot in range(max(self._at + 1, at - SLOTS), at + 1):
            place = slot % SLOTS
            self.total_requests -= self._requests[place]
            self._requests[place] = 0
            place = slot % (SLOTS + 1)
            self.total_retries -= self._retries[place]
            self._retries[place] = 0
        self._at = at

    def statistics(self) -> BudgetStatistics:
        """As of the last call."""
        left = max(self.floor, self.share * self.total_requests) - self.total_retries
        return BudgetStatistics(self.total_requests, self.total_retries, left, self.active, self.refused)

    def __repr__(self) -> str:
        return f"<Budget {self.total_retries} retries of {self.total_requests} requests>"
