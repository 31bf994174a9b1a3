"""A worker's account of its exchanges: every one counted, the ones that somebody will look at kept as records.

Theory of operation: `finish` runs once an exchange on the data path. Rule 1: one dictionary lookup finds all numbers of
exchanges that look alike (`Series`), made the first time such an exchange ends. Rule 2: only what is bounded goes into
that key: routes, clusters, known methods, statuses, flags, identities our own authorities vouch for; never a path, a
host or a header. Past the cap all new kinds share one series. Rule 3: records leave by the batch over a channel that
never waits; what it does not take is dropped and counted.
"""

import marshal
from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

from meshd.core.cells import LONG_BOUNDARIES, OVERFLOW, SIZE_BOUNDARIES, Cells, Histogram, Key, Labels
from meshd.core.exchange import Exchange
from meshd.http.grpc import status_name
from meshd.telemetry.destination import destination_of
from meshd.telemetry.record import PROTOCOLS, Record, Row, decode, record

Send: TypeAlias = Callable[[bytes], bool]
# Cluster, status, flag, method, protocol of the connection, and how the call of gRPC that it is part of ended.
CallKey: TypeAlias = tuple[str, int, str, bytes, bytes, str]
# Durations, sizes of requests and of responses; durations of calls, where they are calls of gRPC.
Histograms: TypeAlias = tuple[Histogram, Histogram, Histogram, Histogram | None]
Calls: TypeAlias = tuple[Histogram, Histogram | None]  # durations of attempts, the same of calls of gRPC
SeriesKey: TypeAlias = tuple[str, str, str, int, str, bytes, bytes, bytes, bool, bytes, bool, str, bool, str, str]

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
        "request_size",
        "response_size",
        "rpc",
        "sent",
    )

    def __init__(self, labels: Labels, histograms: Histograms) -> None:
        self.labels = labels
        # Shared by series that differ only in what histograms do not tell apart.
        self.duration, self.request_size, self.response_size, self.rpc = histograms
        self.count = 0
        self.received = 0
        self.sent = 0
        self.messages_received = 0
        self.messages_sent = 0
        self.reported = 0  # `count` when the controller last got it

    def totals(self) -> Iterator[tuple[Key, float]]:
        """The counters it stands for."""
        yield ("meshd.exchanges", self.labels), self.count
        yield ("meshd.exchange.received", self.labels), self.received
        yield ("meshd.exchange.sent", self.labels), self.sent
        if self.rpc is not None:
            yield ("meshd.messages.received", self.labels), self.messages_received
            yield ("meshd.messages.sent", self.labels), self.messages_sent

    def __repr__(self) -> str:
        return f"<Series {dict(self.labels)} {self.count}>"


REFUSED_EVERY: Final = 0.1  # seconds between two records of refused connections


