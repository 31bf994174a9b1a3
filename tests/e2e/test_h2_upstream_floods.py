"""Every flood and every breach by an app of HTTP/2 behind a running sidecar: the client is told what became of its
request, the cost is bounded, and clients of other apps are served meanwhile.
"""

from dataclasses import dataclass

import pytest
from support.h2_raw import H2RawClient
from support.h2_upstream import Script, Upstream
from support.http2 import OPENING, expand_flood, headers
from support.origin import Origin, ok
from support.processes import until
from support.shared import cases
from support.sibling import Sibling
from support.wire import RawClient
from support.worker_cost import WorkerCost

POLICIES = """
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: flooder, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: flooder-test}]
      connectTimeout: 4s
      timeout: 1s
      warm: {min: 1}
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: calm, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: calm-test}]
      connectTimeout: 4s
    ---
    apiVersion: meshd.dev/v1alpha1
    kind: BackendPolicy
    metadata: {name: long, namespace: default}
    spec:
      targetRefs: [{kind: ServiceEntry, name: queued-test}]
      connectTimeout: 30s
      timeout: 60s
      warm: {min: 1}
"""
ROWS = {row["id"].removeprefix("flood-up-"): row for row in cases("h2_flood.jsonl") if row["direction"] == "upstream"}
ABORTED = 0
MIB = 1048576
WINDOW = 65535  # octets that any server lets a client send at first
NONSENSE, BROKEN, SLOW = "http_protocol_error", "connection_terminated", "http_response_timeout"
# What a POST may get, and what Proxy-Status must say of it where the response has not begun.
EXPECTED = {
    "ping": ({502}, NONSENSE),
    "settings": ({502}, NONSENSE),
    "window": ({502}, NONSENSE),
    "push": ({502}, NONSENSE),
    "1xx": ({502}, NONSENSE),
    "hdr-big": ({502}, NONSENSE),
    "conn-header": ({502}, NONSENSE),
    "crlf-header": ({502}, NONSENSE),
    "cl-mismatch": ({502, ABORTED}, NONSENSE),
    "empty-data": ({502, ABORTED}, NONSENSE),
    "rst-mid": ({502, ABORTED}, BROKEN),
    "goaway-0": ({200}, ""),
    "refused": ({200}, ""),
    "max-streams-0": ({504}, SLOW),
}
ONCE = {"goaway-0", "refused"}  # and then it serves
FLOODS = ("ping", "settings", "window", "1xx", "hdr-big", "empty-data", "push")
VERSIONS = ("HTTP/1.1", "HTTP/2")
SETTLED = 0.5  # seconds without any progress that mean that there will be none


@dataclass
class Got:
    """What became of one request to its client; status 0 for no whole answer."""

    status: int
    received: bytes
    error: str = ""  # of Proxy-Status, where the client is one of HTTP/1.1
    lives: bool = False  # the connection, which then served another request


class Rig:
    """A sidecar of one worker before an app that floods and another one that does not."""

    def __init__(self, mesh, upstream: Upstream, queued: Upstream) -> None:
        self.upstream = upstream
        self.queued = queued  # where a request may wait for its turn as long as it takes
        sidecar = mesh.run("out", outbound=[{"listen": "127.0.0.1:0"}], workers=1)
        self.address = sidecar.address("outbound-0")
        self.cost = WorkerCost(sidecar)

    def ask(self, version: str, method: str = "POST") -> Got:
        """One request to the app that floods, and one on the same connection to the one that does not."""
        return self._ask1(method) if version == "HTTP/1.1" else self._ask2(method)

    def _ask1(self, method: str) -> Got:
        with RawClient(self.address) as client:
            client.send(b"%s /x HTTP/1.1\r\nhost: flooder.test\r\ncontent-length: 0\r\n\r\n" % method.encode())
            client.read_until(lambda: final(client), 20)
            received = client.received
            if (found := final(client)) is None:
                assert client.closed, "neither an answer nor an end"
                return Got(ABORTED, received)
            status, fields, _ = found
            client.received = b""
            client.send(b"GET /y HTTP/1.1\r\nhost: calm.test\r\n\r\n")
            client.read_until(lambda: final(client), 20)
            again = final(client)
            error = fields.get("proxy-status", "").partition("error=")[2].partition(";")[0]
            return Got(status, received, error, lives=again is not None and again[0] == 200)

    def _ask2(self, method: str) -> Got:
        with H2RawClient(self.address) as client:
            client.send(OPENING + headers(1, head("flooder.test", method), end=True))
            assert client.read_until(lambda: client.is_over(1), 20), "neither an answer nor an end"
            status, _, whole = client.answers().get(1, (ABORTED, b"", True))
            client.send(headers(3, head("calm.test", "GET"), end=True))
            client.read_until(lambda: client.is_over(3), 20)
            lives = client.answers().get(3, (0,))[0] == 200
            return Got(status if whole else ABORTED, client.received, lives=lives)


def final(client: RawClient):
    """The whole final response to the one request of a connection, if it has come."""
    found = [] if client.reset else client.responses()
    return next((each for each in found if each[0] >= 200 and ("content-length" in each[1] or not client.closed)), None)


def head(host: str, method: str):
    return [(b":method", method.encode()), (b":scheme", b"http"), (b":authority", host.encode()), (b":path", b"/x")]


