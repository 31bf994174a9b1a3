"""What slow streams cost: ten thousand at a time on a hundred connections, through one sidecar and through a pair.

    python tests/bench/bench_streams.py [--connections 100] [--streams 100] [--only pair]

Each stream does one thing slowly: its response dribbles, its body dribbles, or its client reads a large response a
little at a time. For each: how many were whole in the end, what the worker's own memory has grown by while all of them
were open, by stream, its processor time, and how many octets of response the slowest and the fastest had when all had
begun and none was whole yet.
"""

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path

import trio

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from support.h2_crowd import STEP, Crowd, Habit  # noqa: E402  # found by the line above
from support.processes import running, until  # noqa: E402
from support.worker_cost import WorkerCost  # noqa: E402

HABITS = {
    "response dribbles": Habit("/down/30/100/1.0"),
    "body dribbles": Habit("/up", pieces=30, size=100, pause=1.0),
    "64 KiB, read slowly": Habit("/whole/65536", window=4096, sip=2048, pause=1.0),
}
KIB_PER_MIB = 1024
OPEN = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: everybody, namespace: default}
spec: {rules: [{}]}
---
apiVersion: meshd.dev/v1alpha1
kind: BackendPolicy
metadata: {name: patient, namespace: default}
spec:
  targetRefs: [{kind: ServiceEntry, name: direct-test}, {kind: ServiceEntry, name: paired-test}]
  connectTimeout: 10s
  timeout: 300s
  connections: {maxPending: 100000}
"""


def load_mesh():
    """The fixtures of tests/e2e, without pytest."""
    spec = importlib.util.spec_from_file_location("e2e_fixtures", ROOT / "e2e" / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Mesh


class Measured:
    """One worker before, while all streams are open, and afterwards."""

    def __init__(self, name, sidecar):
        self.name = name
        self.cost = WorkerCost(sidecar)
        self.before, self.spent = self.cost.own(), self.cost.seconds()
        self.most = self.before

    def look(self):
        self.most = max(self.most, self.cost.own())


async def play(crowd, workers):
    """Run a crowd; how much the slowest and the fastest stream had got when the first of all was whole."""
    spread = [0, 0]

    async def watch():
        while True:
            await trio.sleep(0.25)
            for worker in workers:
                worker.look()
            got = crowd.told.received
            whole = crowd.connections * crowd.streams
            if len(got) == whole and not crowd.told.over:
                spread[:] = [min(got.values()), max(got.values())]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await crowd.run()
        nursery.cancel_scope.cancel()
    return spread


def measure(label, address, host, sidecars, name, options):
    """One habit, with sidecars that nothing else has passed through."""
    streams = options.connections * options.streams
    step = STEP * len(sidecars)  # what is slow here is not the beginning: nobody need stand in line for that
    crowd = Crowd(address, host, HABITS[name], options.connections, options.streams, step)
    workers = [Measured(each, sidecar) for each, sidecar in sidecars.items()]
    spread = trio.run(play, crowd, workers)
    for worker in workers:
        grown = (worker.most - worker.before) * KIB_PER_MIB / streams
        spent = worker.cost.seconds() - worker.spent
        print(
            f"{label:8} {name:20} {worker.name:9} {len(crowd.told.whole):6} of {streams} whole"
            f" {grown:6.1f} KiB a stream {spent:6.1f} s   {spread[0]}..{spread[1]} octets",
            flush=True,
        )
    for cause in sorted(set(crowd.told.failed.values())):
        print(f"  {list(crowd.told.failed.values()).count(cause)} failed: {cause}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--only", choices=("sidecar", "pair"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="meshd-streams-") as folder:
        port = Path(folder, "port")
        argv = [sys.executable, str(ROOT / "support" / "h2_dribble.py"), str(port)]
        with running(argv, Path(folder, "app.log")):
            app = f"127.0.0.1:{until(lambda: port.exists() and port.read_text())}"
            mesh = load_mesh()(Path(folder))
            try:
                compare(mesh, app, options)
            finally:
                mesh.close()


def compare(mesh, app, options):
    mesh.policy("open", OPEN)
    mesh.entry("direct.test", app, protocol="HTTP2")
    for name in HABITS:
        if options.only != "pair":
            alone = mesh.run("alone", outbound=[{"listen": "127.0.0.1:0"}], workers=1)
            measure("alone", alone.address("outbound-0"), "direct.test", {"the one": alone}, name, options)
            alone.stop()
        if options.only != "sidecar":
            server = mesh.run("server", inbound=[{"listen": "127.0.0.1:0", "app": app, "protocol": "grpc"}], workers=1)
            mesh.entry("paired.test", server.address("inbound-0"), mesh=True, account="server", protocol="HTTP2")
            client = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}], workers=1)
            sidecars = {"client's": client, "server's": server}
            measure("a pair", client.address("outbound-0"), "paired.test", sidecars, name, options)
            client.stop()
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
