"""How much is there at this moment, in the words of the conventions: requests under way, connections to upstreams.

Counted by looking, every few seconds, because keeping count of them would cost every request.
"""

from collections import Counter
from typing import Final

from meshd.core.cells import OVERFLOW, Key
from meshd.core.exchange import Exchange
from meshd.telemetry.records import method_label, where_labels

MOST: Final = 500  # clusters that are told apart


class Levels:
    """One look: what there is, by metric and labels; what there is none of is not in it."""

    __slots__ = ("_clusters", "found")

    def __init__(self) -> None:
        self.found: Counter[Key] = Counter()
        self._clusters = 0

    def add_exchange(self, exchange: Exchange) -> None:
        """One that is under way."""
        scheme = "https" if exchange.peer.tls else exchange.head.scheme.decode("ascii", "backslashreplace")
        labels = (
            ("http.request.method", method_label(exchange.head.method)),
            ("url.scheme", scheme),
            ("meshd.direction", "inbound" if exchange.inbound else "outbound"),
        )
        self.found["http.server.active_requests", labels] += 1

    def add_cluster(self, name: str, active: int, idle: int) -> None:
        """The connections of one, which is added once."""
        if not active and not idle:
            return
        self._clusters += 1
        if self._clusters > MOST:
            self.found["http.client.open_connections", OVERFLOW] += active + idle
            return
        where = where_labels(name)
        for state, count in (("active", active), ("idle", idle)):
            if count:
                self.found["http.client.open_connections", (("http.connection.state", state), *where)] = count

    def __repr__(self) -> str:
        return f"<Levels {len(self.found)} found>"
