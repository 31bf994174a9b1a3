"""What a server owes to what it has replaced; that it serves at all is shown end to end."""

import gc
from random import Random

import pytest
import trio
from support.connections import FakeDialler
from support.endpoints import make_endpoints
from support.work import work_of

from meshd.core.cells import Cells
from meshd.core.errors import UpstreamError
from meshd.net.dial import Dialler
from meshd.net.sweep import Sweeper
from meshd.proxy.server import Server
from meshd.snapshot import Snapshot
from meshd.telemetry.records import Recorder
from meshd.telemetry.tracing import Sampler
from meshd.upstream.cluster import Cluster, ClusterSettings
from meshd.upstream.pool import PoolSettings

NEVER = float("inf")
DIALLER = Dialler(Sweeper(), None)


def snapshot_of(*clusters):
    return Snapshot(1, {}, {cluster.name: cluster for cluster in clusters}, {}, None, DIALLER)


def cluster_of_one_connection():
    (endpoint,) = make_endpoints(1)
    settings = ClusterSettings(pool=PoolSettings(warm=0, max_connections=1))

    async def connect(endpoint, *, http2=False):
        return await dialler(endpoint)

    dialler = FakeDialler()
    return Cluster("shop/web:80", (endpoint,), connect, settings, Random(1)), endpoint


async def test_who_waits_at_a_cluster_that_a_reload_replaced_waits_no_longer_than_he_may(autojump_clock):
    cluster, endpoint = cluster_of_one_connection()
    server = Server(snapshot_of(cluster), {}, Recorder(Cells(), lambda _: True, 0.0, keep_all=False), Sampler(0.0))
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, server)
        pool = cluster.pool(endpoint)
        leased = await pool.acquire(trio.current_time(), NEVER)
        server.swap(snapshot_of())
        with trio.fail_after(2.0), pytest.raises(UpstreamError, match="came free in time"):
            await pool.acquire(trio.current_time(), trio.current_time() + 1.0)
        pool.release(leased, trio.current_time(), reusable=True)
        assert leased.closed
        await server.drain(trio.current_time())


def test_a_cluster_that_a_reload_replaced_and_nobody_uses_is_forgotten():
    """Without the garbage collector, which does not look at the clusters of a large mesh."""
    gc.disable()
    try:
        replaced, endpoint = cluster_of_one_connection()
        replaced.pool(endpoint)
        server = Server(snapshot_of(replaced), {}, Recorder(Cells(), lambda _: True, 0.0, keep_all=False), Sampler(0.0))
        kept = cluster_of_one_connection()[0]
        server.swap(snapshot_of(kept))
        del replaced
        assert list(server._clusters) == [kept]
    finally:
        gc.enable()


@pytest.mark.slow
def test_a_swap_serves_at_its_first_step_and_has_no_long_one():
    """Counted in lines: a step is about one cluster, however many there are."""
    first = [cluster_of_one_connection()[0] for _ in range(40)]
    for number, cluster in enumerate(first):
        cluster.name = f"shop/w{number}:80"
    server = Server(snapshot_of(*first), {}, Recorder(Cells(), lambda _: True, 0.0, keep_all=False), Sampler(0.0))
    last = snapshot_of(cluster_of_one_connection()[0])
    steps = server.swapping(last)
    next(steps)
    assert server.snapshot is last
    work = []
    while True:
        try:
            work.append(work_of(lambda: next(steps))[1])
        except StopIteration:
            break
    assert len(work) > 40
    assert max(work) < 100


async def serve(server, task_status):
    await server.run(ready=task_status.started)
