"""When files are read: never half-way through a write, never twice for one change."""

import trio

from meshd.process.watch import PATIENCE, POLL, SETTLE, Watch


class Files:
    """A stamp that a test can move."""

    def __init__(self):
        self.stamp = 0

    def __call__(self):
        return self.stamp


async def test_a_change_is_read_once_it_stood_still(autojump_clock):
    files = Files()
    watch = Watch(files, seen=0)
    with trio.move_on_after(10 * POLL):
        await watch.changed()
        raise AssertionError("nothing changed")
    files.stamp = 1
    began = trio.current_time()
    assert not await watch.changed()
    assert trio.current_time() - began <= POLL + SETTLE + 0.01
    assert not watch.is_stale()
    with trio.move_on_after(10 * POLL):
        await watch.changed()
        raise AssertionError("read twice")


async def test_a_file_that_is_still_being_written_is_not_read(autojump_clock):
    files = Files()
    watch = Watch(files, seen=0)

    async def write():
        for _ in range(10):
            files.stamp += 1
            await trio.sleep(SETTLE / 2)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await watch.changed()
        assert files.stamp == 10


async def test_files_that_never_stand_still_are_read_after_all(autojump_clock):
    moving = iter(range(1, 10_000))
    watch = Watch(lambda: next(moving), seen=0)
    with trio.fail_after(POLL + PATIENCE + SETTLE + 1):
        await watch.changed()
    assert watch.is_stale()


async def test_asking_reads_at_once_though_nothing_changed(autojump_clock):
    watch = Watch(Files(), seen=0)
    watch.ask()
    began = trio.current_time()
    assert await watch.changed()
    assert trio.current_time() - began <= SETTLE + 0.01
    with trio.move_on_after(10 * POLL):
        await watch.changed()
        raise AssertionError("asked once, read twice")
