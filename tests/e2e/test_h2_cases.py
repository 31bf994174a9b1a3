"""Every adversarial HTTP/2 request through a running sidecar to an HTTP/1.1 app, in one write and octet by octet.

`reject`: nothing complete reaches the app, and the stream, or its connection, says so. `accept`, `normalise`: exactly
these requests arrive. `either`: one of the two. For all: what is written upstream is strictly valid HTTP/1.1, and a
request behind the bad one on the same connection is served as always.
"""

import base64

import pytest
from support.case_lanes import opened
from support.forwarded import arrived_as, strictly_valid
from support.h2_raw import H2RawClient
from support.http2 import headers
from support.shared import cases

ROWS = cases("shared_h2_downgrade.jsonl") + cases("either_h2_downgrade.jsonl")
SIBLING = 4097  # a stream that no case uses
SOUND = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/sibling")]
RESET_BY_CLIENT = "h2-rst-midbody"  # nothing is left to be answered


@pytest.fixture(scope="module")
def lanes(shared_mesh):
    with opened(shared_mesh) as lanes:
        yield lanes


def run(row, octets, origin, address, step) -> str:
    """The verdict on one case: empty, or what went wrong."""
    origin.take()
    with H2RawClient(address) as client:
        client.send(octets, step)
        answered = row["id"] == RESET_BY_CLIENT or client.read_until(lambda: client.is_over(1), 5)
        if not answered:
            return "no answer, no reset"
        alive = not client.closed and client.goaway() is None
        if alive:
            client.send(headers(SIBLING, SOUND, end=True))
            client.read_until(lambda: client.is_over(SIBLING), 5)
        answers = client.answers()
        refused = row["id"] == RESET_BY_CLIENT or client.reset_code(1) is not None or not alive
        status = answers.get(1, (0, b"", False))[0]
    seen = origin.take()
    if alive and answers.get(SIBLING) != (200, b"ok", True):
        return f"a request behind it got {answers.get(SIBLING)}, GOAWAY {client.goaway()}"
    siblings = [each for each in seen if each.target == "/sibling"]
    if len(siblings) != alive:
        return f"{len(siblings)} siblings arrived"
    return judge(row, [each for each in seen if each not in siblings], status, refused=refused)


def judge(row, seen, status, *, refused) -> str:
    """What is wrong with how the requests `seen` by the app and the answer to the client turned out."""
    complete = [each for each in seen if each.complete]
    for each in seen:
        if wrong := strictly_valid(each.raw):
            return f"written upstream: {wrong}"
    rejected = _rejected(row, complete, status, refused=refused)
    if row["expect"] == "reject":
        return rejected
    wanted = row.get("forward") or row.get("if_accepted")
    why = arrived_as(complete, wanted) if wanted else "" if complete else "nothing arrived"
    if not why and status != 200:
        why = f"answered {status}"
    if why and row["expect"] == "either":
        return f"neither accepted ({why}) nor rejected ({rejected})" if rejected else ""
    return why or _fields(wanted, complete)


def _rejected(row, complete, status, *, refused) -> str:
    most = row.get("upstream_at_most") or {"requests": 0}
    if len(complete) > most["requests"]:
        return f"reached the app: {[each.raw for each in complete]}"
    if any(each.body != base64.b64decode(most["body_b64"]) for each in complete):
        return f"reached the app with a body: {[each.raw for each in complete]}"
    if not refused and status < 400:
        return f"answered {status}"
    return ""


def _fields(wanted, complete) -> str:
    for want, got in zip(wanted or [], complete, strict=False):
        for name, value in want.get("headers", {}).items():
            if got.header(name) != value:
                return f"{name} is {got.header(name)!r}, wanted {value!r}"
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 1], ids=["whole", "octets"])
@pytest.mark.parametrize("scheme", ["raw_b64", "raw_http_b64"], ids=["https", "http"])
def test_every_case(lanes, step, scheme):
    lanes.check(ROWS, lambda row, origin, address: run(row, base64.b64decode(row[scheme]), origin, address, step))


def test_there_are_cases():
    assert len(ROWS) > 170
