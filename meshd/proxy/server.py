"""One worker's data path: its listeners, its clusters and everything under way."""

import logging
import socket
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from weakref import WeakSet

import trio

from meshd.core.exchange import Exchange
from meshd.core.peer import Peer
from meshd.core.steps import Steps, run
from meshd.net import wait
from meshd.net.accept import accept_each
from meshd.net.heap import Heap
from meshd.net.pace import SLICE, between_requests
from meshd.net.reactor import Reactor
from meshd.net.stream import PlainStream, Stream, TlsStream, identity_of
from meshd.net.sweep import SocketDeadline, Sweeper
from meshd.net.tls import H2, HandshakeFailed, Mode, address_of, peer_of
from meshd.proxy.downstream import Http1Downstream
from meshd.proxy.downstream_connections import ClientConnection, DownstreamConnections, State
from meshd.proxy.downstream_h2 import Http2Downstream
from meshd.proxy.levels import Levels
from meshd.proxy.listener import ConnectionLimits, Listener
from meshd.proxy.names import Names
from meshd.proxy.slow_readers import relieve
from meshd.snapshot import Snapshot
from meshd.telemetry.records import Recorder
from meshd.telemetry.tracing import Sampler
from meshd.upstream.cluster import Cluster
from meshd.upstream.connection import Connection

log = logging.getLogger(__name__)

WARM_TOGETHER = 256  # clusters whose floors are filled at the same time
DIALS = 16  # begun by one slice of a sweep
REST = 0.01  # seconds between two slices of a sweep
LET_GO = 1.0  # seconds before a drain is over at which idle connections end, for those that begin on one just then
WARM_LIMIT = 5.0  # seconds that readiness waits for the warm floor
EXPEL_EVERY = 10.0  # seconds between looks at whether the peers of open connections are still to be let in
GIVE_WAY = 8  # connections that end when descriptors are short
TICK = 0.1  # seconds between looks at upstream connections, those who wait for one, and warm floors
TLS_FIRST_OCTET = b"\x16"  # a handshake record (RFC 8446 section 5.1)
AnyDownstream = Http1Downstream | Http2Downstream
Sockets = Mapping[str, list[socket.socket]]