class Recorder:
    """One worker's."""

    __slots__ = (
        "_batch",
        "_calls",
        "_oldest",
        "_refused_at",
        "_send",
        "_series",
        "_shown",
        "cells",
        "clock_offset",
        "keep_all",
    )

    def __init__(self, cells: Cells, send: Send, clock_offset: float, *, keep_all: bool) -> None:
        self.cells = cells
        self.clock_offset = clock_offset  # wall clock minus monotonic; whoever ticks keeps it right
        self.keep_all = keep_all  # an access log wants every exchange
        self._send = send
        self._series: dict[SeriesKey, Series] = {}
        self._calls: dict[CallKey, Calls] = {}
        self._batch: list[Row] = []
        self._oldest = 0.0
        self._refused_at = float("-inf")
        self._shown: set[Key] = set()

    def finish(self, exchange: Exchange, now: float) -> None:
        """Account for an exchange that has ended."""
        head, peer, route, verdict = exchange.head, exchange.peer, exchange.route, exchange.verdict
        method = head.method if head.method in METHODS else OTHER
        reply, rpc, attempts = exchange.reply, exchange.rpc, exchange.attempts
        session = attempts[-1].tls if attempts else None
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
            "" if session is None else session[5],
            "" if rpc is None else NO_STATUS if rpc.status is None else status_name(rpc.status),
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
        duration = exchange.ended - exchange.arrived
        series.duration.observe(duration)
        series.request_size.observe_size(exchange.bytes_received)
        series.response_size.observe_size(exchange.bytes_sent)
        for attempt in attempts:
            call = (exchange.cluster, attempt.status, attempt.flag, method, attempt.protocol, key[14])
            durations = self._calls.get(call)
            if durations is None:
                durations = self._new_call(call)
            took = (attempt.ended or exchange.ended) - attempt.started
            durations[0].observe(took)
            if durations[1] is not None:
                durations[1].observe(took)
        trace = exchange.trace
        is_sampled = trace is not None and trace.sampled
        if is_sampled:
            assert trace is not None
            series.duration.exemplar = (duration, trace.trace_id, trace.span_id, now + self.clock_offset)
        if rpc is not None and series.rpc is not None:
            series.rpc.observe(duration)
            series.rpc.exemplar = series.duration.exemplar
        if is_sampled or self.keep_all or reply is not None or exchange.flags:
            self._keep(exchange, now)

    def refused(self, listener: str, code: str, exchange: Exchange | None = None) -> None:
        """Count a connection that was not let in. No exchange came of it; `exchange` stands for it in the records, a
        few a second at most: whoever is refused may come as often as it likes."""
        self.cells.add("meshd.connections.refused", (("meshd.listener", listener), ("error.type", code)))
        if exchange is not None and exchange.started >= self._refused_at + REFUSED_EVERY:
            self._refused_at = exchange.started
            self._keep(exchange, exchange.started)

    def gave_way(self, listener: str, state: str) -> None:
        """Count a connection that was ended to make room for another."""
        self.cells.add("meshd.connections.shed", (("meshd.listener", listener), ("meshd.state", state)))

    def parted(self, cluster: str, seconds: float) -> None:
        """Account for a connection to an upstream that has ended."""
        name = "http.client.connection.duration"
        self.cells.histogram(name, where_labels(cluster), LONG_BOUNDARIES).observe(seconds)

    def show(self, levels: Mapping[Key, int]) -> None:
        """What there is at this moment; of what there was before and is not any more, there is none."""
        for name, labels in self._shown - levels.keys():
            self.cells.set(name, 0, labels)
        for (name, labels), value in levels.items():
            self.cells.set(name, value, labels)
        self._shown = set(levels)

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
            found = self._series[key] = Series(series_labels(key), self._histograms(key, duration_labels(key)))
            return found
        overflow = self._series.get(OVERFLOW_KEY)  # the one place beyond the cap, shared by all that is
        if overflow is None:
            overflow = Series(OVERFLOW, self._histograms(OVERFLOW_KEY, OVERFLOW))
            self._series[OVERFLOW_KEY] = overflow
        return overflow

    def _histograms(self, key: SeriesKey, labels: Labels) -> Histograms:
        cells = self.cells
        rpc = None
        if key[-1]:
            rpc = cells.histogram("rpc.server.call.duration", call_labels(key) if labels is not OVERFLOW else OVERFLOW)
        return (
            cells.histogram("http.server.request.duration", labels),
            cells.histogram("http.server.request.body.size", labels, SIZE_BOUNDARIES),
            cells.histogram("http.server.response.body.size", labels, SIZE_BOUNDARIES),
            rpc,
        )

    def _new_call(self, call: CallKey) -> Calls:
        cells, rpc = self.cells, None
        if call[-1]:
            rpc = cells.histogram("rpc.client.call.duration", attempt_call_labels(call))
        found = (cells.histogram("http.client.request.duration", attempt_labels(call)), rpc)
        if len(self._calls) < SERIES_CAP:
            self._calls[call] = found
        return found

    def __repr__(self) -> str:
        return f"<Recorder {len(self._series)} series, {len(self._batch)} records waiting>"


OVERFLOW_KEY: Final[SeriesKey] = ("overflow", "", "", 0, "", b"", b"", b"", False, b"", False, "", False, "", "UNKNOWN")


