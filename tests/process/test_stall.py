"""What a process that stands still says before it is killed."""

import os
import signal
import time
from pathlib import Path

import pytest
from support.exchanges import make_exchange
from support.processes import until

from meshd.core.peer import Peer
from meshd.process.board import ANSWERED, Board
from meshd.process.stall import OTHERS, QUESTION, Stall, described, serving_in


@pytest.fixture
def place():
    board, stall = Board(1), Stall()
    yield board.workers[0], stall
    stall.close()
    board.close()


def child_of(place, body, last_words=lambda _frame: ["serving GET /slow"]):
    """A process that answers, and then does `body`."""
    row, stall = place
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            stall.listen(row, last_words)
            body(lambda: os.write(told, b"x"))
        finally:
            os._exit(1)
    os.read(ready, 1)
    os.close(ready)
    os.close(told)
    if body is spin_here:  # well within its loop, and not still on the way out of the call that told us
        began = ticks(pid)
        until(lambda: ticks(pid) > began + 1, 60, "it spins")
    return pid


def ticks(pid):
    """The processor time that it has used."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


def ask(place, pid):
    row, stall = place
    row.ask()
    os.kill(pid, QUESTION)
    os.kill(pid, signal.SIGCONT)
    end = time.monotonic() + 60
    while row.status().question != ANSWERED and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return stall.text()


def spin_here(begun):
    begun()
    while True:
        pass


def test_it_says_what_it_serves_and_where_it_stands(place):
    said = ask(place, child_of(place, spin_here))
    assert said.startswith("serving GET /slow\nit stands at File ")
    assert "in spin_here" in said


def test_a_process_that_was_stopped_is_asked_too(place):
    pid = child_of(place, spin_here)
    os.kill(pid, signal.SIGSTOP)
    assert ask(place, pid).startswith("serving GET /slow\n")


def test_last_words_that_fail_are_no_obstacle(place):
    def fail(_frame):
        yield "serving GET /a"
        raise ValueError("broken")

    said = ask(place, child_of(place, spin_here, fail))
    assert said.startswith("serving GET /a\ncould not say more: ValueError('broken')\n")


def test_a_signal_that_went_astray_is_not_answered(place):
    row, stall = place
    pid = child_of(place, lambda begun: begun() and time.sleep(60))
    os.kill(pid, QUESTION)
    time.sleep(0.05)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    assert row.status().question == 0
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    stall.begin()
    assert stall.text() == ""


def test_the_stack_shows_the_exchange_that_is_served():
    exchange = make_exchange()

    def step(_exchange):
        import sys

        return serving_in(sys._getframe())

    assert step(exchange) is exchange
    assert serving_in(None) is None


def test_the_request_is_named_with_its_peer_and_without_its_query():
    exchanges = [make_exchange(path=b"/%d" % number, query=b"token=secret") for number in range(OTHERS + 3)]
    for number, exchange in enumerate(exchanges):
        exchange.started = float(number)
        exchange.peer = Peer("10.0.0.1", 4242, principal=b"cluster.local/ns/default/sa/web")
    first, *others = described(exchanges, exchanges[0], 20.0)
    assert first.startswith("serving GET /0 of ")
    assert first.endswith(" from 10.0.0.1:4242 (spiffe://cluster.local/ns/default/sa/web), for 20.0 s")
    assert others[0].startswith(f"under way: GET /{OTHERS + 2} of ")
    assert others[-1] == "and 2 more under way"
    assert not any("secret" in line for line in (first, *others))
