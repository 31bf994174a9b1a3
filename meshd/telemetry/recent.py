"""The last records, kept for `meshd explain` and the admin API. Bounded by number and by octets."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from meshd.telemetry.record import Record

COUNT: Final = 1000
OCTETS: Final = 8 * 1024 * 1024


class Recent:
    """A ring of records, newest last. Refusals have a ring of their own, so that traffic does not wash them away."""

    __slots__ = ("_all", "_denied")

    def __init__(self, count: int = COUNT, octets: int = OCTETS) -> None:
        self._all = _Ring(count, octets)
        self._denied = _Ring(max(1, count // 10), octets // 10)

    def add(self, records: Iterable[Record]) -> None:
        """Remember them; the oldest go."""
        for record in records:
            self._all.add(record)
            if record.denied:
                self._denied.add(record)

    def latest(self, count: int = 50) -> list[Record]:
        """The newest, newest first."""
        return self._all.newest(count, lambda _: True)

    def denied(self, count: int = 50) -> list[Record]:
        """The newest that an authorization policy refused."""
        return self._denied.newest(count, lambda _: True)

    def by_request_id(self, request_id: str, count: int = 50) -> list[Record]:
        """Those of one request."""
        return self._find(count, lambda record: record.request_id == request_id)

    def by_trace_id(self, trace_id: str, count: int = 50) -> list[Record]:
        """Those of one trace, given in hex."""
        try:
            wanted = int(trace_id, 16)
        except ValueError:
            return []
        return self._find(count, lambda record: record.trace is not None and record.trace.trace_id == wanted)

    def statistics(self) -> dict[str, int]:
        """How full the rings are."""
        return {"records": len(self._all.records), "octets": self._all.octets, "denied": len(self._denied.records)}

    def _find(self, count: int, wanted: Callable[[Record], bool]) -> list[Record]:
        found = self._all.newest(count, wanted)
        seen = set(map(id, found))
        older = [record for record in self._denied.newest(count, wanted) if id(record) not in seen]
        return (found + older)[:count]

    def __repr__(self) -> str:
        return f"<Recent {len(self._all.records)} records, {len(self._denied.records)} denied>"


class _Ring:
    __slots__ = ("count", "limit", "octets", "records")

    def __init__(self, count: int, limit: int) -> None:
        self.count = count
        self.limit = limit
        self.octets = 0
        self.records: deque[Record] = deque()

    def add(self, record: Record) -> None:
        self.records.append(record)
        self.octets += record.weight
        while len(self.records) > self.count or (self.octets > self.limit and len(self.records) > 1):
            self.octets -= self.records.popleft().weight

    def newest(self, count: int, wanted: Callable[[Record], bool]) -> list[Record]:
        found: list[Record] = []
        for record in reversed(self.records):
            if len(found) >= count:
                break
            if wanted(record):
                found.append(record)
        return found
