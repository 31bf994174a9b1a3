"""The data path of a worker: the proxy's server, under the snapshot that the accepted set compiles to."""

from collections.abc import Callable, Mapping

from meshd.compile import compiling
from meshd.config.downstream import Downstream
from meshd.config.header_limits import RequestHeaders
from meshd.config.proxy import Proxy
from meshd.core.exchange import Exchange
from meshd.core.steps import Steps, run
from meshd.filters.buckets import OCTETS, Buckets
from meshd.filters.key_ring import KeyRing
from meshd.http.limits import Limits
from meshd.memory import Memory
from meshd.net.pace import between_requests
from meshd.process import descriptors
from meshd.process.clock import monotonic
from meshd.process.pace import with_signs_of_life
from meshd.process.start import Accepted, WorkerStart
from meshd.proxy.listener import ConnectionLimits
from meshd.proxy.server import Server
from meshd.snapshot import Snapshot
from meshd.telemetry.records import Recorder
from meshd.telemetry.tracing import Sampler
from meshd.unserved import refuse_unserved
from meshd.workload import Shared, Workload


class Compiler:
    """Sees of every set that it can be compiled, and keeps what it made of it: for the next set, and for workers, which
    are forked from where it ran."""

    __slots__ = ("_memory", "_proxy", "_shared", "_snapshot")

    def __init__(self) -> None:
        self._shared = Shared(Buckets(bytearray(OCTETS)), KeyRing())
        self._memory = Memory()
        self._proxy: Proxy | None = None  # for which it remembers
        self._snapshot: Snapshot | None = None

    def __call__(self, accepted: Accepted) -> None:
        """Compile. Raises ConfigError."""
        if accepted.proxy != self._proxy:
            self._proxy, self._memory, self._snapshot = accepted.proxy, Memory(), None
        refuse_unserved(accepted.documents)
        workload = Workload(accepted.proxy, accepted.documents, self._memory.random, self._shared)
        self._snapshot = run(compiling(workload, accepted.credentials, self._snapshot, self._memory))

    def memory(self, proxy: Proxy) -> Memory:
        """For a process that was just forked."""
        return self._memory.copy() if proxy == self._proxy else Memory()

    def __repr__(self) -> str:
        return f"<Compiler {self._memory!r}>"


def limits_of(downstream: Downstream, heads: RequestHeaders) -> ConnectionLimits:
    """What the document allows clients, and the system us."""
    return ConnectionLimits(
        heads=Limits(heads.size, heads.line, heads.count),
        idle=downstream.idle_timeout,
        head_timeout=downstream.request_headers_timeout,
        handshake=downstream.handshake_timeout,
        connections=descriptors.connections(downstream.max_connections),
        turned_away=max(descriptors.FEWEST, min(64, descriptors.limit() // 32)),
    )


class ServerPath:
    """A server, and how it comes to another snapshot."""

    __slots__ = ("_memory", "_server", "_shared")

    def __init__(self, start: WorkerStart, recorder: Recorder, memory: Memory) -> None:
        accepted = start.accepted
        telemetry = accepted.proxy.spec.telemetry
        self._shared = Shared(
            start.board.buckets.of(start.slot), KeyRing(accepted.keys.texts), start.board.ledger.of(start.slot)
        )
        self._memory = memory
        snapshot = with_signs_of_life(self._compiling(accepted, None), start.row.pulse, monotonic)
        sampler = Sampler(telemetry.sampling if telemetry else 0.0)
        spec = accepted.proxy.spec
        limits = limits_of(spec.downstream, spec.max_request_headers)
        self._server = Server(snapshot, start.sockets, recorder, sampler, limits)

    def _compiling(self, accepted: Accepted, before: Snapshot | None) -> Steps[Snapshot]:
        workload = Workload(accepted.proxy, accepted.documents, self._memory.random, self._shared)
        return compiling(workload, accepted.credentials, before, self._memory)

    async def run(self, *, ready: Callable[[], None]) -> None:
        """Serve until drained."""
        await self._server.run(ready=ready)

    def part_from_app(self) -> None:
        """Let an app that was told to end see that we hold nothing."""
        self._server.part_from_app()

    async def drain(self, deadline: float, is_replaced: Callable[[], bool]) -> None:
        """Stop accepting, and end what is left at the deadline."""
        await self._server.drain(deadline, is_replaced)

    async def adopt(self, accepted: Accepted, is_overtaken: Callable[[], bool]) -> None:
        """Compile, then swap, between requests. Raises ConfigError and `Overtaken`, and goes on under the snapshot it
        has."""
        snapshot = await between_requests(self._compiling(accepted, self._server.snapshot), is_overtaken)
        before = self._server.snapshot
        await between_requests(self._server.swapping(snapshot))
        await between_requests(self._memory.forgetting(before.clusters.values()))

    def take_keys(self, texts: Mapping[str, str]) -> None:
        """Verify tokens by these key sets from now on; nothing is compiled for it."""
        self._shared.key_ring.update(texts)

    def wanted_keys(self) -> list[str]:
        """The key sets that a token's key was missing from since this was asked last."""
        return self._shared.key_ring.take_wanted()

    def under_way(self) -> list[Exchange]:
        """The exchanges that have begun and not ended."""
        return self._server.under_way()

    def describing(self) -> Steps[dict[str, object]]:
        """The server's statistics."""
        return self._server.describing()

    def __repr__(self) -> str:
        return f"<ServerPath {self._server!r}>"
