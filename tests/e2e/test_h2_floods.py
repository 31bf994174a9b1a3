"""Every flood against the HTTP/2 of a running sidecar: its cost is bounded, its end is told and counted, and clients of
other connections are served meanwhile.
"""

import http.client
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.h2_flooder import Flooder
from support.h2_raw import H2RawClient
from support.http2 import GET, OPENING, expand_flood, headers
from support.origin import Origin, ok
from support.processes import until
from support.shared import cases
from support.sibling import Sibling
from support.worker_cost import WorkerCost

from meshd.http.h2_events import Code
from meshd.http.h2_frames import reset_frame

PLAIN = """
    apiVersion: security.istio.io/v1
    kind: PeerAuthentication
    metadata: {name: plain, namespace: default}
    spec: {mtls: {mode: DISABLE}}
"""
ROWS = [row for row in cases("h2_flood.jsonl") if row["direction"] == "downstream"]
WINDOWS = {"flood-window-0", "flood-window-drip"}
SLOW = {"flood-preface-none", "flood-preface-half", "flood-headers-stall"}  # nothing but the clock can end them
# What costs little or is legal, and what a deadline of minutes ends, which is for tests that move the clock.
HARMLESS = {f"flood-{name}" for name in ("reset-legit", "unknown-few", "zerolen-header", "hpack-evict")} | WINDOWS
QUICK = [row for row in ROWS if row["id"] not in SLOW]
BIG = b"x" * 1048576
WAIT = 1.5  # seconds of what a case waits for


# The app is threads of this process: while it is flooded it may take longer to accept than a sidecar waits by default.
PATIENCE = """
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: patience, namespace: default}
    spec:
      targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: reviews-test}]
      connectTimeout: 4s
"""


class Rig:
    """A sidecar of one worker, the app behind it, and what they cost and count."""

    def __init__(self, sidecar, origin: Origin) -> None:
        self.address = sidecar.address("outbound-0")
        self.inbound = sidecar.address("inbound-0")
        self.origin = origin
        self._admin = sidecar.address("admin")
        self.cost = WorkerCost(sidecar)

    def broken_off(self) -> dict[str, int]:
        """How many connections were ended for what their client did, by the reason."""
        host, _, port = self._admin.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        found = re.findall(r'^meshd_connections_broken_off_total\{.*error_type="(\w+)".*\} (\d+)', text, re.MULTILINE)
        return {cause: int(count) for cause, count in found}

    def requests(self) -> int:
        """How many arrived, not counting the sibling's; they are forgotten then."""
        return len([each for each in self.origin.take() if each.target != "/sibling"])


def behave(wire, request):
    wire.sock.sendall(ok(BIG if request.target == "/big" else b"ok"))


@pytest.fixture(scope="module")
def rig(shared_mesh):
    with Origin(behave) as origin:
        shared_mesh.policy("plain", PLAIN)
        shared_mesh.entry("reviews.test", origin.address)
        shared_mesh.policy("patience", PATIENCE)
        sidecar = shared_mesh.run(
            "out",
            outbound=[{"listen": "127.0.0.1:0", "service": "reviews.test:80"}],
            inbound=[{"listen": "127.0.0.1:0", "app": origin.address}],
            workers=1,
            telemetry={},
        )
        made = Rig(sidecar, origin)
        for _ in range(3):  # so that what memory it ever needs for many streams is not taken for a flood's
            busy = next(row for row in QUICK if row["id"] == "flood-zerolen-header")
            with Flooder(made.address, reads=True) as client:
                client.play(expand_flood(busy["steps"]), 1.0, WAIT)
                client.listen(0.3)
        yield made


def play(rig, row) -> tuple[str, str]:
    """What went wrong with one case, and the reason that must have been counted; both may be empty."""
    rig.requests()
    memory, spent = rig.cost.resident(), rig.cost.seconds()
    with Sibling(rig.address) as sibling, Flooder(rig.address, reads=row["client_reads"]) as client:
        client.play(expand_flood(row["steps"]), 1.0, WAIT)
        grown = rig.cost.resident() - memory
        client.reads = True
        client.listen(0.2 if row["id"] in HARMLESS else 5.0)
        goaway, closed = client.goaway(), client.closed
    grown, spent = max(grown, rig.cost.resident() - memory), rig.cost.seconds() - spent
    limits, requests = row["limits"], rig.requests()
    most = limits.get("upstream_requests_max", 10**6)
    if isinstance(most, str):
        most = 10**6  # streams that were answered make room for others; tests/http counts those that are open
    checks = {
        f"{grown:.1f} MiB": grown <= limits["rss_growth_mib"],
        f"{spent:.2f} s of processor time": spent <= limits["cpu_s"],
        f"{requests} requests upstream": requests <= most,
        f"a client beside it got {set(sibling.statuses)}": set(sibling.statuses) == {200},
        f"GOAWAY {goaway}, closed: {closed}": closed == (row["id"] not in HARMLESS) and (goaway is not None) == closed,
        f"code {goaway}": goaway is None or goaway[0] in row["expectation"].get("goaway_codes", [goaway[0]]),
    }
    return ", ".join(fact for fact, fine in checks.items() if not fine), _cause(goaway)


def _cause(goaway) -> str:
    """The reason as it is counted, of the code and the text that the client was told."""
    if goaway is None:
        return ""
    code, text = goaway
    if code != Code.ENHANCE_YOUR_CALM:
        return f"h2_{code}"
    return "header_list" if text == "header list too large" else text.removeprefix("too many: ")


@pytest.mark.slow
def test_every_flood(rig):
    before = rig.broken_off()
    wrong, causes = [], Counter(before)
    for row in QUICK:
        found, cause = play(rig, row)
        if found:
            wrong.append(f"{row['id']}: {found}: {row['why']}")
        if cause:
            causes[cause] += 1
    assert not wrong, f"{len(wrong)} of {len(QUICK)}:\n" + "\n".join(wrong)
    assert len(causes) > 10
    until(lambda: rig.broken_off() == causes, 5, f"a count of {causes}")


def test_what_a_client_takes_back_at_once_reaches_nobody(rig):
    """Hundreds of such requests had to be sent on before the GOAWAY of the flood that they were could be written."""
    rig.requests()
    taken_back = [headers(stream, GET, end=True) + reset_frame(stream, Code.CANCEL) for stream in range(1, 201, 2)]
    with H2RawClient(rig.address) as client:
        client.send(b"".join((OPENING, *taken_back, headers(201, GET, end=True))))
        assert client.read_until(lambda: client.is_over(201), 5)
        assert client.answers() == {201: (200, b"ok", True)}
    assert rig.requests() == 1


@pytest.mark.slow
def test_a_client_that_begins_and_does_not_go_on(rig):
    """A head, or what comes before it, may take a stranger ten seconds."""
    rows = [row for row in ROWS if row["id"] in SLOW]
    assert len(rows) == len(SLOW)

    def left_alone(row) -> bool:
        with Flooder(rig.inbound, reads=True) as client:
            client.play(expand_flood(row["steps"]), 1.0, 15.0)
            return client.closed

    with ThreadPoolExecutor(len(rows)) as pool:
        assert all(pool.map(left_alone, rows))
