"""Trace context in and out: which trace a request belongs to, and whether its spans are recorded.

Runs in the worker for every request, so it parses by hand and imports no SDK. Sources: W3C Trace Context level 2
(https://www.w3.org/TR/trace-context-2/), openzipkin/b3-propagation (single header, read only), and OpenTelemetry's
"TraceState: Probability Sampling", whose rule (keep when the low 56 bits of the trace id are at or above a threshold)
makes every proxy with the same ratio decide alike without asking the others.
"""

import re
from typing import Final, Protocol

from meshd.core.head import RequestHead
from meshd.core.trace import TraceContext

STATE_LIMIT: Final = 512  # octets of tracestate that are passed on (W3C section 3.3.1.5)
ENTRY_LIMIT: Final = 128  # list members longer than this are the first to go
SAMPLED: Final = 0x01
MASK_56: Final = (1 << 56) - 1
MASK_64: Final = (1 << 64) - 1
STEP: Final = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: consecutive multiples are far apart and never zero

LENGTH: Final = 55  # of a version 00 traceparent
DASH: Final = ord("-")
HEX: Final = b"0123456789abcdef"  # lower case only (W3C section 3.2.2)
_LATER_VERSION: Final = re.compile(rb"(?!00|ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-[\x20-\x7e]*)?")
_B3: Final = re.compile(rb"([0-9a-fA-F]{16}(?:[0-9a-fA-F]{16})?)-([0-9a-fA-F]{16})(?:-([01d]))?(?:-[0-9a-fA-F]{16})?")
_B3_STATES: Final = {b"0": False, b"1": True, b"d": True}


class RandomBits(Protocol):
    """Where identifiers come from; `random.Random` is one."""

    def getrandbits(self, k: int, /) -> int:
        """An integer of `k` random bits."""


class Sampler:
    """Parent-based: the caller's decision stands; a trace that starts here is kept with the given ratio."""

    __slots__ = ("ratio", "threshold")

    def __init__(self, ratio: float) -> None:
        if not 0 <= ratio <= 1:
            raise ValueError(f"sampling: got {ratio!r}, expected a ratio from 0 to 1")
        self.ratio = ratio
        self.threshold = (1 << 56) - round(ratio * (1 << 56))

    def sample(self, trace_id: int) -> bool:
        """Whether a trace that starts with this id is recorded; the same answer wherever the ratio is the same."""
        return (trace_id & MASK_56) >= self.threshold

    def __repr__(self) -> str:
        return f"<Sampler {self.ratio:g}>"


def start_trace(head: RequestHead, sampler: Sampler, random: RandomBits) -> TraceContext:
    """The trace that this request belongs to: its caller's, or a new one when it names none that is valid.

    A tracestate that may not go on as it is (too long, or of no valid parent) is replaced in `head` or taken out of it.
    """
    parent = b3 = state = None
    for name, value in head.headers:
        if name == b"traceparent":
            parent = value if parent is None else b""  # two of them are none (W3C section 3.2)
        elif name == b"tracestate":
            state = value if state is None else state + b"," + value
        elif name == b"b3":
            b3 = value
    if parent is not None and (found := parse_traceparent(parent)) is not None:
        trace_id, parent_id, sampled = found
        span_id = random.getrandbits(64) or 1
        trace = TraceContext(trace_id, span_id, parent_id=parent_id, sampled=sampled)
        if state is not None:
            trace.state = bound_state(state)
            if len(trace.state) != len(state):
                _replace_state(head, trace.state)
        return trace
    if state is not None:
        _replace_state(head, b"")
    if b3 is not None:
        return _from_b3(b3, sampler, random)
    trace_id = random.getrandbits(128) or 1
    span_id = random.getrandbits(64) or 1
    return TraceContext(trace_id, span_id, sampled=(trace_id & MASK_56) >= sampler.threshold)


def parse_traceparent(value: bytes) -> tuple[int, int, bool] | None:
    """Trace id, parent span id and the sampled flag; None when it is not valid, and then it must be ignored whole.

    A version we do not know is read as far as version 00 goes (W3C section 3.2.4).
    """
    if len(value) == LENGTH and value[:3] == b"00-" and value[35] == value[52] == DASH:
        if value.translate(None, HEX) != b"---":
            return None
    elif not _LATER_VERSION.fullmatch(value):
        return None
    trace_id, parent_id = int(value[3:35], 16), int(value[36:52], 16)
    if not trace_id or not parent_id:
        return None
    return trace_id, parent_id, bool(int(value[53:55], 16) & SAMPLED)


def format_traceparent(trace_id: int, span_id: int, *, sampled: bool) -> bytes:
    """The header for the next hop; `span_id` is the span that the next hop's own hangs under."""
    return b"00-%032x-%016x-%02x" % (trace_id, span_id, sampled)


def attempt_span_id(span_id: int, number: int) -> int:
    """The id of the CLIENT span of attempt `number` (from 1) under the SERVER span `span_id`.

    Derived and not drawn, so that the header can be rendered before the attempt exists and the span built after it
    ended, in another process, without either remembering anything.
    """
    return (span_id + number * STEP) & MASK_64 or STEP


def hang_under(head: RequestHead, trace: TraceContext, number: int) -> None:
    """Let `head`, which carries the traceparent of an earlier attempt, carry that of attempt `number`; a head that a
    policy has rid of it stays without."""
    parent = format_traceparent(trace.trace_id, attempt_span_id(trace.span_id, number), sampled=trace.sampled)
    head.headers = [(name, parent if name == b"traceparent" else value) for name, value in head.headers]
    head.changed()


def bound_state(state: bytes) -> bytes:
    """The tracestate to pass on: past 512 octets whole members go, long ones first, then from the end."""
    if len(state) <= STATE_LIMIT:
        return state
    members = [member for member in state.split(b",") if len(member) <= ENTRY_LIMIT]
    while members and sum(map(len, members)) + len(members) - 1 > STATE_LIMIT:
        members.pop()
    return b",".join(members)


def _replace_state(head: RequestHead, state: bytes) -> None:
    head.headers = [field for field in head.headers if field[0] != b"tracestate"]
    if state:
        head.headers.append((b"tracestate", state))
    head.changed()


def _span_id(random: RandomBits) -> int:
    return random.getrandbits(64) or 1


def _from_b3(value: bytes, sampler: Sampler, random: RandomBits) -> TraceContext:
    """B3's single header. A bare `0`, `1` or `d` decides without naming a trace; one that is not valid is no header."""
    if (decided := _B3_STATES.get(value)) is not None:
        return TraceContext(random.getrandbits(128) or 1, _span_id(random), sampled=decided)
    match = _B3.fullmatch(value)
    trace_id, parent_id = (int(match[1], 16), int(match[2], 16)) if match is not None else (0, 0)
    if match is None or not trace_id or not parent_id:
        trace_id = random.getrandbits(128) or 1
        return TraceContext(trace_id, _span_id(random), sampled=sampler.sample(trace_id))
    state = match[3]
    sampled = sampler.sample(trace_id) if state is None else _B3_STATES[state]
    return TraceContext(trace_id, _span_id(random), parent_id=parent_id, sampled=sampled)
