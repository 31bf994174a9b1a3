"""A client's HTTP/2 connection and, behind the same forwarding code as in a worker, an app's: peers at both ends and
no socket in between."""

from random import Random

from support.background import in_background, settled
from support.h2_peers import HyperPeer
from support.http2 import OPENING, frames
from support.joined import Joined

from meshd.core.chain import EMPTY_CHAIN, Chain
from meshd.core.endpoint import Endpoint
from meshd.core.peer import Peer
from meshd.core.reply import Reply
from meshd.core.route import NO_RETRY, Route, Target
from meshd.http.forwarding import Forwarding
from meshd.net import wait
from meshd.net.sweep import Sweeper
from meshd.net.tls import Mode
from meshd.proxy.downstream_h2 import Http2Downstream
from meshd.proxy.listener import ConnectionLimits, Listener
from meshd.routing.matcher import Match
from meshd.routing.table import Candidate, RouteTable
from meshd.snapshot import Plan
from meshd.telemetry.tracing import Sampler
from meshd.upstream.cluster import Cluster, ClusterSettings
from meshd.upstream.http2 import Http2Connection
from meshd.upstream.pool import PoolSettings

LIMITS = ConnectionLimits(idle=100.0, head_timeout=10.0)
EVERYTHING = Match("PathPrefix", b"", (), (0, 0, 0, 0, 0))


class FakeRecorder:
    """Keeps what is accounted for."""

    def __init__(self):
        self.finished = []
        self.broken_off = []

    def finish(self, exchange, now):
        self.finished.append(exchange)

    def broke_off(self, listener, cause):
        self.broken_off.append(cause)


class Proxied:
    """`client` and `app` are peers of HTTP/2, or None for octets that a test says itself."""

    def __init__(self, client=None, app=None, *, chain=EMPTY_CHAIN, early=b""):
        self.client, self.app = client, app
        self.before = Joined(client, early=early)  # the client's connection
        self.behind = []  # connections to the app
        self.recorder = FakeRecorder()
        settings = ClusterSettings(pool=PoolSettings(warm=0), protocol="http2")
        cluster = Cluster("app", [Endpoint("10.0.0.1", 80)], self._connect, settings, Random(1))
        route = Route("everything", targets=(Target("app"),), total_weight=1, timeout=None, retry=NO_RETRY)
        table = RouteTable([Candidate(EVERYTHING, 0, route)])
        forwarding = Forwarding(inbound=False, pseudonym=b"proxy")
        clusters = {"app": cluster}
        plan = Plan("out", False, "http2", Mode.DISABLE, b"proxy", forwarding, clusters, {}, table, chain=chain)
        self.listener = Listener(plan, self.recorder, Sampler(0.0), LIMITS)
        self.downstream = Http2Downstream(self.listener, self.before, Peer("127.0.0.1", 4711))

    async def _connect(self, endpoint, *, http2=False):
        assert http2
        stream = Joined(self.app)
        self.behind.append(stream)
        connection = Http2Connection(stream, wait.now(), Sweeper())
        wait.spawn(connection.start)
        return connection

    async def begin(self, early=b""):
        """Serve the connection, until it has nothing more to do for now."""
        wait.spawn(self.downstream.serve, early)
        await self.carry()

    async def carry(self):
        """Whatever the peers have said goes where it must."""
        for stream in (self.before, *self.behind):
            stream.carry()
        await settled()

    @property
    def flags(self):
        """Of what is accounted for, in order."""
        return [exchange.flags for exchange in self.recorder.finished]


def proxied(body, client=HyperPeer, **given):
    """Run `body(proxy)` with hyper-h2 as the app and, unless it is told otherwise, as the client."""

    async def run():
        proxy = Proxied(client(client=True), HyperPeer(client=False), **given)
        await proxy.begin()
        await body(proxy)

    return in_background(run)


def spoken(body, **given):
    """Run `body(proxy, client)`, where the client's octets are the test's own and every answer is the chain's."""

    async def run():
        proxy = Proxied(**given)
        proxy.before.say(OPENING)
        await proxy.begin()
        proxy.before.take_written()
        await body(proxy, proxy.before)

    return in_background(run)


def answering(status=204, body=b""):
    """A chain that answers everything itself."""
    return Chain(on_request=(lambda exchange: Reply(status, "", "mine", "", body=body),))


def written(stream, kind):
    """The frames of one kind that were written since the last look, as (stream, payload)."""
    return [(number, payload) for found, _, number, payload in frames(stream.take_written()) if found == kind]
