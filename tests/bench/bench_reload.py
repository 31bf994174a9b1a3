"""What a large set of documents costs: to start with, to change by one document, and to exchange as a whole.

    python tests/bench/bench_reload.py [--documents 2000] [--workers 1 2] [--meshd .venv/bin/meshd]

The set: N ServiceEntries of three endpoints, N HTTPRoutes of two rules, N policies (half BackendPolicies, half
AuthorizationPolicies with selectors). Processor time is that of each process by itself, from the start until it is
ready, or from the change until every worker serves by it, less what the same time costs without a change. A client asks
through the sidecar a few hundred times a second; the longest time that one of its answers took is the stall, beside
what it was while nothing changed. Everything shares this machine, so look at processor time first.
"""

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from support.large_set import ROUTE, written  # noqa: E402  # found by the line above

HERTZ = os.sysconf("SC_CLK_TCK")
PAUSE = 0.003  # seconds between two requests of the client
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s{i}, namespace: shop}}
spec:
  hosts: [s{i}.test]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints:
  - {{address: 127.1.{a}.{b}, ports: {{http: PORT}}}}
  - {{address: 127.2.{a}.{b}, ports: {{http: PORT}}}}
  - {{address: 127.3.{a}.{b}, ports: {{http: PORT}}}}
"""
BACKEND = """
apiVersion: meshd.dev/v1alpha1
kind: BackendPolicy
metadata: {{name: b{i}, namespace: shop}}
spec:
  targetRefs: [{{kind: ServiceEntry, name: s{i}}}]
  connections: {{max: 10}}
  warm: {{mode: lazy}}
  retry: {{attempts: 2}}
"""
ACCESS = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: a{i}, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  action: ALLOW
  rules:
  - from: [{{source: {{ipBlocks: ["10.{a}.{b}.0/24"]}}}}]
    to: [{{operation: {{methods: [GET], paths: ["/s{i}/*"]}}}}]
"""
PROXY = """
apiVersion: meshd.dev/v1alpha1
kind: Proxy
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  workers: WORKERS
  telemetry: null
  admin: {listen: "127.0.0.1:ADMIN"}
  inbound: [{listen: "127.0.0.1:0", app: "127.0.0.1:PORT"}]
  outbound: [{listen: "127.0.0.1:OUT"}]
  policies: [policies]
"""
PLAIN = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: plain, namespace: shop}
spec: {mtls: {mode: DISABLE}}
"""
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def app():
    """Answers whatever comes; one process, so that the client's own threads do not slow it. Its port and its pid."""
    listener = socket.create_server(("", 0), backlog=1024)  # for 127.x.y.z as well
    pid = os.fork()
    if pid:
        port = listener.getsockname()[1]
        listener.close()
        return port, pid

    def serve(connection):
        while data := connection.recv(65536):
            connection.sendall(ANSWER * data.count(b"\r\n\r\n"))

    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def seconds(pid):
    """Processor time of one process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / HERTZ


class Client(threading.Thread):
    """Asks again and again, and remembers the longest that an answer took."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.longest, self.answers, self.failures, self.done = port, 0.0, 0, 0, False

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.done:
            began = time.monotonic()
            try:
                connection.request("GET", "/", headers={"host": "s0.test"})
                response = connection.getresponse()
                response.read()
                self.failures += response.status != 200
            except (OSError, http.client.HTTPException):
                self.failures += 1
                connection.close()
            self.longest = max(self.longest, time.monotonic() - began)
            self.answers += 1
            time.sleep(PAUSE)

    def take(self):
        longest, self.longest = self.longest, 0.0
        return longest


