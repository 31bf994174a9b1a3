"""Every adversarial HTTP/1.1 response of an app through a running sidecar, in one write and octet by octet.

`reject`: the client never sees a complete success. `accept`, `normalise`: it sees this status and body. `either`: one
of the two. For all: what a client on the same connection asks next is answered with nothing of what came before.
"""

import base64
import re
import socket

import pytest
from support.case_lanes import opened
from support.origin import Hangup, Origin, Recorded, Wire, ok
from support.shared import cases
from support.wire import RawClient

ROWS = cases("shared_h1_responses.jsonl") + cases("either_h1_responses.jsonl")
REQUESTS = {
    "GET": b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "HEAD": b"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST1M": b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1048576\r\n\r\n" + b"x" * 1024,
    "UPGRADE": b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
}
SECOND = b"GET /second HTTP/1.1\r\nHost: a.test\r\n\r\n"


class Script:
    """An app that answers with one row's bytes, and behaves for whatever is asked of it next."""

    def __init__(self) -> None:
        self.row: dict = {}
        self.step = 0

    def __call__(self, wire: Wire, request: Recorded) -> None:
        if request.target == "/second":
            wire.sock.sendall(ok(b"fine"))
            raise Hangup
        data = base64.b64decode(self.row["raw_b64"])
        step = self.step or len(data) or 1
        for at in range(0, len(data), step):
            wire.sock.sendall(data[at : at + step])
        if self.row["upstream_closes"]:
            wire.sock.shutdown(socket.SHUT_WR)
            raise Hangup

    def on_head(self, wire: Wire, request: Recorded) -> None:
        if self.row["request_method"] == "POST1M":
            self(wire, request)


def scripted() -> Origin:
    """An app that follows a script of its own."""
    script = Script()
    origin = Origin(script)
    origin.on_head = script.on_head
    return origin


@pytest.fixture(scope="module")
def lanes(shared_mesh):
    with opened(shared_mesh, scripted) as lanes:
        yield lanes


def run(row, script, address, step) -> str:
    """The verdict on one case: empty, or what went wrong."""
    script.row, script.step = row, step
    method = row["request_method"]
    methods = ["HEAD" if method == "HEAD" else "GET"]
    with RawClient(address) as client:
        client.send(REQUESTS[method])
        client.read_until(lambda: client.closed or finals(client, methods), 5)
        answers = finals(client, methods)
        whole = bool(answers) and intact(client, answers)
        if not client.closed and method != "POST1M":
            client.send(SECOND)
            client.read_until(lambda: client.closed or len(finals(client, methods)) > 1, 5)
            second = finals(client, methods)[1:]
            if not client.closed and [(each[0], each[2]) for each in second] != [(200, b"fine")]:
                return f"the next answer is {second}"
        if b"POISON" in client.received:
            return "poisoned"
    return judge(row, answers, whole=whole)


def finals(client, methods):
    return [each for each in client.responses(methods) if each[0] >= 200]


def intact(client, answers) -> bool:
    """Whether the first answer is whole; one that ends with the connection must not have been reset."""
    fields = answers[0][1]
    framed = "content-length" in fields or "transfer-encoding" in fields or answers[0][0] in (204, 304)
    return framed or not client.reset


def judge(row, answers, *, whole) -> str:
    status, fields, body = answers[0] if answers else (0, {}, b"")
    refused = status >= 500 or not whole
    if row["expect"] == "reject":
        return "" if refused else f"a whole {status} {body!r}"
    wanted = base64.b64decode(row["client_body_b64"]) if "client_body_b64" in row else None
    good = whole and status in row["client_status"] and (wanted is None or body == wanted)
    if row["expect"] == "either":
        return "" if refused or good else f"{status} {body!r}, neither refused nor as it should be"
    seen = [name for name in row.get("must_not_see", []) if name in fields]
    return f"sees {seen}" if seen else "" if good else f"{status} {body!r}, wanted {row['client_status']} {wanted!r}"


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 1], ids=["whole", "octets"])
def test_every_case(lanes, step):
    lanes.check(ROWS, lambda row, origin, address: run(row, origin.behave, address, step))


def test_the_ids_are_unique():
    assert len({row["id"] for row in ROWS}) == len(ROWS) > 90
    assert all(re.fullmatch(r"[\w.-]+", row["id"]) for row in ROWS)