def series_labels(key: SeriesKey) -> Labels:
    """What the counters of exchanges tell apart."""
    route, _template, cluster, status, flags, method, protocol, _scheme, inbound, principal = key[:10]
    tls, policy, own, server, rpc = key[10:]
    labels: Labels = (
        ("meshd.direction", "inbound" if inbound else "outbound"),
        ("meshd.route", route),
        ("meshd.cluster", cluster),
        ("http.request.method", method.decode()),
        ("http.response.status_code", str(status) if status else ""),
        ("meshd.response_flags", flags),
        ("network.protocol.version", PROTOCOLS.get(protocol, "")),
        ("meshd.peer", principal.decode("utf-8", "backslashreplace")),
        ("meshd.tls", "true" if tls else "false"),
        ("meshd.policy", policy),
        ("meshd.reply", "proxy" if own else "app"),
        ("meshd.upstream_peer", server),
    )
    labels = (*labels, ("rpc.system.name", "grpc"), ("rpc.response.status_code", rpc)) if rpc else labels
    return tuple(label for label in labels if label[1])


def duration_labels(key: SeriesKey) -> Labels:
    """What the histograms tell apart: the attributes of the stable convention, and which way and where to."""
    _route, template, cluster, status, flags, method, protocol, scheme, inbound, _peer, tls, *_rest = key
    labels = (
        ("http.request.method", method.decode()),
        ("url.scheme", "https" if tls else scheme.decode("ascii", "backslashreplace")),
        ("meshd.direction", "inbound" if inbound else "outbound"),
        ("meshd.cluster", cluster),
        ("network.protocol.version", PROTOCOLS.get(protocol, "")),
        ("rpc.system.name", "grpc" if key[-1] else ""),
        ("http.route", template),
        ("http.response.status_code", str(status) if status else ""),
        ("error.type", flags.partition(",")[0] or str(status) if status >= 500 else ""),
    )
    return tuple(label for label in labels if label[1])


def call_labels(key: SeriesKey) -> Labels:
    """What is told apart of calls of gRPC. A method only where a route names it, or clients would make up labels."""
    template, cluster, inbound, ended = key[1], key[2], key[8], key[14]
    labels = (
        ("rpc.system.name", "grpc"),
        ("rpc.method", "" if "*" in template else template.removeprefix("/")),
        ("rpc.response.status_code", "" if ended == NO_STATUS else ended),
        ("error.type", "" if ended in (NO_STATUS, "OK") else ended),
        ("meshd.direction", "inbound" if inbound else "outbound"),
        ("meshd.cluster", cluster),
    )
    return tuple(label for label in labels if label[1])


def attempt_labels(call: CallKey) -> Labels:
    """What is told apart of attempts: by where they went, which is the service and not what a client wrote."""
    cluster, status, flag, method, protocol, _rpc = call
    labels = (
        ("http.request.method", method.decode()),
        ("http.response.status_code", str(status) if status else ""),
        ("error.type", flag or (str(status) if status >= 400 else "")),
        ("network.protocol.version", PROTOCOLS.get(protocol, "")),
        *where_labels(cluster),
    )
    return tuple(label for label in labels if label[1])


def attempt_call_labels(call: CallKey) -> Labels:
    """The same of attempts at a call of gRPC."""
    cluster, _status, flag, _method, _protocol, rpc = call
    ended = "" if rpc == NO_STATUS else rpc
    labels = (
        ("rpc.system.name", "grpc"),
        ("rpc.response.status_code", ended),
        ("error.type", flag or ("" if ended == "OK" else ended)),
        *where_labels(cluster),
    )
    return tuple(label for label in labels if label[1])


def where_labels(cluster: str) -> Labels:
    """Where a cluster is."""
    host, port, _service, _namespace = destination_of(cluster)
    labels = (("server.address", host), ("server.port", str(port) if port else ""), ("meshd.cluster", cluster))
    return tuple(label for label in labels if label[1])


def method_label(method: bytes) -> str:
    """A known method as it is; all others have one name, so that labels stay few."""
    return (method if method in METHODS else OTHER).decode()


def decode_batch(payload: bytes) -> list[Record]:
    """The records of one message."""
    rows: list[Row] = marshal.loads(payload)  # noqa: S302  # a worker of our own wrote it
    return [decode(row) for row in rows]
