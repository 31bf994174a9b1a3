"""Several addresses of one name: whichever answers first, and a reason for each when none does."""

import errno

import pytest
from support.background import in_background
from support.listening import close, full, listening

from meshd.net import wait
from meshd.net.race import STAGGER, NobodyAnswered, Race, reason_of
from meshd.net.sweep import SocketDeadline, Sweeper


async def race(addresses, port, seconds=20.0):
    """Who won, who did not, how long it took; or the error."""
    found = []

    async def run():
        sweeper = Sweeper()
        wait.start(sweeper.run)
        limit = SocketDeadline(wait.now() + seconds)
        sweeper.add(limit)
        began = wait.now()
        course = Race(addresses, port, limit)
        try:
            sock, losers = await course.run()
        except NobodyAnswered as error:
            found.append(error)
            return
        assert sock.getpeername()[0] == course.winner
        wait.close(sock)
        found.append((course.winner, losers, wait.now() - began))

    await in_background(run)
    return found[0]


async def test_the_first_wins_where_it_answers():
    with listening() as listener:
        port = listener.getsockname()[1]
        with listening("127.0.0.2", port):
            winner, losers, _ = await race(["127.0.0.2", "127.0.0.1"], port)
    assert (winner, losers) == ("127.0.0.2", [])


async def test_one_that_refuses_costs_nothing():
    with listening() as listener:
        winner, losers, seconds = await race(["127.0.0.2", "::1", "127.0.0.1"], listener.getsockname()[1])
    assert (winner, set(losers)) == ("127.0.0.1", {"127.0.0.2", "::1"})
    assert seconds < STAGGER


async def test_one_that_says_nothing_costs_a_stagger():
    with listening() as listener:
        port = listener.getsockname()[1]
        silent = full("127.0.0.3", port)
        winner, losers, seconds = await race(["127.0.0.3", "127.0.0.1"], port)
        close(silent)
    assert (winner, losers) == ("127.0.0.1", ["127.0.0.3"])
    assert seconds >= STAGGER


async def test_when_nobody_answers_each_is_told_with_its_reason():
    with listening() as listener:
        port = listener.getsockname()[1]
    silent = full("127.0.0.3", port)
    error = await race(["127.0.0.2", "127.0.0.3"], port, seconds=0.2)
    close(silent)
    assert isinstance(error, NobodyAnswered)
    assert error.strerror == "127.0.0.2 refused, 127.0.0.3 timed out"
    assert error.errno == errno.ETIMEDOUT


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ECONNREFUSED, "refused"),
        (errno.EHOSTUNREACH, "host unreachable"),
        (errno.EMFILE, "EMFILE"),
        (None, "odd"),
    ],
)
def test_reasons(number, words):
    assert reason_of(OSError(number, "odd") if number else OSError("odd")) == words
