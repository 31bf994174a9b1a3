"""Two thousand streams at a time through a sidecar, each of which takes its time: every one ends well, and what each
costs is bounded. And that those who take for ever hold nobody up.
"""

import sys
from pathlib import Path

import pytest
import trio
from support import h2_dribble
from support.h2_crowd import Crowd, Habit
from support.h2_raw import H2RawClient
from support.http2 import OPENING, headers, settings
from support.processes import running, until
from support.worker_cost import WorkerCost

from meshd.http.h2_frames import PREFACE

CONNECTIONS, STREAMS = 20, 100
BODY = 5 * 100
# Octets of memory that a stream may cost. Two coroutines, the records of an exchange and the state of a stream on
# either side are 10 to 15 KiB; twice that and a half is a leak, or a buffer that nobody asked for. What its client does
# not read waits on either side, in the 64 KiB that the app was let send and as much again that is not yet taken.
QUIET, UNREAD = 32 * 1024, 128 * 1024
HABITS = {
    "its response dribbles": (Habit("/down/5/100/0.3"), QUIET, BODY),
    "its body dribbles": (Habit("/up", pieces=5, size=100, pause=0.3), QUIET, 2),
    "its client reads slowly": (Habit("/whole/65536", window=16384, sip=16384, pause=0.3), UNREAD, 65536),
}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The address of an app that takes its time."""
    folder = tmp_path_factory.mktemp("dribble")
    port = folder / "port"
    with running([sys.executable, str(Path(h2_dribble.__file__)), str(port)], folder / "log"):
        yield f"127.0.0.1:{until(lambda: port.exists() and port.read_text(), what='the app')}"


POLICY = """
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: patient, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: app-test}]
      connectTimeout: 10s
      timeout: 60s
      connections: {maxPending: 100000}
"""


@pytest.mark.parametrize("habit", HABITS)
async def test_two_thousand_streams(mesh, app, habit):
    does, most, octets = HABITS[habit]
    mesh.policy("patient", POLICY)
    mesh.entry("app.test", app, protocol="HTTP2")
    sidecar = mesh.run("out", outbound=[{"listen": "127.0.0.1:0"}], workers=1)
    cost = WorkerCost(sidecar)
    before = cost.own()
    crowd = Crowd(sidecar.address("outbound-0"), "app.test", does, CONNECTIONS, STREAMS, step=0.01)
    async with trio.open_nursery() as nursery:
        looks = []

        async def look():
            while True:
                await trio.sleep(0.1)
                looks.append(cost.own())

        nursery.start_soon(look)
        await crowd.run()
        nursery.cancel_scope.cancel()
    told = crowd.told
    assert not told.failed
    assert len(told.whole) == CONNECTIONS * STREAMS
    assert set(told.received.values()) == {octets}
    assert (max(looks) - before) * 1048576 / len(told.whole) < most


@pytest.mark.parametrize("stalled", [20, 99])
async def test_who_reads_nothing_holds_nobody_up_who_shares_the_connection(mesh, app, stalled):
    """Twenty downloads whose client opens no window took all of the window of the connection to the app, and whoever
    was put on the same connection waited for them.
    """
    mesh.policy("patient", POLICY)
    mesh.entry("app.test", app, protocol="HTTP2")
    sidecar = mesh.run("out", outbound=[{"listen": "127.0.0.1:0"}], workers=1)
    address = sidecar.address("outbound-0")
    with H2RawClient(address) as idle, H2RawClient(address) as client:
        ids = range(1, 2 * stalled, 2)
        idle.send(PREFACE + settings(window=0))
        idle.send(b"".join(headers(each, get("/whole/1000000"), end=True) for each in ids))
        assert idle.read_until(lambda: set(idle.answers()) == set(ids), 10)
        stuck = WorkerCost(sidecar)
        size = 0.0
        while (grown := stuck.own()) > size:  # until nothing more comes
            size = grown
            await trio.sleep(0.2)
        client.send(OPENING + headers(1, get("/whole/100"), end=True))
        assert client.read_until(lambda: client.is_over(1), 10)
        assert client.answers() == {1: (200, bytes(100), True)}


def get(path):
    return [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"app.test"), (b":path", path.encode())]
