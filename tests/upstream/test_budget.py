"""The budget keeps its law whatever the schedule, and is exactly what a list of all events would say."""

from hypothesis import given
from hypothesis import strategies as st

from meshd.upstream.budget import SLOTS, Budget
from meshd.upstream.ledger import Ledger, octets

# Times in eighths of a slot, so that the arithmetic of the test is exact.
EVENTS = st.lists(st.tuples(st.integers(0, 40) | st.integers(0, 400), st.sampled_from("qrrr"), st.integers(1, 8)))
SHARES = st.sampled_from([0.0, 0.125, 0.25, 0.5, 1.0])


class EveryEvent:
    """A naive budget: remembers everything, counts whole slots."""

    def __init__(self, share, floor, slot):
        self.share, self.floor, self.slot = share, floor, slot
        self.requests, self.retries = [], []

    def number(self, at):
        return int(at / self.slot)

    def deposit(self, now):
        self.requests.append(now)

    def withdraw(self, now):
        requests = sum(self.number(at) > self.number(now) - SLOTS for at in self.requests)
        retries = sum(self.number(at) > self.number(now) - SLOTS - 1 for at in self.retries)
        if retries + 1 > max(self.floor, self.share * requests):
            return False
        self.retries.append(now)
        return True


@given(EVENTS, SHARES, st.integers(0, 5), st.sampled_from([2.5, 10.0, 20.0]))
def test_the_law_and_the_naive_reference(events, share, floor, window):
    budget = Budget(share, floor / window, window)
    naive = EveryEvent(share, floor, window / SLOTS)
    now = 1000.0
    for steps, kind, times in events:
        now += steps * window / SLOTS / 8
        for _ in range(times):
            if kind == "q":
                budget.deposit(now)
                naive.deposit(now)
                continue
            granted = budget.withdraw(now)
            assert granted == naive.withdraw(now)
            if granted:  # the law: in the window that ends now, wherever that begins within a slot
                retries = sum(at >= now - window for at in naive.retries)
                requests = sum(at >= now - window for at in naive.requests)
                assert retries <= max(floor, share * requests)


@given(st.lists(st.tuples(st.floats(0, 30), st.booleans())), st.floats(0.1, 100), st.floats(0.01, 1.0))
def test_any_clock_and_window_keep_the_counts_whole(events, window, share):
    budget = Budget(share, 2 / window, window)
    now = 0.0
    for pause, is_request in events:
        now += pause
        if is_request:
            budget.deposit(now)
        else:
            budget.withdraw(now)
        assert min(budget._mine) >= 0
        assert budget.counts() == (sum(budget._mine[1 : 1 + SLOTS]), sum(budget._mine[1 + SLOTS :]))
    budget.withdraw(now + 3 * window)
    assert budget.total_requests == 0
    assert budget.total_retries <= 1


def test_everything_failing_costs_a_fifth_more_and_no_storm():
    budget = Budget()
    granted = 0
    for number in range(30_000):  # 500 requests a second for a minute, each of which would like three retries
        now = number / 500
        budget.deposit(now)
        granted += sum(budget.withdraw(now) for _ in range(3))
    assert 0.15 * 30_000 < granted <= 0.2 * 30_000


def test_a_quiet_service_may_retry_ten_a_second():
    budget = Budget()
    assert sum(budget.withdraw(5.0) for _ in range(200)) == 100
    assert budget.statistics().refused == 100
    assert not budget.withdraw(15.9)
    assert budget.withdraw(16.0)


def test_the_floor_is_not_added_to_the_share():
    budget = Budget()
    for _ in range(600):
        budget.deposit(1.0)
    assert sum(budget.withdraw(1.0) for _ in range(700)) == 120


def test_requests_do_not_count_for_ever():
    budget = Budget(share=0.5, per_second=0.0)
    for _ in range(10):
        budget.deposit(0.5)
    assert budget.withdraw(9.9)
    assert not budget.withdraw(10.0)


def test_a_zero_budget_grants_nothing():
    budget = Budget(share=0.0, per_second=0.0)
    budget.deposit(0.0)
    assert not budget.withdraw(0.0)


def test_a_bound_of_retries_under_way():
    budget = Budget(max_active=2)
    budget.active = 1
    assert budget.withdraw(0.0)
    budget.active = 2
    assert not budget.withdraw(0.0)
    assert budget.statistics().refused == 1


def test_what_it_tells():
    budget = Budget()
    budget.deposit(0.0)
    assert budget.withdraw(0.0)
    told = budget.statistics()
    assert (told.requests, told.retries, told.left, told.refused) == (1, 1, 99.0, 0)
    assert repr(budget) == "<Budget 1 retries of 1 requests>"


# -- several workers ---------------------------------------------------------------------------------------------------

WORKERS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 40) | st.integers(0, 400), st.sampled_from("qrrr"), st.integers(1, 8))
)


@given(WORKERS, SHARES, st.integers(0, 5), st.sampled_from([2.5, 10.0]))
def test_the_law_holds_for_all_workers_together(events, share, floor, window):
    """They are exactly as one would be, whichever of them is asked."""
    table = Ledger(bytearray(octets(4, 1)), 4, sets=1)
    budgets = [
        Budget(share, floor / window, window, account=table.of(number).account("shop", window)) for number in range(4)
    ]
    naive = EveryEvent(share, floor, window / SLOTS)
    now = 1000.0
    for worker, steps, kind, times in events:
        now += steps * window / SLOTS / 8
        for _ in range(times):
            if kind == "q":
                budgets[worker].deposit(now)
                naive.deposit(now)
            else:
                assert budgets[worker].withdraw(now) == naive.withdraw(now)


def test_the_floor_is_one_for_the_whole_sidecar():
    table = Ledger(bytearray(octets(4, 1)), 4, sets=1)
    budgets = [Budget(account=table.of(number).account("shop", 10.0)) for number in range(4)]
    assert sum(budget.withdraw(5.0) for _ in range(100) for budget in budgets) == 100
    assert {budget.total_retries for budget in budgets} == {100}


def test_what_a_worker_counted_stays_when_another_takes_its_place():
    table = Ledger(bytearray(octets(2, 1)), 2, sets=1)
    before = Budget(account=table.of(1).account("shop", 10.0))
    assert sum(before.withdraw(5.0) for _ in range(60)) == 60
    after = Budget(account=table.of(1).account("shop", 10.0))
    assert sum(after.withdraw(5.5) for _ in range(60)) == 40
    assert sum(after.withdraw(50.0) for _ in range(200)) == 100
