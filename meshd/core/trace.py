"""The trace an exchange belongs to (W3C Trace Context)."""


class TraceContext:
    """Where our spans hang: the caller's span above, our own span, and whether they are recorded."""

    __slots__ = ("parent_id", "sampled", "span_id", "state", "trace_id")

    def __init__(self, trace_id: int, span_id: int, *, parent_id: int = 0, sampled: bool = False) -> None:
        self.trace_id = trace_id  # 128 bits
        self.span_id = span_id  # 64 bits: our SERVER span (outbound: the parent of the CLIENT spans)
        self.parent_id = parent_id  # 64 bits: the caller's span, 0 when the trace starts here
        self.sampled = sampled
        self.state = b""  # tracestate, passed on as it came

    def __repr__(self) -> str:
        return f"<TraceContext {self.trace_id:032x} {self.span_id:016x} {'sampled' if self.sampled else 'not sampled'}>"
