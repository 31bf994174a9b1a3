"""What a pair of sidecars adds to a unary gRPC call: `python tests/bench/bench_grpc.py [--rounds 5] [--beside MESHD]`.

grpcio asks grpcio's server over loopback, 200 calls a second in an open loop: a call begins when it is due, whatever
became of those before it. In every round the same load goes straight to the server, through a pair of Envoys and
through a pair of meshd (HTTP/2 in clear text at both ends, mutual TLS between). A system's latency less that of the
direct call in the same round is what it adds; the ratio of what two systems add is the figure to trust. With --beside,
a second meshd (that of another checkout) takes part.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).parents[1]))

from run import PEERS
from support.grpc_peer import Client, address_of, start_app

RATE = 200  # calls a second
WARM = 1.0  # seconds of calls that do not count
MESSAGE = b"x" * 100
PATIENCE = 20  # seconds until a pair answers its first call
BINARIES: dict[str, str] = {}  # of meshd, by the name it has in the table
QUIET = 5  # seconds that others get to leave the processors alone


class Load:
    """Calls over a few connections, each begun when it is due."""

    def __init__(self, address, connections):
        self.clients = [Client(address, "bench") for _ in range(connections)]
        self.methods = [client.channel.unary_unary("/test.Echo/Echo") for client in self.clients]

    def close(self):
        for client in self.clients:
            client.channel.close()

    def wait_ready(self):
        """Until every connection has carried a call."""
        until = time.monotonic() + PATIENCE
        for method in self.methods:
            while True:
                try:
                    assert method(MESSAGE, timeout=2) == MESSAGE
                    break
                except grpc.RpcError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.02)

    def run(self, seconds):
        """Milliseconds of each call."""
        took, failures, left = [], [], threading.Semaphore(0)

        def done(call, began):
            ended = time.perf_counter()
            took.append((ended - began) * 1000)
            if call.code() is not grpc.StatusCode.OK:
                failures.append(call.code())
            left.release()

        first = time.perf_counter() + 0.01
        number = int(RATE * seconds)
        for count in range(number):
            pause = first + count / RATE - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            began = time.perf_counter()  # the generator's own late wake-ups do not count
            call = self.methods[count % len(self.methods)].future(MESSAGE, PATIENCE)
            call.add_done_callback(lambda call, began=began: done(call, began))
        for _ in range(number):
            left.acquire()
        assert not failures, failures
        return took


@contextlib.contextmanager
def started(name, app, certs):
    """A pair before the app: the address to call, and the processes of it."""
    import procs
    import systems

    system = systems.SYSTEMS[name if name != "beside" else "meshd"]
    os.environ["MESHD_BIN"] = BINARIES.get(name, "")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="grpc-pair-")))
        ports = systems.Ports(*procs.free_ports(2), int(app.rpartition(":")[2]))
        commands = system.configs(folder, ports, certs, "h2")
        running = [procs.running(command, folder / "log") for command in reversed(commands)]
        pids = [stack.enter_context(each).pid for each in running]
        yield (f"127.0.0.1:{ports.outbound}" if commands else app), pids


def sample(name, app, certs, options):
    """One system under load: what the calls took, what they cost its processes, and who else was busy."""
    import bench
    import procs

    bench.quiet(QUIET)
    with started(name, app, certs) as (address, pids):
        load = Load(address, options.connections)
        try:
            load.wait_ready()
            load.run(WARM)
            spent, ours, (busy, _) = sum(map(procs.cpu, pids)), procs.cpu(os.getpid()), procs.machine()
            began = time.perf_counter()
            took = sorted(load.run(options.seconds))
            wall = time.perf_counter() - began
            foreign = procs.machine()[0] - busy - (procs.cpu(os.getpid()) - ours)
            cost = (sum(map(procs.cpu, pids)) - spent) / len(took) * 1e6
        finally:
            load.close()
    return {
        "p50": took[len(took) // 2],
        "p99": took[int(len(took) * 0.99)],
        "us": cost,
        "foreign": max(0.0, foreign / wall),
    }


def measure(options):
    """A row of samples a round; the order turns."""
    import procs

    with tempfile.TemporaryDirectory(prefix="bench-grpc-") as name:
        certs = procs.make_certs(Path(name, "certs"))
        app, port = start_app(Path(name))
        with app:
            address = address_of(port)
            for turn in range(options.rounds):
                names = [*options.names[turn % len(options.names) :], *options.names[: turn % len(options.names)]]
                yield {name: sample(name, address, certs, options) for name in names}


def median(values):
    """The median of a value of each round, and how far it ranged."""
    return f"{statistics.median(values):.2f} [{min(values):.2f} - {max(values):.2f}]"


def show(rounds):
    """The table: medians, what is added, and the ratio of that within each round."""
    proxies = [name for name in rounds[0] if name != "direct"]
    for name in ("direct", *proxies):
        samples = [row[name] for row in rounds]
        for key, unit in (("p50", "ms"), ("p99", "ms"), ("us", "us of CPU a call"), ("foreign", "CPUs busy elsewhere")):
            print(f"{name:7} {key:8} {median([each[key] for each in samples])} {unit}")
    for which in ("p50", "p99"):
        added = {name: [row[name][which] - row["direct"][which] for row in rounds] for name in proxies}
        for name in proxies:
            ratios = [ours / envoys for ours, envoys in zip(added[name], added["envoy"], strict=True)]
            print(f"{name:7} adds {which} {median(added[name])} ms, {median(ratios)} times what Envoy adds")


def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--rounds", type=int, default=5)
    parse.add_argument("--seconds", type=float, default=10, help="of load a sample")
    parse.add_argument("--connections", type=int, default=1, help="of the client")
    parse.add_argument("--beside", default="", help="the meshd of another checkout")
    options = parse.parse_args()
    if not (PEERS / "bench.py").is_file():
        sys.exit(f"the harness is not at {PEERS}; name its parent with MESHD_SHARED")
    sys.path.insert(0, str(PEERS))
    BINARIES["meshd"] = str(Path(sys.executable).parent / "meshd")
    if options.beside:
        BINARIES["beside"] = options.beside
    options.names = ["direct", "envoy", *BINARIES]
    rounds = []
    for row in measure(options):
        rounds.append(row)
        for name, found in row.items():
            print(f"  {len(rounds)} {name:6} " + " ".join(f"{k}={v:.3f}" for k, v in found.items()), file=sys.stderr)
    show(rounds)


if __name__ == "__main__":
    main()
