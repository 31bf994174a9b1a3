"""A worker's account of its exchanges: every one counted, the ones that somebody will look at kept as records.

Theory of operation: `finish` runs once an exchange on the data path. Rule 1: one dictionary lookup finds all numbers of
exchanges that look alike (`Series`), made the first time such an exchange ends. Rule 2: only what is bounded goes into
that key: routes, clusters, known methods, statuses, flags, identities our own authorities vouch for; never a path, a
host or a header. Past the cap all new kinds share one series. Rule 3: records leave by the batch over a channel that
never waits; what it does not take is dropped and counted.
"""

import marshal
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from meshd.core.cells import OVERFLOW, Cells, Histogram, Key, Labels
from meshd.core.exchange import Exchange
from meshd.telemetry.record import PROTOCOLS, Record, Row, decode, record

Send: TypeAlias = Callable[[bytes], bool]
SeriesKey: TypeAlias = tuple[str, str, str, int, str, bytes, bytes, bytes, bool, bytes, bool, str, bool, str]

BATCH: Final = 64  # records in one message
MAX_AGE: Final = 0.5  # seconds that a record waits for its batch to fill
SERIES_CAP: Final = 1500

# The methods that semantic conventions call known: RFC 9110, PATCH and QUERY.
METHODS: Final = frozenset(b"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH QUERY".split())
OTHER: Final = b"_OTHER"
NO_STATUS: Final = "none"  # of a call of gRPC whose client got no status


class Series:
    """The numbers of all exchanges that are alike."""

    __slots__ = (
        "count",
        "duration",
        "labels",
        "messages_received",
        "messages_sent",
        "received",
        "reported",
        "rpc",
        "sent",
    )

    def __init__(self, labels: Labels, duration: Histogram, *, rpc: bool) -> None:
        self.labels = labels
        self.duration = duration  # shared by series that differ only in what the histogram does not tell apart
        self.count = 0
        self.received = 0
        self.sent = 0
        self.rpc = rpc  # these are calls of gRPC
        self.messages_received = 0
        self.messages_sent = 0
        self.reported = 0  # `count` when the controller last got it

    def totals(self) -> Iterator[tuple[Key, float]]:
        """The counters it stands for."""
        yield ("meshd.exchanges", self.labels), self.count
        yield ("meshd.exchange.received", self.labels), self.received
        yield ("meshd.exchange.sent", self.labels), self.sent
        if self.rpc:
            yield ("meshd.messages.received", self.labels), self.messages_received
            yield ("meshd.messages.sent", self.labels), self.messages_sent

    def __repr__(self) -> str:
        return f"<Series {dict(self.labels)} {self.count}>"


