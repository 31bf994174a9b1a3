"""The retry budget: retries are a share of the recent requests, or a few a second, so that they never become a storm.

The window form, on which linkerd2 and Gateway API's XBackendTrafficPolicy agree: 20 % of the requests of the last ten
seconds, and ten a second whatever there is of requests. The second is a floor and not added to the share: with both, an
endpoint that fails everything at 500 requests a second would see 1.22 times the load instead of 1.2.
Rule 1: the window is a ring of slots, forgotten a slot at a time, and errs on the side of fewer retries: a retry is
remembered for the window and up to one slot more, a request for the window and up to one slot less. So whenever a retry
is granted, over the stretch as long as the window that ends with it, retries <= max(floor, share x requests).
Rule 2: it holds for the sidecar, and not for each of its workers: what the others count is in the account too
(`ledger.py`). Two that take the last retry at the same moment may both have it.
"""

from dataclasses import dataclass

from meshd.upstream.ledger import SLOTS, Account, private

FIRST_RETRY = 1 + SLOTS  # in a column


@dataclass(frozen=True, slots=True)
class BudgetStatistics:
    """What the window holds, of all workers; `active` and `refused` are this one's."""

    requests: int
    retries: int
    left: float
    active: int
    refused: int


class Budget:
    """Counts of one window. O(1) a request; time is an argument (monotonic seconds, the same for all workers)."""

    __slots__ = ("_account", "_length", "_mine", "active", "floor", "max_active", "refused", "share")

    def __init__(
        self,
        share: float = 0.2,
        per_second: float = 10.0,
        window: float = 10.0,
        *,
        max_active: int | None = None,
        account: Account | None = None,
    ) -> None:
        self.share = share
        self.floor = per_second * window
        self.max_active = max_active  # retries under way at once; None for no limit
        self.active = 0  # kept by the cluster
        self.refused = 0
        self._length = window / SLOTS
        self._account = account or private()
        self._mine = self._account.mine

    def deposit(self, now: float) -> None:
        """A request began."""
        mine = self._mine
        if now >= (mine[0] + 1) * self._length:
            self._turn(now)
        mine[1 + mine[0] % SLOTS] += 1

    def withdraw(self, now: float) -> bool:
        """Whether one more retry fits; if so it is counted."""
        mine = self._mine
        if now >= (mine[0] + 1) * self._length:
            self._turn(now)
        full = self.max_active is not None and self.active >= self.max_active
        requests, retries = self.counts()
        if full or retries + 1 > max(self.floor, self.share * requests):
            self.refused += 1
            return False
        mine[FIRST_RETRY + mine[0] % (SLOTS + 1)] += 1
        return True

    def counts(self) -> tuple[int, int]:
        """Requests and retries of all workers in the window, as of the last call."""
        now = self._mine[0]
        requests = retries = 0
        for column in (self._mine, *self._account.others):
            at = column[0]  # a worker that had nothing to count is still at an earlier slot
            begin = max(at, now) - SLOTS
            retries += sum([column[FIRST_RETRY + slot % (SLOTS + 1)] for slot in range(begin, at + 1)])
            requests += sum([column[1 + slot % SLOTS] for slot in range(begin + 1, at + 1)])
        return requests, retries

    @property
    def total_requests(self) -> int:
        """Of all workers in the window, as of the last call."""
        return self.counts()[0]

    @property
    def total_retries(self) -> int:
        """The same."""
        return self.counts()[1]

    def _turn(self, now: float) -> None:
        """Forget the slots that left the window."""
        mine = self._mine
        at = max(int(now / self._length), mine[0])  # the division may round to just below the slot we know to be over
        for slot in range(max(mine[0] + 1, at - SLOTS), at + 1):
            mine[1 + slot % SLOTS] = 0
            mine[FIRST_RETRY + slot % (SLOTS + 1)] = 0
        mine[0] = at

    def statistics(self) -> BudgetStatistics:
        """As of the last call."""
        requests, retries = self.counts()
        left = max(self.floor, self.share * requests) - retries
        return BudgetStatistics(requests, retries, left, self.active, self.refused)

    def __repr__(self) -> str:
        requests, retries = self.counts()
        return f"<Budget {retries} retries of {requests} requests>"