class Sidecar:
    """One, with its policies in files that can be written anew."""

    def __init__(self, meshd, folder, workers, port):
        self.folder, self.out, self.admin = folder, free_port(), free_port()
        (folder / "policies").mkdir(exist_ok=True)
        text = PROXY.replace("WORKERS", str(workers)).replace("OUT", str(self.out)).replace("ADMIN", str(self.admin))
        (folder / "proxy.yaml").write_text(text.replace("PORT", str(port)))
        began = time.monotonic()
        ready = folder / "ready.json"
        command = [meshd, "run", "-f", str(folder / "proxy.yaml"), "--ready-file", str(ready), "--log-level", "error"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() - began > 300:
                self.end()
                raise SystemExit("it does not start")
            time.sleep(0.01)
        self.started = time.monotonic() - began

    def ask(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=60)
        connection.request("GET", "/server_info")
        found = json.loads(connection.getresponse().read())
        connection.close()
        return found

    def times(self):
        """Processor time of supervisor, controller and workers."""
        found = self.ask()
        workers = sum(seconds(worker["pid"]) for worker in found["workers"])
        return [seconds(self.process.pid), seconds(found["controller"]["pid"]), workers]

    def wait_generation(self, generation, limit=120):
        """Until every worker serves by it; how long that took. None when it never came to that."""
        began = time.monotonic()
        while time.monotonic() - began < limit:
            try:
                if all(worker["generation"] >= generation for worker in self.ask()["workers"]):
                    return time.monotonic() - began
            except (OSError, http.client.HTTPException, FileNotFoundError):
                pass
            time.sleep(0.1)
        return None

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def write(folder, count, port, changed=""):
    texts = {
        "services": written(ENTRY, count).replace("PORT", str(port)),
        "routes": written(ROUTE, count),
        "policies": written(BACKEND, count // 2) + "---" + written(ACCESS, count - count // 2) + "---" + PLAIN,
    }
    if changed == "one endpoint":
        texts["services"] = texts["services"].replace("127.2.0.3,", "127.9.0.3,")
    elif changed == "one route":
        texts["routes"] = texts["routes"].replace("value: /v1", "value: /v2", 1)
    elif changed == "one policy":
        texts["policies"] = texts["policies"].replace("attempts: 2", "attempts: 3", 1)
    elif changed == "everything":
        texts = {
            name: text.replace("127.2.", "127.9.").replace("value: /v1", "value: /v2") for name, text in texts.items()
        }
        texts["policies"] = (
            texts["policies"].replace("attempts: 2", "attempts: 3").replace("methods: [GET]", "methods: [PUT]")
        )
    for name, text in texts.items():
        path = folder / "policies" / f"{name}.yaml"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def row(workers, what, wall, times, stall, quiet):
    cells = [f"{each:.2f}" for each in times]
    return (
        f"| {workers} | {what} | {wall} | {cells[0]} | {cells[1]} | {cells[2]} | {sum(times):.2f} | {stall} | {quiet} |"
    )


def measure(meshd, count, workers, port):
    """The rows of one number of workers."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="meshd-reload-") as name:
        folder = Path(name)
        (folder / "policies").mkdir()
        write(folder, count, port)
        sidecar = Sidecar(meshd, folder, workers, port)
        client = Client(sidecar.out)
        try:
            rows.append(row(workers, "start", f"{sidecar.started:.1f}", sidecar.times(), "", ""))
            client.start()
            time.sleep(6)  # what begins late is done
            for generation, change in enumerate(("one endpoint", "one route", "one policy", "everything"), 2):
                client.take()
                before = sidecar.times()
                time.sleep(3)
                idle, quiet = [(b - a) / 3 for a, b in zip(before, sidecar.times(), strict=True)], client.take()
                before, began = sidecar.times(), time.monotonic()
                write(folder, count, port, change)
                wall = sidecar.wait_generation(generation)
                time.sleep(1)
                took = time.monotonic() - began
                if wall is None:
                    rows.append(row(workers, change, "never", [0, 0, 0], f"{client.take() * 1000:.0f}", ""))
                    break
                spent = [b - a - rate * took for a, b, rate in zip(before, sidecar.times(), idle, strict=True)]
                stall, quiet = (f"{each * 1000:.0f}" for each in (client.take(), quiet))
                rows.append(row(workers, change, f"{wall:.1f}", spent, stall, quiet))
        finally:
            client.done = True
            sidecar.end()
    print(f"{workers} workers: {client.answers} answers, {client.failures} failures", file=sys.stderr)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, default=2000, help="services, routes and policies, each")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--meshd", default=str(Path(sys.executable).parent / "meshd"))
    given = parser.parse_args()
    port, pid = app()
    try:
        rows = [each for workers in given.workers for each in measure(given.meshd, given.documents, workers, port)]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    print("| workers | change | until served, s | supervisor, s CPU | controller | workers | all | stall, ms | quiet |")
    print("|--:|---|--:|--:|--:|--:|--:|--:|--:|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