@pytest.fixture(scope="module")
def rig(shared_mesh):
    with Origin(lambda wire, _: wire.sock.sendall(ok())) as origin, Upstream() as upstream, Upstream() as queued:
        shared_mesh.policy("patience", POLICIES)
        shared_mesh.entry("calm.test", origin.address)
        shared_mesh.entry("flooder.test", upstream.address, protocol="HTTP2")
        shared_mesh.entry("queued.test", queued.address, protocol="HTTP2")
        yield Rig(shared_mesh, upstream, queued)


def play(rig, name: str, ask, upstream: Upstream | None = None, **script) -> tuple[Got, list[str]]:
    """What the client got while the app plays a row, and which limits that broke."""
    row, upstream = ROWS[name], upstream or rig.upstream
    script = Script(tuple(expand_flood(row["steps"])), **script)
    upstream.play(script)
    until(lambda: any(script.early or each.settled for each in upstream.heard), 30, "a warm connection")
    memory, spent = rig.cost.resident(), rig.cost.seconds()
    with Sibling(rig.address, "calm.test") as sibling:
        got = ask()
    limits = row["limits"]
    grown, spent = rig.cost.resident() - memory, rig.cost.seconds() - spent
    checks = {
        f"{grown:.1f} MiB": grown <= limits["rss_growth_mib"],
        f"{spent:.2f} s of processor time": spent <= limits["cpu_s"],
        f"a client beside it got {set(sibling.statuses)}": set(sibling.statuses) == {200},
    }
    return got, [f"{name}: {fact}" for fact, fine in checks.items() if not fine]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", EXPECTED)
def test_a_row(rig, name, version):
    got, broken = play(rig, name, lambda: rig.ask(version), once=name in ONCE)
    statuses, error = EXPECTED[name]
    assert not broken
    assert got.status in statuses, got.received
    if version == "HTTP/1.1" and got.status not in {200, ABORTED}:
        assert got.error == error
    assert b"set-cookie" not in got.received
    assert got.lives == (got.status != ABORTED or version == "HTTP/2"), "what is of one request is not of the next"
    codes = ROWS[name]["expectation"].get("goaway_codes")
    if codes:
        said = until(lambda: rig.upstream.heard[0].goaway, what="the app hears why")
        assert said[0] in codes
    if name not in ONCE:
        assert len(rig.upstream.requests) == 1, "a POST that may have been executed is sent once"


@pytest.mark.parametrize("name", FLOODS)
def test_a_request_that_may_be_sent_again_meets_the_flood_again(rig, name):
    got, broken = play(rig, name, lambda: rig.ask("HTTP/1.1", "GET"))
    assert not broken
    assert got.status in EXPECTED[name][0]
    assert len(rig.upstream.requests) <= 2


@pytest.mark.parametrize("name", ["ping", "settings", "window", "push"])
def test_an_app_that_floods_before_it_is_asked(rig, name):
    """The connection that is kept warm floods, and so does each that is dialled in its place."""
    got, broken = play(rig, name, lambda: rig.ask("HTTP/1.1"), early=True)
    assert not broken
    assert got.status in {502, 503}
    assert got.lives


def test_an_upload_that_the_app_gives_no_window_for(rig):
    """100 MiB that stall: what waits in between is bounded, and the client is held back."""

    def upload():
        with RawClient(rig.address) as client:
            client.send(b"POST /x HTTP/1.1\r\nhost: flooder.test\r\ncontent-length: %d\r\n\r\n" % (100 * MIB))
            sent = flood(client)
            assert sent < 16 * MIB  # what kernels keep on either side
            return Got(ABORTED, client.received)

    got, broken = play(rig, "window-0", upload, opens=False)
    assert not broken
    assert not got.received
    assert sum(heard.octets for heard in rig.upstream.heard) <= WINDOW
    assert rig.ask("HTTP/1.1", "GET").lives


def flood(client: RawClient) -> int:
    """Send until nothing more is taken."""
    sent, piece = 0, bytes(65536)
    client.sock.settimeout(SETTLED)
    try:
        while sent < 100 * MIB:
            sent += client.sock.send(piece)
    except TimeoutError:
        pass
    return sent


@pytest.mark.parametrize("early", [True, False])
def test_a_hundred_requests_to_an_app_that_takes_one_at_a_time(rig, early):
    """Where it says so before the first request nobody is refused; where it says so behind that, it must serve those
    that were under way."""
    streams = range(1, 201, 2)

    def ask():
        with H2RawClient(rig.address) as client:
            client.send(OPENING + b"".join(headers(each, head("queued.test", "POST"), end=True) for each in streams))
            client.read_until(lambda: all(map(client.is_over, streams)), 60)
            return client.answers()

    answers, broken = play(
        rig, "max-streams-1", ask, rig.queued, early=early, serves=True, streams=int(early), pause=0.002
    )
    assert not broken
    assert {stream: answer[0] for stream, answer in answers.items()} == dict.fromkeys(streams, 200)
    assert len(rig.queued.requests) == len(streams)
    assert sum(heard.refused for heard in rig.queued.heard) == 0


def test_an_app_that_takes_no_request_is_one_that_is_not_there(rig):
    got, broken = play(rig, "max-streams-0", lambda: rig.ask("HTTP/1.1"), early=True)
    assert not broken
    assert got.status == 503
    assert got.lives
    assert not rig.upstream.requests