class Recorder:
    """One worker's."""

    __slots__ = ("_batch", "_calls", "_oldest", "_send", "_series", "cells", "clock_offset", "keep_all")

    def __init__(self, cells: Cells, send: Send, clock_offset: float, *, keep_all: bool) -> None:
        self.cells = cells
        self.clock_offset = clock_offset  # wall clock minus monotonic; whoever ticks keeps it right
        self.keep_all = keep_all  # an access log wants every exchange
        self._send = send
        self._series: dict[SeriesKey, Series] = {}
        self._calls: dict[tuple[str, int, str, bytes], Histogram] = {}
        self._batch: list[Row] = []
        self._oldest = 0.0

    def finish(self, exchange: Exchange, now: float) -> None:
        """Account for an exchange that has ended."""
        head, peer, route, verdict = exchange.head, exchange.peer, exchange.route, exchange.verdict
        method = head.method if head.method in METHODS else OTHER
        reply, rpc = exchange.reply, exchange.rpc
        key = (
            route.name if route is not None else "",
            route.template if route is not None else "",
            exchange.cluster,
            exchange.status,
            exchange.flags,
            method,
            head.protocol,
            head.scheme,
            exchange.inbound,
            peer.principal,
            bool(peer.tls),
            verdict.policy if verdict is not None else "",
            reply is not None,
            "" if rpc is None else NO_STATUS if rpc.status is None else str(rpc.status),
        )
        series = self._series.get(key)
        if series is None:
            series = self._new_series(key)
        series.count += 1
        series.received += exchange.bytes_received
        series.sent += exchange.bytes_sent
        if rpc is not None:
            series.messages_received += rpc.received.count
            series.messages_sent += rpc.sent.count
        series.duration.observe(exchange.ended - exchange.started)
        for attempt in exchange.attempts:
            call = (exchange.cluster, attempt.status, attempt.flag, method)
            histogram = self._calls.get(call)
            if histogram is None:
                histogram = self._new_call(call)
            histogram.observe((attempt.ended or exchange.ended) - attempt.started)
        trace = exchange.trace
        if self.keep_all or reply is not None or exchange.flags or (trace is not None and trace.sampled):
            self._keep(exchange, now)

    def refused(self, listener: str, code: str) -> None:
        """Count a connection that was not let in; there is no exchange to tell of it."""
        self.cells.add("meshd.connections.refused", (("meshd.listener", listener), ("error.type", code)))

    def broke_off(self, listener: str, cause: str) -> None:
        """Count a connection of HTTP/2 that was ended because of what its client did."""
        self.cells.add("meshd.connections.broken_off", (("meshd.listener", listener), ("error.type", cause)))

    def flush(self, now: float, *, force: bool = False) -> None:
        """Send a batch that has waited long enough; `force` sends whatever there is."""
        if self._batch and (force or now - self._oldest >= MAX_AGE):
            self._send_batch()

    def series(self) -> Iterator[Series]:
        """Every series, in the order they began."""
        return iter(self._series.values())

    def statistics(self) -> dict[str, int]:
        """How much is counted and waiting."""
        return {"series": len(self._series), "calls": len(self._calls), "waiting": len(self._batch)}

    def _keep(self, exchange: Exchange, now: float) -> None:
        batch = self._batch
        if not batch:
            self._oldest = now
        batch.append(record(exchange, self.clock_offset))
        if len(batch) >= BATCH:
            self._send_batch()

    def _send_batch(self) -> None:
        batch, self._batch = self._batch, []
        if not self._send(marshal.dumps(batch)):
            self.cells.add("meshd.telemetry.dropped", (("meshd.at", "worker"),), len(batch))

    def _new_series(self, key: SeriesKey) -> Series:
        if len(self._series) < SERIES_CAP:
            duration = self.cells.histogram("http.server.request.duration", duration_labels(key))
            found = self._series[key] = Series(series_labels(key), duration, rpc=bool(key[-1]))
            return found
        overflow = self._series.get(OVERFLOW_KEY)  # the one place beyond the cap, shared by all that is
        if overflow is None:
            overflow = Series(OVERFLOW, self.cells.histogram("http.server.request.duration", OVERFLOW), rpc=True)
            self._series[OVERFLOW_KEY] = overflow
        return overflow

    def _new_call(self, call: tuple[str, int, str, bytes]) -> Histogram:
        cluster, status, flag, method = call
        labels = [("http.request.method", method.decode()), ("server.address", cluster)]
        if status:
            labels.append(("http.response.status_code", str(status)))
        if status >= 400 or flag:
            labels.append(("error.type", flag or str(status)))
        found = self.cells.histogram("http.client.request.duration", tuple(labels))
        if len(self._calls) < SERIES_CAP:
            self._calls[call] = found
        return found

    def __repr__(self) -> str:
        return f"<Recorder {len(self._series)} series, {len(self._batch)} records waiting>"


OVERFLOW_KEY: Final[SeriesKey] = ("overflow", "", "", 0, "", b"", b"", b"", False, b"", False, "", False, "")


def series_labels(key: SeriesKey) -> Labels:
    """What the counters of exchanges tell apart."""
    route, _template, cluster, status, flags, method, protocol, _scheme, inbound, principal, tls, policy, own, rpc = key
    labels = (
        ("meshd.direction", "inbound" if inbound else "outbound"),
        ("meshd.route", route),
        ("meshd.cluster", cluster),
        ("http.request.method", method.decode()),
        ("http.response.status_code", str(status)),
        ("meshd.response_flags", flags),
        ("network.protocol.version", PROTOCOLS.get(protocol, "")),
        ("meshd.peer", principal.decode("utf-8", "backslashreplace")),
        ("meshd.tls", "true" if tls else "false"),
        ("meshd.policy", policy),
        ("meshd.reply", "proxy" if own else "app"),
    )
    return (*labels, ("rpc.system", "grpc"), ("rpc.grpc.status_code", rpc)) if rpc else labels


def duration_labels(key: SeriesKey) -> Labels:
    """What the duration histogram tells apart: the attributes of the stable convention, and which way and where to."""
    _route, template, cluster, status, flags, method, protocol, scheme, inbound, *_rest = key
    labels = [
        ("http.request.method", method.decode()),
        ("url.scheme", scheme.decode("ascii", "backslashreplace")),
        ("meshd.direction", "inbound" if inbound else "outbound"),
        ("meshd.cluster", cluster),
        ("network.protocol.version", PROTOCOLS.get(protocol, "")),
    ]
    if key[-1]:
        labels.append(("rpc.system", "grpc"))
    if template:
        labels.append(("http.route", template))
    if status:
        labels.append(("http.response.status_code", str(status)))
    if status >= 500:
        labels.append(("error.type", flags.partition(",")[0] or str(status)))
    return tuple(labels)


def decode_batch(payload: bytes) -> list[Record]:
    """The records of one message."""
    rows: list[Row] = marshal.loads(payload)  # noqa: S302  # a worker of our own wrote it
    return [decode(row) for row in rows]