class Server:
    """Serves the sockets it is given under the current snapshot, until it is drained."""

    __slots__ = (
        "_alive",
        "_clusters",
        "_drained",
        "_heap",
        "_listeners",
        "_names",
        "_recorder",
        "_sockets",
        "_turning_away",
        "clients",
        "connections",
        "limits",
        "snapshot",
        "sweeper",
    )

    def __init__(
        self,
        snapshot: Snapshot,
        sockets: Sockets,
        recorder: Recorder,
        sampler: Sampler,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.sweeper: Sweeper = snapshot.dialler.sweeper
        self.limits = limits or ConnectionLimits()
        self.clients = DownstreamConnections(self.limits.connections, self._gave_way)
        self._alive = 0  # connections whose coroutine has not ended
        self._turning_away = 0
        self._heap = Heap()
        self.connections: set[AnyDownstream] = set()
        # Those of the snapshot, and those it replaced for as long as an exchange that began with them goes on.
        self._clusters: WeakSet[Cluster] = WeakSet(snapshot.clusters.values())
        self._names = Names(snapshot.dialler.resolver)
        self._names.watch(snapshot)
        self._recorder = recorder
        self._sockets = sockets
        self._listeners = {name: Listener(snapshot.plans[name], recorder, sampler, self.limits) for name in sockets}
        self._drained = wait.Event()
        snapshot.dialler.shortage = self._short_of_descriptors
        for cluster in self._clusters:
            cluster.parted = recorder.parted

    async def run(self, *, ready: Callable[[], None]) -> None:
        """Serve. `ready` is called once every listener accepts and the warm floor is filled, or took too long."""

        async def body() -> None:
            wait.start(self.sweeper.run)
            wait.start(self._tick)
            await self._warm()
            for name, sockets in self._sockets.items():
                for sock in sockets:
                    wait.spawn(accept_each, sock, self._short_of_descriptors, self._entry(self._listeners[name]))
            ready()
            await self._drained.wait()

        await wait.background.run(body, Reactor())

    def swap(self, snapshot: Snapshot) -> None:
        """Serve under `snapshot` from the next exchange on; what is under way ends under the one it began with."""
        run(self.swapping(snapshot))

    def swapping(self, snapshot: Snapshot) -> Steps[None]:
        """The same, where all that follows from it is done in steps: by the first of them the snapshot serves."""
        before, self.snapshot = self.snapshot, snapshot
        snapshot.dialler.identity = snapshot.identity
        for name, listener in self._listeners.items():
            listener.plan = snapshot.plans[name]
        yield
        for name, cluster in snapshot.clusters.items():
            self._clusters.add(cluster)
            cluster.parted = self._recorder.parted
            places = snapshot.places.get(name, ())
            is_new = before.clusters.get(name) is not cluster
            if is_new or places != before.places.get(name, ()):
                endpoints = self._names.endpoints(name, cluster, places)
                if not is_new or self._names.watches(name):
                    cluster.update(endpoints)
            yield
        if snapshot.identity is not before.identity:
            yield from self._expelling()
        for name, cluster in before.clusters.items():
            if snapshot.clusters.get(name) is not cluster:
                cluster.close()
            yield

    def _expelling(self) -> Steps[None]:
        """Let connections end whose peers would not be let in any more: expired or revoked since, or of an authority
        that is no longer trusted."""
        identity = self.snapshot.identity
        if identity is None:
            return
        trusts = identity.trusts
        for connection in tuple(self.connections):
            peer = identity_of(connection.stream)
            if peer is not None and not trusts(peer):
                log.warning("%s is no longer let in: its connection ends", peer.uri, extra={"kind": peer.uri})
                connection.retire()
            yield

        def is_good(connection: Connection) -> bool:
            return connection.identity is None or trusts(connection.identity)

        for cluster in tuple(self._clusters):
            cluster.expel(is_good)
            yield

    def part_from_app(self) -> None:
        """The app was told to end: keep no connection to it beyond the exchanges under way, because many a server waits
        until it has none left. Said again, nothing more happens."""
        for plan in self.snapshot.plans.values():
            if plan.inbound:
                self.snapshot.clusters[plan.tcp_cluster].close()

    async def drain(self, deadline: float, is_replaced: Callable[[], bool] = lambda: False) -> None:
        """Stop accepting, let exchanges end until `deadline` (monotonic), then end what is left; `run` returns.

        For as long as we are replaced, and nobody waits for our end, idle connections are let go with their next
        response, for whoever is about to use one must not find it closed; those that are not used end shortly before
        the deadline.
        """
        for sockets in self._sockets.values():
            for sock in sockets:
                wait.close(sock)
        now = wait.now()
        idle_until = deadline - min(LET_GO, (deadline - now) / 2)
        for listener in self._listeners.values():
            listener.draining = True
            listener.idle_until = idle_until if is_replaced() else now
        await wait.sleep_until(now + 0.02)  # one turn for those that were accepted just now
        while (self.connections or (len(self.clients) and is_replaced())) and wait.now() < deadline:
            await wait.sleep_until(wait.now() + 0.02)
            if not is_replaced():
                for listener in self._listeners.values():
                    listener.idle_until = now
        for connection in tuple(self.connections):
            connection.cut_off()
        await wait.sleep_until(wait.now() + 0.02)  # one turn for those tasks to account for what they lost
        for cluster in self.snapshot.clusters.values():
            cluster.close()
        self._drained.set()

    def under_way(self) -> list[Exchange]:
        """The exchanges that have begun and not ended."""
        return [flight.exchange for connection in tuple(self.connections) for flight in connection.under_way()]

    def statistics(self) -> dict[str, object]:
        """What the admin page shows of this worker."""
        return run(self.describing())

    def describing(self) -> Steps[dict[str, object]]:
        """The same, a cluster a step. What is open and under way is told to the recorder on the way."""
        clusters, levels = {}, Levels()
        for name, cluster in self.snapshot.clusters.items():
            clusters[name] = cluster.statistics()
            levels.add_cluster(name, *cluster.connections())
            yield
        for connection in tuple(self.connections):
            for flight in connection.under_way():
                levels.add_exchange(flight.exchange)
            yield
        self._recorder.show(levels.found)
        return {
            "connections": len(self.connections),
            "downstream": self.clients.statistics(),
            "generation": self.snapshot.generation,
            "background_crashes": wait.background.crashes,
            "clusters": clusters,
        }

    async def _warm(self) -> None:
        with trio.move_on_after(WARM_LIMIT / 2):
            await self._names.look_up()
            self._names.update(self.snapshot)
        with trio.move_on_after(WARM_LIMIT):
            left = iter(tuple(self.snapshot.clusters.values()))

            async def fill() -> None:
                for cluster in left:
                    await cluster.fill()

            async with trio.open_nursery() as nursery:
                for _ in range(min(WARM_TOGETHER, len(self.snapshot.clusters))):
                    nursery.start_soon(fill)

    async def _tick(self) -> None:
        expel_at = wait.now() + EXPEL_EVERY
        while True:
            await wait.sleep_until(wait.now() + TICK)
            now = wait.now()
            if now > expel_at:
                expel_at = now + EXPEL_EVERY
                await between_requests(self._expelling())
            self._names.update(self.snapshot)
            await self._sweep()
            self._relieve(wait.now())
            self.clients.limit_new(wait.now())
            self._heap.look(self._alive, wait.now())

    def _relieve(self, now: float) -> None:
        """Where requests wait for a connection, take it from clients that do not read."""
        starved = [pool for cluster in self._clusters for pool in cluster.starved]
        if starved:
            flights = (flight for connection in self.connections for flight in connection.under_way())
            if cut := relieve(starved, flights, now):
                told = "%d responses were cut off: their clients read nothing, and others waited"
                log.warning(told, cut, extra={"kind": ""})

    async def _sweep(self) -> None:
        """See to every cluster; of many, a few at a time, for each may have connections dialled."""
        begun, until = 0, wait.now() + SLICE
        for cluster in tuple(self._clusters):
            now = wait.now()
            begun += cluster.sweep(now)
            if begun >= DIALS or now > until:
                await wait.sleep_until(now + REST)
                begun, until = 0, wait.now() + SLICE

    def _gave_way(self, listener: str, state: State) -> None:
        told = "%s ended a connection that was %s to make room: %d are open"
        log.warning(told, listener, state.name.lower(), len(self.clients), extra={"kind": f"{listener} {state.name}"})
        self._recorder.gave_way(listener, state.name.lower())

    def _short_of_descriptors(self) -> None:
        """The system has no descriptors left: have some connections give way, so that there are any to dial with."""
        gave_way = self.clients.make_room(wait.now(), GIVE_WAY)
        log.warning("no file descriptors left: %d idle connections end", gave_way, extra={"kind": ""})

    def _entry(self, listener: Listener) -> Callable[[socket.socket], Coroutine[object, None, None]]:
        async def serve(sock: socket.socket) -> None:
            try:
                address, _port = address_of(sock)
            except OSError:
                wait.close(sock)  # gone before it said anything
                return
            client = ClientConnection(address, listener.plan.name, wait.now(), partial(wait.close, sock))
            self._alive += 1
            try:
                if self.clients.enter(client, wait.now()):
                    await self._welcome(listener, sock, client)
                else:
                    await self._turn_away(listener, sock, client)
            finally:
                self._alive -= 1
                self.clients.leave(client)

        return serve

    async def _welcome(self, listener: Listener, sock: socket.socket, client: ClientConnection) -> None:
        """Serve a connection to its end."""
        try:
            stream, peer = await self._open(listener, sock, client)
        except HandshakeFailed as error:
            if not client.given_up:
                self._recorder.refused(listener.plan.name, error.code, listener.begin_refused(client.address, error))
                who = f"{client.address}, as {error.claimed}" if error.claimed else client.address
                alike = {"kind": f"{client.network} {error.code}", "who": who}
                log.warning("%s refused a connection: %s; from %s", listener.plan.name, error, who, extra=alike)
            return
        except OSError:
            wait.close(sock)  # gone before it said anything
            return
        early = b""
        if not (isinstance(stream, TlsStream) and stream.protocol == H2):
            client.served = connection = Http1Downstream(listener, stream, peer)
            await self._serve(connection, connection.serve())
            if not connection.preface:
                return
            early = connection.preface
        client.served = multiplexed = Http2Downstream(listener, stream, peer)
        await self._serve(multiplexed, multiplexed.serve(early))

    async def _turn_away(self, listener: Listener, sock: socket.socket, client: ClientConnection) -> None:
        """There are too many connections, and all of them are served: say so to whoever does not speak TLS."""
        plan = listener.plan
        self._recorder.refused(plan.name, "connection-limit")
        told = "%s refused a connection from %s: all of %d connections are busy; raise spec.downstream.maxConnections"
        log.warning(told, plan.name, client.address, len(self.clients), extra={"kind": client.network})
        if (plan.inbound and plan.mode is Mode.STRICT) or self._turning_away >= self.limits.turned_away:
            wait.close(sock)
            return
        self._turning_away += 1
        try:
            connection = Http1Downstream(listener, PlainStream(sock), peer_of(sock, None))
            await self._serve(connection, connection.turn_away())
        except OSError:
            wait.close(sock)  # it has left
        finally:
            self._turning_away -= 1

    async def _serve(self, connection: AnyDownstream, serving: Coroutine[object, None, None]) -> None:
        self.connections.add(connection)
        self.sweeper.add(connection)
        try:
            await serving
        finally:
            self.sweeper.discard(connection)
            self.connections.discard(connection)

    async def _open(self, listener: Listener, sock: socket.socket, client: ClientConnection) -> tuple[Stream, Peer]:
        """The connection's stream and who is at its other end. Raises `HandshakeFailed`."""
        plan, identity = listener.plan, self.snapshot.identity
        if not plan.inbound or plan.mode is Mode.DISABLE:
            return PlainStream(sock, quick_ack=plan.quick_ack), peer_of(sock, None)
        limit = SocketDeadline(wait.now() + self.limits.handshake, sock)
        self.sweeper.add(limit)
        try:
            if plan.mode is Mode.PERMISSIVE and not await _speaks_tls(sock):
                return PlainStream(sock, quick_ack=plan.quick_ack), peer_of(sock, None)
            if identity is None:
                raise HandshakeFailed("no-credentials", "this sidecar has no certificates", certificate=False)
            await wait.readable(sock.fileno())  # a session costs 50 KiB: none for who says nothing
            await wait.turn()
            self.clients.shake(client)
            try:
                handshake = await identity.accept(sock, limit)
            finally:
                self.clients.shaken(client)
        except wait.Closed as error:
            raise HandshakeFailed("timeout", "the client said nothing", certificate=False) from error
        finally:
            self.sweeper.discard(limit)
        return handshake.stream, peer_of(sock, handshake)


async def _speaks_tls(sock: socket.socket) -> bool:
    """Whether the first octet begins a TLS handshake."""
    while True:
        await wait.readable(sock.fileno())
        try:
            return sock.recv(1, socket.MSG_PEEK) == TLS_FIRST_OCTET
        except BlockingIOError:
            continue
