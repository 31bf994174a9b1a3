"""A client that goes on asking while something else happens, and what it got."""

import http.client
import threading
from typing import Self


class Sibling:
    """On a connection of its own; some requests a second for as long as the block lasts, and one at least."""

    def __init__(self, address: str, host: str = "") -> None:
        self._connection = http.client.HTTPConnection(address, timeout=5)
        self._fields = {"host": host} if host else {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.statuses: list[int] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)
        self._connection.close()

    def _run(self) -> None:
        while not self._over.is_set() or not self.statuses:
            self._connection.request("GET", "/sibling", headers=self._fields)
            answer = self._connection.getresponse()
            answer.read()
            self.statuses.append(answer.status)
            self._over.wait(0.02)
