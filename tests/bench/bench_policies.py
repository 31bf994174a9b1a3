"""What many policies cost: `python tests/bench/bench_policies.py [--sidecar]`.

A decision (policies, route and split of one request, by the compiled snapshot) in nanoseconds, with no policies, with
one of each and with 200 routes and 100 authorization rules. With --sidecar also the CPU of a running sidecar a request,
interleaved, for each of the three: the ratio to none is the figure to trust.
"""

import http.client
import json
import statistics
import sys
import tempfile
import time
import timeit
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.documents import document
from support.origin import Origin
from support.processes import Sidecar
from support.requests import exchange_of, request

from meshd.compile import compile_snapshot
from meshd.config.load import load_policies
from meshd.core.peer import Peer
from meshd.proxy.admit import admit

WORLDS = {"none": (0, 0), "one of each": (1, 1), "200 routes, 100 rules": (200, 100)}
WEB = Peer("127.0.0.1", principal=b"cluster.local/ns/default/sa/web", namespace=b"default", service_account=b"web")
ROUNDS, REQUESTS = 15, 700


def policies(routes, rules, backend):
    """Documents: a service with that many routes, and that many rules of who may call."""
    host, _, port = backend.rpartition(":")
    yield {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "shop"},
        "spec": {
            "hosts": ["shop.test"],
            "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http"}],
            "endpoints": [{"address": host, "ports": {"http": int(port)}}],
        },
    }
    yield {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "plain"},
        "spec": {"mtls": {"mode": "DISABLE"}},
    }
    for number in range(routes):
        match = {"path": {"value": f"/service-{number}/api"}, "method": "GET"}
        to = {"group": "networking.istio.io", "kind": "ServiceEntry", "name": "shop", "port": 80}
        yield {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": f"route-{number}"},
            "spec": {
                "parentRefs": [{"group": "networking.istio.io", "kind": "ServiceEntry", "name": "shop"}],
                "rules": [{"matches": [match], "backendRefs": [to]}],
            },
        }
    for number in range(rules):
        operation = {"paths": [f"/service-{number}/*"], "methods": ["GET", "HEAD"]}
        yield {
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": f"rule-{number}"},
            "spec": {"rules": [{"to": [{"operation": operation}]}]},
        }


def proxy(folder, listeners):
    return {
        "apiVersion": "meshd.dev/v1alpha1",
        "kind": "Proxy",
        "metadata": {"name": "bench"},
        "spec": {"policies": [str(folder)], "telemetry": None, "admin": {"listen": "127.0.0.1:0"}} | listeners,
    }


def write(folder, world, backend):
    for place, each in enumerate(policies(*WORLDS[world], backend)):
        (folder / f"{place}.yaml").write_text(json.dumps(each))


def path_of(world):
    """A request for the last of the routes and rules."""
    routes, rules = WORLDS[world]
    return f"/service-{max(0, min(routes, rules) - 1)}/api/items"


def decisions(world):
    """Nanoseconds of a decision, outbound (routes) and inbound (rules)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, world, "127.0.0.1:9")
        listeners = {
            "outbound": [{"listen": "127.0.0.1:0"}],
            "inbound": [{"listen": "127.0.0.1:0", "app": "127.0.0.1:9"}],
        }
        model = document(json.dumps(proxy(folder, listeners))).model
        snapshot = compile_snapshot(model, load_policies([folder]), None, None)
    for listener in ("outbound-0", "inbound-0"):
        plan = snapshot.plans[listener]
        exchange = exchange_of(request(path_of(world), authority="shop.test"), WEB)
        exchange.request_id = b"1"
        assert admit(exchange, plan)[0] is None
        number = 5_000
        timer = timeit.Timer(lambda: admit(exchange, plan), timer=time.process_time)  # noqa: B023  # called at once
        yield min(timer.repeat(15, number)) / number * 1e9


def cpu_of(pid):
    """Nanoseconds of CPU of every process below one."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        tasks = Path(f"/proc/{child}/task").iterdir()
        found[child] = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
    return found


class Bench:
    """A running sidecar of one world, asked over one connection through its outbound and inbound listener."""

    def __init__(self, folder, world, app):
        policies_folder = folder / "policies"
        policies_folder.mkdir()
        self.path = path_of(world)
        write(policies_folder, world, app)
        listeners = {"inbound": [{"listen": "127.0.0.1:0", "app": app}], "outbound": [{"listen": "127.0.0.1:0"}]}
        file = folder / "proxy.yaml"
        file.write_text(json.dumps(proxy(policies_folder, listeners)))
        self.sidecar = Sidecar(file).wait_ready()
        self.connections = {name: self.connect(name) for name in ("outbound-0", "inbound-0")}

    def connect(self, name):
        host, _, port = self.sidecar.address(name).rpartition(":")
        return http.client.HTTPConnection(host, int(port), timeout=5)

    def run(self):
        """Microseconds of CPU of the worker a request, half of them through each listener."""
        before = cpu_of(self.sidecar.pid)
        for connection in self.connections.values():
            for _ in range(REQUESTS):
                connection.request("GET", self.path, headers={"Host": "shop.test"})
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200, answer.status
        after = cpu_of(self.sidecar.pid)
        worker = max(after[pid] - before[pid] for pid in after)  # the controller only ticks
        return worker / REQUESTS / len(self.connections) / 1000


def sidecars():
    """The median CPU a request of each world, and its ratio to none within each round."""
    with tempfile.TemporaryDirectory() as name, Origin() as app:
        benches = {}
        for place, world in enumerate(WORLDS):
            folder = Path(name) / str(place)
            folder.mkdir()
            benches[world] = Bench(folder, world, app.address)
        try:
            rounds = [{world: bench.run() for world, bench in benches.items()} for _ in range(ROUNDS)]
        finally:
            for bench in benches.values():
                bench.sidecar.stop()
    for world in WORLDS:
        ratio = statistics.median(each[world] / each["none"] for each in rounds)
        yield world, statistics.median(each[world] for each in rounds), ratio


if __name__ == "__main__":
    print(f"{'ns a decision':30} {'outbound':>9} {'inbound':>9}")
    for world in WORLDS:
        out, into = decisions(world)
        print(f"{world:30} {out:9.0f} {into:9.0f}")
    if "--sidecar" in sys.argv:
        print(f"{'CPU of a sidecar a request':30} {'us':>9} {'ratio':>9}")
        for world, micros, ratio in sidecars():
            print(f"{world:30} {micros:9.1f} {ratio:9.3f}")
