"""The shared page: what one process writes, another reads."""

import os
import select

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.process.board import UNRESPONSIVE, Board, Phase


@pytest.fixture
def board():
    board = Board(workers=2)
    yield board
    board.close()


def make_ready(board, now=100.0):
    for row in board.workers:
        row.begin(now, 0)
        row.show(Phase.READY, 1)


def test_a_child_writes_and_the_parent_reads(board):
    row = board.workers[1]
    row.begin(5.0, restarts=3)
    pid = os.fork()
    if pid == 0:
        row.show(Phase.READY, os.getpid())
        row.beat(6.5, 42)
        os._exit(0)
    os.waitpid(pid, 0)
    status = row.status()
    assert (status.pid, status.phase, status.generation) == (pid, Phase.READY, 42)
    assert (status.heartbeat, status.started, status.restarts) == (6.5, 5.0, 3)
    assert board.workers[0].status().phase is Phase.ABSENT


def test_ready_means_every_worker_and_no_drain(board):
    make_ready(board)
    assert board.is_ready
    board.workers[0].show(Phase.DRAINING, 1)
    assert not board.is_ready
    make_ready(board)
    board.drain_deadline = 7.0
    assert not board.is_ready
    assert not board.is_serving(100.0)


def test_serving_means_one_worker_that_shows_life(board):
    make_ready(board, now=100.0)
    board.workers[0].end()
    assert board.is_serving(100.0 + UNRESPONSIVE / 2)
    assert not board.is_serving(100.0 + UNRESPONSIVE)
    board.workers[1].beat(110.0, 1)
    assert board.is_serving(110.0)


def test_the_bell_wakes_once_until_heard(board):
    def rings():
        return bool(select.select([board.bell], [], [], 0)[0])

    assert not rings()
    board.workers[0].show(Phase.READY, 1)
    board.controller.ring()
    assert rings()
    board.heard()
    board.heard()
    assert not rings()


@given(
    st.integers(1, 8).flatmap(
        lambda slots: st.tuples(
            st.just(slots), st.lists(st.tuples(st.integers(0, slots - 1), st.integers(0, 2**50)), max_size=20)
        )
    )
)
def test_rows_never_touch_each_other(case):
    slots, writes = case
    board, expected = Board(slots), [0] * slots
    for slot, generation in writes:
        board.workers[slot].beat(1.0, generation)
        expected[slot] = generation
    assert [row.status().generation for row in board.workers] == expected
    assert board.controller.status().generation == 0
    assert board.drain_deadline == 0
    board.close()


def test_a_fleet_that_is_replaced_says_so_to_its_workers(board):
    assert not board.is_replaced
    board.is_replaced = True
    assert board.is_replaced
    board.is_replaced = False
    assert not board.is_replaced
