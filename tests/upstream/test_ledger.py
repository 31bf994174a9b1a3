"""Rows that workers find by name, and never more of them than there are."""

import mmap
import os

from hypothesis import given
from hypothesis import strategies as st

from meshd.upstream.ledger import COLUMN, WAYS, Ledger, octets, private


def tables(workers=3, sets=1):
    memory = bytearray(octets(workers, sets))
    return [Ledger(memory, workers, sets=sets, worker=number) for number in range(workers)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([1.0, 10.0]), st.integers(0, 2))))
def test_each_writes_its_own_column_and_reads_those_of_the_others(writes):
    workers, counted = tables(), {}
    for name, window, worker in writes:
        workers[worker].account(name, window).mine[0] += 1
        counted[name, window, worker] = counted.get((name, window, worker), 0) + 1
    for name in "abc":
        for window in (1.0, 10.0):
            for worker, table in enumerate(workers):
                account = table.account(name, window)
                rest = [counted.get((name, window, other), 0) for other in range(3) if other != worker]
                assert account.mine[0] == counted.get((name, window, worker), 0)
                assert [column[0] for column in account.others] == rest


def test_who_finds_no_place_counts_alone():
    first, second, _ = tables()
    for number in range(WAYS):
        first.account(f"service-{number}", 10.0).mine[0] = 7
    late = first.account("late", 10.0)
    late.mine[0] = 9
    assert late.others == ()
    assert second.account("late", 10.0).mine[0] == 0
    assert all(second.account(f"service-{number}", 10.0).others[0][0] == 7 for number in range(WAYS))
    assert repr(first) == f"<Ledger {WAYS} of {WAYS}>"


def test_it_lies_in_memory_that_processes_share():
    table = Ledger(mmap.mmap(-1, octets(2)), 2)
    account = table.of(0).account("shop", 10.0)
    child = os.fork()
    if not child:
        table.of(1).account("shop", 10.0).mine[3] = 5
        os._exit(0)
    os.waitpid(child, 0)
    assert [column[3] for column in account.others] == [5]


def test_counts_of_ones_own_have_no_others():
    account = private()
    assert (len(account.mine), account.others, set(account.mine)) == (COLUMN, (), {0})
