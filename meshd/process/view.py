"""The sidecar as operators see it: what the admin pages say, from the controller's memory."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from meshd import __version__
from meshd.admin.state import AdminState
from meshd.config.model import Resource
from meshd.core.cells import Key
from meshd.identity.own import own_fault
from meshd.process.board import Board, Status
from meshd.process.intake import Intake, gauge
from meshd.process.known_services import KnownServices
from meshd.process.start import Accepted
from meshd.telemetry.describe import Json
from meshd.telemetry.istio import Workload

EXPIRES_SOON = 0.1  # of a certificate's life


@dataclass(slots=True, eq=False)
class Standing:
    """What is served, and what stands in the way of serving what is on disk."""

    accepted: Accepted
    refused: dict[str, str]  # by part (bootstrap, documents, certificates): why the newest of it is not served
    is_retired: bool = False

    @property
    def is_ok(self) -> bool:
        """Whether the files on disk are what is served."""
        return not self.refused


class View:
    """The answers. `now` is the monotonic clock, `wall` the one that certificates go by."""

    def __init__(
        self, standing: Standing, board: Board, intake: Intake, *, now: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._standing = standing
        self._board = board
        self._intake = intake
        self._now = now
        self._wall = wall
        self._was_ready = False

    def state(self, *, drain: Callable[[], None], set_level: Callable[[str], None], listeners: Json) -> AdminState:
        """For the admin API."""
        telemetry = self._standing.accepted.proxy.spec.telemetry
        return AdminState(
            ready=self.ready,
            config=self.config,
            clusters=self.clusters,
            certificates=self.certificates,
            listeners=lambda: listeners,
            server_info=self.server_info,
            drain=drain,
            set_level=set_level,
            metrics=self._intake.metrics,
            recent=self._intake.recent,
            istio=self._workload() if telemetry is not None and telemetry.istio_metrics else None,
        )

    def _workload(self) -> Workload:
        proxy = self._standing.accepted.proxy
        services = KnownServices(lambda: self._standing.accepted)
        return Workload(proxy.name, proxy.namespace, proxy.spiffe_id, proxy.metadata.labels, services)

    def ready(self) -> tuple[bool, str]:
        """Whether traffic may come, and what an operator should know about it."""
        if self._board.drain_deadline:
            return False, "draining"
        self._was_ready = self._was_ready or self._board.is_ready
        if not self._was_ready:
            return False, "starting: the workers are not all ready yet"
        if not self._board.is_serving(self._now()):
            return False, "no worker answers"
        credentials = self._standing.accepted.credentials
        notes = [f"{part} on disk refused: {why.splitlines()[0]}" for part, why in self._standing.refused.items()]
        if credentials is not None:
            left = credentials.remaining(self._wall())
            if left <= 0:
                return False, "the certificate has expired"
            if fault := own_fault(credentials, self._wall()):
                return False, f"the certificate {fault}"
            if credentials.is_due(self._wall(), 1 - EXPIRES_SOON):
                notes.append(f"the certificate expires in {left:.0f} s")
        return True, "; ".join(["ready", *notes])

    def config(self) -> Json:
        """The documents that are served."""
        accepted = self._standing.accepted
        documents = [
            {"file": document.file, "line": document.where()[1], "document": dump(document.model)}
            for document in accepted.documents.each()
        ]
        return {
            "generation": accepted.generation,
            "proxy": dump(accepted.proxy),
            "sources": dict(accepted.loaded.sources),
            "documents": [*documents],
            "refused": dict(self._standing.refused),
        }

    def clusters(self) -> Json:
        """What each worker says of its clusters and pools."""
        return {f"worker-{slot}": state for slot, state in enumerate(self._intake.states)}

    def certificates(self) -> Json:
        """Ours; never the key."""
        credentials = self._standing.accepted.credentials
        if credentials is None:
            return []
        return [
            {
                "spiffeId": str(credentials.spiffe_id),
                "serial": credentials.serial,
                "fingerprint": credentials.fingerprint,
                "notBefore": _utc(credentials.not_before),
                "notAfter": _utc(credentials.not_after),
                "remainingSeconds": round(credentials.remaining(self._wall())),
            }
        ]

    def server_info(self) -> Json:
        """Version, processes, generation."""
        now = self._now()
        workers = [row.status() for row in self._board.workers]
        return {
            "version": __version__,
            "name": self._standing.accepted.proxy.name,
            "namespace": self._standing.accepted.proxy.namespace,
            "generation": self._standing.accepted.generation,
            "supervisor": os.getppid(),
            "controller": _process(self._board.controller.status(), now),
            "workers": [_process(status, now) for status in workers],
        }

    def gauges(self) -> Iterator[tuple[Key, float]]:
        """For `Metrics.watch`."""
        standing = self._standing
        yield gauge("meshd.generation", standing.accepted.generation)
        yield gauge("meshd.config.ok", float(standing.is_ok))
        yield gauge("meshd.ready", float(self.ready()[0]))
        if standing.accepted.credentials is not None:
            yield gauge("meshd.certificate.expiry", standing.accepted.credentials.not_after)

    def counters(self) -> Iterator[tuple[Key, float]]:
        """For `Metrics.watch`."""
        for slot, row in enumerate(self._board.workers):
            yield ("meshd.process.restarts", (("meshd.role", f"worker-{slot}"),)), row.status().restarts
        yield ("meshd.process.restarts", (("meshd.role", "controller"),)), self._board.controller.status().restarts
        yield from self._log_counters()

    def _log_counters(self) -> Iterator[tuple[Key, float]]:
        """What each process had to say and did not write."""
        rows = {f"worker-{slot}": row.status() for slot, row in enumerate(self._board.workers)}
        rows["controller"] = self._board.controller.status()
        counts = {role: (status.log_dropped, status.log_coalesced) for role, status in rows.items()}
        counts["supervisor"] = self._board.log_counts
        for role, (dropped, coalesced) in counts.items():
            labels = (("meshd.role", role),)
            yield ("meshd.log.dropped", labels), dropped
            yield ("meshd.log.coalesced", labels), coalesced


def dump(model: Resource) -> Json:
    """A document as plain data, without what it leaves to its defaults."""
    plain: Json = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return plain


def _process(status: Status, now: float) -> Json:
    return {
        "pid": status.pid,
        "phase": status.phase.name.lower(),
        "generation": status.generation,
        "responsive": status.is_responsive(now),
        "compiling": status.is_compiling,
        "restarts": status.restarts,
        "uptimeSeconds": round(now - status.started, 1) if status.pid else 0,
    }


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
