"""The reactor against real descriptors: nothing lost, nothing spins, nobody takes others down."""

import select
import socket
from itertools import pairwise

import pytest
import trio

from meshd.net import wait
from meshd.net.reactor import Reactor


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
    yield ours, theirs
    for sock in (ours, theirs):
        sock.close()


async def serving(body, reactor=None):
    """Run `body` while a reactor runs; returns the reactor."""
    reactor = reactor or Reactor()
    await wait.background.run(body, reactor)
    return reactor


async def read(sock):
    while True:
        await wait.readable(sock.fileno())
        try:
            return sock.recv(100)
        except BlockingIOError:
            continue


async def test_a_coroutine_waits_for_bytes_again_and_again(pair):
    ours, theirs = pair
    seen, done = [], wait.Event()

    async def echo():
        while data := await read(ours):
            seen.append(data)
            ours.send(data.upper())
        done.set()

    async def body():
        wait.spawn(echo)
        for word in (b"one", b"two", b"three"):
            theirs.send(word)
            await trio.lowlevel.wait_readable(theirs)
            assert theirs.recv(100) == word.upper()
        theirs.shutdown(socket.SHUT_WR)
        await done.wait()

    reactor = await serving(body)
    assert seen == [b"one", b"two", b"three"]
    assert not reactor.tasks


async def test_bytes_left_unread_are_told_of_again(pair):
    ours, theirs = pair
    pieces, done = [], wait.Event()

    async def slow():
        while len(pieces) < 3:
            await wait.readable(ours.fileno())
            pieces.append(ours.recv(1))
        done.set()

    async def body():
        wait.spawn(slow)
        theirs.send(b"abc")
        await done.wait()

    await serving(body)
    assert pieces == [b"a", b"b", b"c"]


async def test_a_descriptor_nobody_waits_for_leaves_the_epoll(pair):
    ours, theirs = pair
    done = wait.Event()
    reactor = Reactor()

    async def once():
        await read(ours)
        done.set()

    async def body():
        wait.spawn(once)
        theirs.send(b"x")
        await done.wait()
        assert ours.fileno() in reactor.armed
        theirs.send(b"y")  # an event without a reader
        with trio.fail_after(5):
            while ours.fileno() in reactor.armed:
                await trio.lowlevel.checkpoint()
        again = wait.Event()

        async def later():
            assert await read(ours) == b"y"
            again.set()

        wait.spawn(later)
        await again.wait()

    await serving(body, reactor)


async def test_a_full_kernel_is_waited_for_and_the_other_direction_goes_on(pair):
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sent, heard, done = [], [], wait.Event()

    async def write():
        rest = memoryview(bytes(1_000_000))
        while rest:
            try:
                rest = rest[ours.send(rest) :]
            except BlockingIOError:
                await wait.writable(ours.fileno())
        sent.append(True)
        done.set()

    async def hear():
        heard.append(await read(ours))

    async def body():
        wait.spawn(write)
        wait.spawn(hear)
        theirs.send(b"hello")
        received = 0
        while received < 1_000_000:
            await trio.lowlevel.wait_readable(theirs)
            received += len(theirs.recv(65536))
        await done.wait()

    await serving(body)
    assert sent
    assert heard == [b"hello"]


async def test_unread_bytes_do_not_spin_while_a_writer_waits(pair):
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    reactor, done = Reactor(), wait.Event()

    async def stall():
        await read(ours)  # armed for reading from now on
        while True:
            try:
                ours.send(bytes(65536))
            except BlockingIOError:
                break
        done.set()
        await wait.writable(ours.fileno())

    async def body():
        wait.spawn(stall)
        theirs.send(b"x")
        await done.wait()
        theirs.send(b"unread")
        with trio.fail_after(5):
            while reactor.armed.get(ours.fileno()) != select.EPOLLOUT:
                await trio.lowlevel.checkpoint()

    await serving(body, reactor)


async def test_closing_wakes_both_sides_and_a_new_socket_of_the_same_number_starts_afresh(pair):
    ours, _theirs = pair
    ended = []

    async def watch(what):
        try:
            await what(ours.fileno())
        except wait.Closed:
            ended.append(what)

    async def fill_then_watch():
        while True:
            try:
                ours.send(bytes(65536))
            except BlockingIOError:
                break
        await watch(wait.writable)

    async def body():
        wait.spawn(watch, wait.readable)
        wait.spawn(fill_then_watch)
        await trio.testing.wait_all_tasks_blocked()
        wait.close(ours)
        with trio.fail_after(5):
            while len(ended) < 2:
                await trio.lowlevel.checkpoint()

    reactor = await serving(body)
    assert not reactor.tasks


