"""The customers: one round of requests after the other, each watched from the caller's side and from the app's."""

import http.client
import json
from dataclasses import dataclass
from itertools import count
from typing import Final

from meshd.demo.expectations import Seen
from meshd.demo.mesh import TRUST_DOMAIN, Mesh

READS: Final = 20  # a round
CALLER: Final = f"URI=spiffe://{TRUST_DOMAIN}/ns/default/sa/storefront"


@dataclass(frozen=True, slots=True)
class Told:
    """One answer, as the customer got it."""

    status: int
    body: bytes
    proxy_status: str


class Traffic:
    """Requests through a mesh, and what came of them."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.seen = Seen()
        self._numbers = count(1)

    def round(self) -> None:
        """Reads, one DELETE, one GET that fails once, one POST that always fails."""
        for _ in range(READS):
            self._read()
        self._delete()
        self._flaky_get()
        self._failing_post()

    def _read(self) -> None:
        told, seen = self._ask("GET", "/reviews/7"), self.seen
        answer = json.loads(told.body) if told.status == 200 else {}
        version = str(answer.get("version", f"status {told.status}"))
        seen.versions[version] = seen.versions.get(version, 0) + 1
        seen.allowed += told.status == 200
        seen.identified += CALLER in str(answer.get("caller", ""))

    def _delete(self) -> None:
        told, seen = self._ask("DELETE", "/reviews/7"), self.seen
        seen.denied_attempts += 1
        if told.status == 403:
            seen.denied += 1
            seen.denied_reason = told.proxy_status

    def _flaky_get(self) -> None:
        target = f"/reviews/7?once={next(self._numbers)}"
        told = self._ask("GET", target)
        self.seen.flaky += 1
        self.seen.retried += told.status == 200 and self._times("GET", target) == 2

    def _failing_post(self) -> None:
        target = f"/reviews?always={next(self._numbers)}"
        told = self._ask("POST", target, b'{"stars": 5}')
        self.seen.posts += 1
        self.seen.posts_failed += told.status == 503
        self.seen.posts_seen += self._times("POST", target)

    def _ask(self, method: str, target: str, body: bytes | None = None) -> Told:
        self.seen.requests += 1
        return ask(self.mesh.storefront, method, target, body)

    def _times(self, method: str, target: str) -> int:
        """How often a request reached either version, as the apps themselves counted."""
        total = 0
        for address in self.mesh.reviews.values():
            counted = json.loads(ask(address, "GET", "/seen").body)
            total += int(counted.get(f"{method} {target}", 0))
        return total


def ask(address: str, method: str, target: str, body: bytes | None = None) -> Told:
    """One request on a connection of its own; status 0 when there was no answer."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(method, target, body)
        response = connection.getresponse()
        return Told(response.status, response.read(), response.headers.get("proxy-status", ""))
    except (OSError, http.client.HTTPException) as error:
        return Told(0, str(error).encode(), "")
    finally:
        connection.close()
