"""A trio run that tests of state machines drive from outside, because hypothesis knows no coroutines."""

import threading

import trio
import trio.testing

from meshd.net import wait


class World:
    """A trio run in a thread: `do` runs a function there and returns when every task waits."""

    def __init__(self):
        self.clock = trio.testing.MockClock()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,), kwargs={"clock": self.clock})
        self._thread.start()
        assert self._ready.wait(10)

    async def _main(self):
        self._token = trio.lowlevel.current_trio_token()
        self._over = trio.Event()
        await wait.background.run(self._serve)

    async def _serve(self):
        self.nursery = wait.background.nursery
        self._ready.set()
        await self._over.wait()

    def do(self, fn, *args):
        return trio.from_thread.run(self._step, fn, args, trio_token=self._token)

    async def _step(self, fn, args):
        try:
            return fn(*args)
        finally:
            await trio.testing.wait_all_tasks_blocked()

    def end(self):
        trio.from_thread.run_sync(self._over.set, trio_token=self._token)
        self._thread.join(10)
        assert not self._thread.is_alive()