async def test_a_number_that_was_closed_behind_our_back_is_watched_anew():
    reactor, seen = Reactor(), wait.Event()

    async def body():
        first, other = socket.socketpair()
        first.setblocking(False)

        async def wait_once():
            await read(first)

        wait.spawn(wait_once)
        other.send(b"x")
        with trio.fail_after(5):
            while reactor.tasks:
                await trio.lowlevel.checkpoint()
        number = first.fileno()
        first.close()  # without a word to the reactor
        reused, far = socket.socketpair()
        assert reused.fileno() == number, "the kernel gives the lowest number that is free"
        reused.setblocking(False)
        wait.opened(reused)

        async def hear():
            assert await read(reused) == b"new"
            seen.set()

        wait.spawn(hear)
        far.send(b"new")
        with trio.fail_after(5):
            await seen.wait()
        for sock in (other, far, reused):
            wait.close(sock)

    await serving(body, reactor)


async def test_a_crash_is_counted_and_takes_nobody_along(pair, caplog):
    ours, theirs = pair
    done = wait.Event()

    async def crash():
        raise ZeroDivisionError("a bug")

    async def survive():
        await read(ours)
        done.set()

    async def body():
        wait.spawn(survive)
        wait.spawn(crash)
        theirs.send(b"x")
        await done.wait()
        assert wait.background.crashes == 1

    reactor = await serving(body)
    assert reactor.crashes == 1
    assert "a bug" in caplog.text


async def test_what_only_trio_can_wait_for_is_waited_for_there(autojump_clock):
    found, done = [], wait.Event()

    async def ask():
        await wait.sleep_until(wait.now() + 30)
        found.append(await wait.on_trio(answer))
        try:
            await wait.on_trio(refuse)
        except LookupError as error:
            found.append(error)
        done.set()

    async def answer():
        await trio.lowlevel.checkpoint()
        return 42

    async def refuse():
        raise LookupError("no such name")

    async def body():
        wait.spawn(ask)
        await done.wait()

    await serving(body)
    assert found[0] == 42
    assert isinstance(found[1], LookupError)


async def test_the_end_closes_what_still_waits(pair):
    ours, _ = pair
    ended = []

    async def forever():
        try:
            await read(ours)
        finally:
            ended.append(True)

    async def body():
        wait.spawn(forever)
        await trio.testing.wait_all_tasks_blocked()

    await serving(body)
    assert ended == [True]


async def test_an_event_wakes_coroutines_and_trio_tasks_alike():
    event, woken = wait.Event(), []

    async def wait_for_it(name):
        await event.wait()
        woken.append(name)

    async def body():
        wait.spawn(wait_for_it, "coroutine")
        wait.start(wait_for_it, "task")
        await trio.testing.wait_all_tasks_blocked()
        event.set()
        with trio.fail_after(5):
            while len(woken) < 2:
                await trio.lowlevel.checkpoint()
        await event.wait()

    await serving(body)
    assert sorted(woken) == ["coroutine", "task"]


async def test_a_data_path_that_was_cancelled_leaves_its_reactor_to_nobody():
    """Whatever ran in the process afterwards waited for a reactor that stepped nothing."""
    with trio.move_on_after(0.01):
        await serving(trio.sleep_forever)
    event = wait.Event()

    async def ring():
        event.set()

    async def body():
        wait.spawn(ring)
        with trio.fail_after(5):
            await event.wait()

    await wait.background.run(body)
    assert wait.now is trio.current_time


async def test_what_takes_long_goes_one_at_a_time_between_the_others():
    order = []

    async def long(number):
        await wait.turn()
        order.append(f"long {number}")

    async def short(number):
        order.append(f"short {number}")
        if number:
            wait.spawn(short, number - 1)
        else:
            done.set()

    done = wait.Event()

    async def body():
        for number in range(3):
            wait.spawn(long, number)
        wait.spawn(short, 5)
        await done.wait()
        while len(order) < 9:
            await trio.lowlevel.checkpoint()

    with trio.fail_after(30):
        await wait.background.run(body, Reactor())
    assert [each for each in order if each.startswith("long")] == ["long 0", "long 1", "long 2"]
    gaps = [second - first for first, second in pairwise([order.index(f"long {each}") for each in range(3)])]
    assert all(gap > 1 for gap in gaps)  # a short one between two long ones


async def test_a_turn_outside_a_reactor_is_a_checkpoint():
    await wait.turn()
