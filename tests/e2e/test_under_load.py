"""What operators do to a mesh in service, under load: not one request fails that the rules say must not."""

import http.client
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from support.origin import Origin
from support.processes import until
from support.wrk import Wrk

CLIENTS = 8
ALLOW = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {{name: callers, namespace: default}}
    spec:
      rules:
        - from: [{{source: {{principals: ["mesh.test/ns/default/sa/client"]}}}}]
          to: [{{operation: {{methods: [{methods}]}}}}]
"""


class Load:
    """GETs on keep-alive connections until the block ends; every outcome is counted."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.outcomes: Counter[str] = Counter()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(20)

    def _run(self) -> None:
        connection = http.client.HTTPConnection(self.address, timeout=20)
        while not self._over.is_set():
            try:
                connection.request("GET", "/", headers={"host": "reviews.test"})
                response = connection.getresponse()
                response.read()
                outcome = str(response.status)
                if response.status != 200:
                    outcome += f" {response.headers.get('proxy-status')}"
                if response.will_close:
                    connection.close()
            except (OSError, http.client.HTTPException) as error:
                outcome = f"broken: {type(error).__name__}"
                connection.close()
            with self._lock:
                self.outcomes[outcome] += 1
        connection.close()

    def more(self, count: int = 60) -> Counter:
        """The outcomes of at least `count` further requests."""
        before = self.outcomes.copy()
        wanted = before.total() + count
        until(lambda: self.outcomes.total() >= wanted, 30, f"{count} more requests")
        with self._lock:
            return self.outcomes - before


def workers(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if "worker" in Path(f"/proc/{child}/comm").read_text()]


@pytest.mark.slow
def test_nothing_fails_that_must_not(mesh):
    with Origin() as origin:
        mesh.policy("callers", ALLOW.format(methods='"GET"'))
        app = {"listen": "127.0.0.1:0", "app": origin.address}
        first, second = (mesh.run(name, inbound=[app]) for name in ("first", "second"))
        account = mesh.account("server")
        assert account
        mesh.entry("reviews.test", *(each.address("inbound-0") for each in (first, second)), mesh=True)
        client = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}], workers=2)
        with Load(client.address("outbound-0")) as load:
            assert set(load.more()) == {"200"}

            victim = workers(client.pid)[0]
            os.kill(victim, signal.SIGKILL)
            until(lambda: len(found := workers(client.pid)) == 2 and victim not in found, 15, "a new worker")
            killed = load.more()
            broken = sum(number for outcome, number in killed.items() if outcome.startswith("broken"))
            assert broken <= CLIENTS  # what was open on that worker, no more
            assert all(outcome == "200" or outcome.startswith("broken") for outcome in killed)
            assert set(load.more()) == {"200"}

            for name in ("client", "first"):
                folder = mesh.folder / f"id-{name}"
                serial = (folder / "tls.crt").read_bytes()
                mesh.authority.renew(folder, time.time())
                assert (folder / "tls.crt").read_bytes() != serial
            assert set(load.more(200)) == {"200"}

            mesh.policy("callers", ALLOW.format(methods='"GET", "HEAD"'))
            until(lambda: "serves generation 2" in first.log, 15, "the changed policy")
            assert set(load.more()) == {"200"}

            mesh.policy("callers", "kind: [")
            until(lambda: "entry" not in first.log.split("callers.yaml")[-1][:1] and "callers.yaml" in first.log, 15)
            assert set(load.more()) == {"200"}
            mesh.policy("callers", ALLOW.format(methods='"GET"'))

            for _ in range(5):
                origin.drop_connections()
                assert set(load.more(20)) == {"200"}

            # One trouble at a time, for a request has one second try: who met the last one has been answered.
            assert set(load.more(200)) == {"200"}
            second.signal(signal.SIGTERM)
            assert set(load.more(100)) == {"200"}
            second.process.wait(20)
            assert set(load.more(100)) == {"200"}
        assert {outcome.split(":")[0] for outcome in load.outcomes} <= {"200", "broken"}
        for sidecar in (client, first, second):
            assert "Traceback" not in sidecar.log


@pytest.mark.slow
def test_many_connections_at_full_speed_see_none_of_it_either(mesh):
    with Origin() as origin:
        mesh.policy("callers", ALLOW.format(methods='"GET"'))
        app = {"listen": "127.0.0.1:0", "app": origin.address}
        first, second = (mesh.run(name, inbound=[app]) for name in ("first", "second"))
        mesh.entry("reviews.test", *(each.address("inbound-0") for each in (first, second)), mesh=True)
        client = mesh.run("client", outbound=[{"listen": "127.0.0.1:0"}], workers=2)

        def during(event):
            """What wrk counts while this happens, and after."""
            with Wrk(client.address("outbound-0"), host="reviews.test", connections=CLIENTS * 4) as wrk:
                event()
                tally = wrk.tally()
            assert tally.requests > CLIENTS * 4
            return tally

        def kill():
            victim = workers(client.pid)[0]
            os.kill(victim, signal.SIGKILL)
            until(lambda: len(found := workers(client.pid)) == 2 and victim not in found, 15, "a new worker")

        def renew():
            for name in ("client", "first", "second"):
                mesh.authority.renew(mesh.folder / f"id-{name}", time.time())
            until(lambda: all("new certificates" in each.log for each in (client, first, second)), 10, "rotation")

        def change():
            mesh.policy("callers", ALLOW.format(methods='"GET", "HEAD"'))
            until(lambda: "new documents" in first.log, 10, "the changed policy")

        def spoil():
            mesh.policy("callers", "kind: [")
            until(lambda: "reload refused" in first.log, 10, "the refusal")

        def stop():
            second.signal(signal.SIGTERM)
            second.process.wait(20)

        killed = during(kill)
        assert killed.read <= CLIENTS * 4  # what was open on that worker, no more
        assert killed.errors == killed.read
        for event in (renew, change, spoil, origin.drop_connections, stop):
            assert during(event).errors == 0, event
        assert second.process.returncode == 0
        for sidecar in (client, first, second):
            assert "Traceback" not in sidecar.log
