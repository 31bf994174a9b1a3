"""Every adversarial HTTP/1.1 request through a running sidecar, in one write and octet by octet.

`reject`: nothing complete reaches the app but legal requests in front, and the connection ends. `accept`, `normalise`:
exactly these requests arrive. `either`: one of the two. For all: what is written upstream is strictly valid.
"""

import base64
import json

import pytest
from support.case_lanes import opened
from support.forwarded import arrived_as, one_of, strictly_valid
from support.shared import cases
from support.wire import RawClient

ROWS = cases("shared_h1_requests.jsonl") + cases("either_h1_requests.jsonl")
OCTET_BY_OCTET_LIMIT = 4000  # longer requests go in pieces of a prime size instead


def raw(row) -> bytes:
    if "raw_gen" in row:
        parts = row["raw_gen"]
        prefix, repeat, suffix = (base64.b64decode(parts[f"{key}_b64"]) for key in ("prefix", "repeat", "suffix"))
        return prefix + repeat * parts["count"] + suffix
    return base64.b64decode(row["raw_b64"])


@pytest.fixture(scope="module")
def lanes(shared_mesh):
    with opened(shared_mesh) as lanes:
        yield lanes


SETTINGS = b"\x04\x00"  # type and flags of the frame that a server of HTTP/2 begins with


def run(row, origin, address, step) -> str:
    """The verdict on one case: empty, or what went wrong."""
    origin.take()
    wanted = row.get("forward") or row.get("if_accepted") or []
    methods = [want["method"] for want in wanted]
    with RawClient(address) as client:
        client.send(raw(row), step)

        def finals():
            return [each for each in client.responses(methods) if each[0] >= 200]

        def over():
            answers = finals()
            return client.closed or (wanted and len(answers) >= len(wanted)) or any(a[0] >= 400 for a in answers)

        client.read_until(over, 0.4 if row.get("incomplete") else 5)
        answers = finals()
        refused = client.closed or any(each[0] >= 400 for each in answers)
        if refused and not row.get("incomplete"):
            client.read_until(lambda: client.closed, 3)
        closed = client.closed
        if not closed:  # until the sidecar is done with all that was sent: what arrives later is not the next case's
            client.end()
            client.read_until(lambda: client.closed, 3)
        answers = finals()
    return judge(row, origin.take(), answers, closed=closed, switched=client.received[3:5] == SETTINGS)


def judge(row, seen, answers, *, closed, switched=False) -> str:
    """What is wrong with how the requests `seen` by the app and the `answers` to the client turned out."""
    complete = [each for each in seen if each.complete]
    for each in seen:
        if wrong := strictly_valid(each.raw):
            return f"written upstream: {wrong}"
    if row["expect"] == "reject":
        return _rejected(row, complete, answers, row.get("allowed_before") or [], closed=closed, switched=switched)
    wanted = row.get("forward") or row.get("if_accepted")
    why = arrived_as(complete, wanted) if wanted else "" if complete else "nothing arrived"
    if not why and any(each[0] != 200 for each in answers):
        why = f"answers {[each[0] for each in answers]}"
    if why and row["expect"] == "either":
        refusal = _rejected(row, complete, answers, (wanted or [])[:-1], closed=closed, switched=switched)
        return f"neither accepted ({why}) nor rejected ({refusal})" if refusal else ""
    return why or _fields(row, complete)


def _rejected(row, complete, answers, before, *, closed, switched) -> str:
    if why := arrived_as(complete, before[: len(complete)]):
        return f"reached the app: {why}"
    if row.get("incomplete"):
        return ""
    if not closed and not switched:
        return f"the connection stays open after {[each[0] for each in answers]}"
    last = answers[-1][0] if answers else None
    if last is not None and last < 400 and len(answers) > len(complete):
        return f"answered {last}"
    return ""


def _fields(row, complete) -> str:
    if not complete:
        return ""
    got: dict[str, list[str]] = {}
    for name, value in [*complete[-1].headers, *complete[-1].trailers]:
        got.setdefault(name.lower(), []).append(value)
    for name in row.get("must_not_forward", []):
        if name.lower() in got:
            return f"forwarded {name}"
    for name, value in row.get("must_forward", {}).items():
        values = got.get(name.lower(), [])
        # A list is of alternatives, in words where a field may stay in several lines.
        given = {
            ", ".join(values),
            "; ".join(values),
            f"{', '.join(values)} (as two lines)",
            *([""] if not values else []),
        }
        if not given & set(one_of(value)):
            return f"{name} is {values}, wanted {value!r}"
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["whole", "octets"])
def test_every_case(lanes, way):
    def check(row, origin, address) -> str:
        step = 0 if way == "whole" else (1 if len(raw(row)) <= OCTET_BY_OCTET_LIMIT else 1009)
        return run(row, origin, address, step)

    lanes.check(ROWS, check)


def test_there_are_cases():
    assert len(ROWS) > 700, json.dumps(len(ROWS))
