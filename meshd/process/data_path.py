"""The data path of a worker: the proxy's server, under the snapshot that the accepted set compiles to."""

from collections.abc import Callable, Mapping

from meshd.compile import compile_snapshot
from meshd.core.exchange import Exchange
from meshd.filters.key_ring import KeyRing
from meshd.process.start import Accepted, WorkerStart
from meshd.proxy.server import Server
from meshd.snapshot import Snapshot
from meshd.telemetry.records import Recorder
from meshd.telemetry.tracing import Sampler
from meshd.workload import Shared


def compile_accepted(accepted: Accepted, before: Snapshot | None = None, *, shared: Shared | None = None) -> Snapshot:
    """The snapshot of a set; what did not change is taken over from the one before. Raises ConfigError."""
    return compile_snapshot(accepted.proxy, accepted.documents, accepted.credentials, before, shared=shared)


class ServerPath:
    """A server, and how it comes to another snapshot."""

    __slots__ = ("_server", "_shared")

    def __init__(self, start: WorkerStart, recorder: Recorder) -> None:
        accepted = start.accepted
        telemetry = accepted.proxy.spec.telemetry
        self._shared = Shared(start.board.buckets.of(start.slot), KeyRing(accepted.keys.texts))
        snapshot = compile_accepted(accepted, shared=self._shared)
        sampler = Sampler(telemetry.sampling if telemetry else 0.0)
        self._server = Server(snapshot, start.sockets, recorder, sampler)

    async def run(self, *, ready: Callable[[], None]) -> None:
        """Serve until drained."""
        await self._server.run(ready=ready)

    def part_from_app(self) -> None:
        """Let an app that was told to end see that we hold nothing."""
        self._server.part_from_app()

    async def drain(self, deadline: float) -> None:
        """Stop accepting, and end what is left at the deadline."""
        await self._server.drain(deadline)

    def adopt(self, accepted: Accepted) -> None:
        """Compile, then swap. Raises ConfigError, and goes on under the snapshot it has."""
        self._server.swap(compile_accepted(accepted, self._server.snapshot, shared=self._shared))

    def take_keys(self, texts: Mapping[str, str]) -> None:
        """Verify tokens by these key sets from now on; nothing is compiled for it."""
        self._shared.key_ring.update(texts)

    def wanted_keys(self) -> list[str]:
        """The key sets that a token's key was missing from since this was asked last."""
        return self._shared.key_ring.take_wanted()

    def under_way(self) -> list[Exchange]:
        """The exchanges that have begun and not ended."""
        return self._server.under_way()

    def statistics(self) -> dict[str, object]:
        """The server's."""
        return self._server.statistics()

    def __repr__(self) -> str:
        return f"<ServerPath {self._server!r}>"
