"""Where the data path may spawn, outside a worker."""

import trio.testing

from meshd.net import wait

settled = trio.testing.wait_all_tasks_blocked


async def in_background(body, reactor=None):
    """Run `body` where the data path may spawn, on a reactor if one is given; nothing may have crashed there."""
    before = wait.background.crashes
    await wait.background.run(body, reactor)
    assert wait.background.crashes == before
    assert reactor is None or not reactor.crashes
