"""The attempts of one exchange: an endpoint, a connection, the request on it, and what its answer or failure leads to.

Rule 1: whatever happens, no connection stays leased, each attempt is accounted for once, and no task waits for one.
Rule 2: between two attempts none is held.
"""

from random import Random
from secrets import token_bytes

from meshd.core import flags
from meshd.core.asked import Asked
from meshd.core.endpoint import Endpoint
from meshd.core.errors import UNPROCESSED, ProtocolError, ProxyError, Resend, UpstreamError
from meshd.core.exchange import Attempt
from meshd.core.head import RequestHead, ResponseHead
from meshd.core.route import PEER_RETRY, Target
from meshd.http.grpc import rewrite_timeout, status_of
from meshd.http.proxy_status import OwnAnswer, disown, own_answer
from meshd.http.upgrade import NONCE, ask, settle
from meshd.net import wait
from meshd.proxy.cut import OF_ATTEMPT, Cut, error_of, limit_of
from meshd.proxy.flight import NEVER, Flight
from meshd.proxy.hedge import Rival
from meshd.proxy.mirror import Copies
from meshd.proxy.relay import relay
from meshd.proxy.upload import Upload
from meshd.snapshot import Plan
from meshd.telemetry.tracing import hang_under
from meshd.upstream.cluster import Cluster
from meshd.upstream.connection import Carrier, Connection
from meshd.upstream.pool import Pool
from meshd.upstream.retry import PATIENCE, asked_pause, backoff, may_be_failure, may_hedge, should_retry

TOLD_LIMIT = 512  # octets that are kept of what another proxy says of a failure
PEER_IDLE = 3600.0  # seconds that a caller's sidecar may be silent: it has limits of its own, unless it is lost
random = Random()  # noqa: S311  # spreads back-off, keeps no secret
copies = Copies()


class Trip:
    """The attempts of one exchange."""

    __slots__ = (
        "cluster",
        "exchange",
        "flight",
        "fresh",
        "leased",
        "plan",
        "policy",
        "pool",
        "rival",
        "route",
        "target",
        "upload",
    )

    pool: Pool[Connection]  # that the connection of the attempt under way is from
    leased: Connection  # that carries the attempt under way

    def __init__(self, flight: Flight, plan: Plan, target: Target, cluster: Cluster) -> None:
        self.flight = flight
        self.exchange = flight.exchange
        self.plan = plan
        route = flight.exchange.route
        assert route is not None
        self.route = route
        self.target = target
        self.cluster = cluster
        self.policy = route.retry
        self.upload: Upload | None = None
        self.rival: Rival | None = None
        self.fresh = False  # take no idle connection

    async def run(self) -> None:
        """Attempt until there is a response to relay, then relay it."""
        exchange, flight = self.exchange, self.flight
        flight.idle_timeout = self.route.idle_timeout
        if exchange.inbound and exchange.peer.principal:  # the caller's sidecar sees to its limits and tries again
            flight.idle_timeout = PEER_IDLE
            self.policy = PEER_RETRY
        if exchange.head.upgrade is not None:
            ask(exchange.head, token_bytes(NONCE))
        if exchange.head.length != 0:
            self.upload = Upload(flight, self.policy.buffer, self.plan.forwarding.owned)
            self.upload.take_ready()
        began = exchange.started + exchange.delay
        if self.upload is None or self.upload.end is not None:
            exchange.deadline = began + self.route.timeout if self.route.timeout else NEVER
        if exchange.rpc is not None and exchange.rpc.deadline < exchange.deadline:
            exchange.deadline = exchange.rpc.deadline
        flight.touch(began)
        if exchange.asked is not None and exchange.asked.mirrors:
            self._copy()
        if not exchange.attempts:
            self.cluster.budget.deposit(exchange.started)
        try:
            while True:
                response = await self._attempt()
                if response is not None:
                    break
                if self.rival is not None:
                    return  # it has answered
            await self._relay(response)
        finally:
            self._leave()

    async def _attempt(self) -> ResponseHead | None:
        """One try at one endpoint: its response head, or None when there is to be another. Raises the last error."""
        cluster = self.cluster
        attempts = self.exchange.attempts
        now = wait.now()
        key = cluster.key_of(self.exchange) if cluster.key_of is not None else 0
        endpoint = None
        if self.exchange.asked is not None and not attempts:
            endpoint = self._session(self.exchange.asked, now)
        if endpoint is None:
            endpoint = cluster.pick(now, key, [a.endpoint for a in attempts] if attempts else ())
        if endpoint is None:
            raise UpstreamError(503, flags.NO_HEALTHY_UPSTREAM, "no_healthy_upstream", retry=Resend.UNSENT)
        if attempts and self.exchange.trace is not None:
            hang_under(self.exchange.head, self.exchange.trace, len(attempts) + 1)
        attempt = Attempt(endpoint, now)
        attempts.append(attempt)
        endpoint.active += 1
        try:
            response = await self._ask(attempt, now)
            if self.exchange.head.upgrade is not None:
                _settle(self.exchange.head, response)
        except UpstreamError as error:
            await self._go_on(attempt, self._translate(error))
            return None
        except ProxyError as error:
            self._close(attempt, error)
            raise
        except BaseException:
            self._close(attempt, ProxyError(500, flags.INTERNAL, "internal_error"))
            raise
        if self.rival is not None:
            if (response.status >= 500 or self.rival.won) and await self.rival.finish_race():
                self._drop()
                self._end(attempt)
                return None
        elif may_be_failure(response, self.policy) and (pause := self._again(attempt, response)) is not None:
            self._drop()
            self._end(attempt)
            await self._rest(pause)
            return None
        return response

    async def _go_on(self, attempt: Attempt, failure: ProxyError) -> None:
        """An attempt has failed. Returns when there is to be another, or its rival has answered; raises what failed."""
        self._close(attempt, failure)
        if self.rival is not None:
            if await self.rival.finish_race():
                return
        elif isinstance(failure, UpstreamError) and (pause := self._again(attempt, failure)) is not None:
            await self._rest(pause)
            return
        raise failure from None

    def _session(self, asked: Asked, now: float) -> Endpoint | None:
        """The endpoint of the request's session, if it still serves."""
        endpoint = asked.endpoint
        here = endpoint is not None and asked.cluster == self.exchange.cluster
        return endpoint if here and endpoint is not None and self.cluster.serves(endpoint, now) else None

    def _takes_chances(self) -> bool:
        """Whether an idle connection may be used without asking the kernel: for what may be sent again, the first
        time."""
        method, policy = self.exchange.head.method, self.policy
        is_get = method == b"GET" and method in policy.safe_methods
        return is_get and policy.attempts > 0 and len(self.exchange.attempts) == 1

    async def _ask(self, attempt: Attempt, now: float) -> ResponseHead:
        """Lease a connection, send the request, wait for the final response head."""
        flight, exchange = self.flight, self.exchange
        pool = self.pool = self.cluster.pool(attempt.endpoint, exchange.head)
        connection = None if self.fresh else pool.take(now, careful=not self._takes_chances())
        if connection is None:
            connection = await pool.acquire(now, exchange.deadline, self._watch, fresh=self.fresh)
            flight.ticket = None
        self.leased = connection
        carrier = flight.connection = connection.open()
        if flight.cause is not None:
            raise self._translate(UpstreamError(504, flags.REQUEST_TIMEOUT, flight.cause.value))
        attempt.connection_uses = connection.uses
        attempt.connection_age = max(0.0, now - connection.born)  # one that was dialled for it has no age
        attempt.protocol, attempt.tls = connection.protocol, connection.tls
        if exchange.rpc is not None and exchange.rpc.deadline != NEVER:
            rewrite_timeout(exchange.head, exchange.deadline - wait.now())
        upload = self.upload
        if upload is None:
            await carrier.send_request(exchange.head, b"", end=True)
        else:
            await self._send(carrier, upload, attempt)
        route = self.route
        if route.attempt_timeout or route.attempt_idle_timeout:
            self._start_clocks(now)
        while True:
            response = await carrier.read_head()
            if response.status >= 200 or response.status == 101:
                break
            await flight.down.interim(response)
        flight.attempt_deadline = NEVER
        if self.rival is not None and response.status < 500:
            self.rival.lose()
        if route.attempt_idle_timeout:
            flight.touch(wait.now())
        attempt.status = response.status
        if exchange.rpc is not None:
            attempt.grpc_status = status_of(response.get(b"grpc-status"))
        return response

    async def _send(self, carrier: Carrier, upload: Upload, attempt: Attempt) -> None:
        """Send a request with a body, as much of it as is here. When that fails on the way there may be an answer
        already, for which the rest is of no use: who reads next finds it, or how the connection ended."""
        body, end = upload.prefix()
        attempt.sent = len(body)
        try:
            await carrier.send_request(self.exchange.head, body, end=end)
            if not end:
                await upload.attach(carrier)
        except UpstreamError as error:
            if error.retry in UNPROCESSED:
                raise

    def _start_clocks(self, now: float) -> None:
        """The time limits of one attempt."""
        flight, route = self.flight, self.route
        if route.attempt_timeout:
            flight.attempt_deadline = now + route.attempt_timeout
            flight.hedge = self._hedge if route.hedge else None
        if route.attempt_idle_timeout:
            flight.touch(now)
            flight.attempt_idle_timeout = route.attempt_idle_timeout

    def _watch(self, ticket: object) -> None:
        self.flight.ticket = ticket  # type: ignore[assignment]  # the pool's own Ticket has `expire`

    def _again(self, attempt: Attempt, outcome: UpstreamError | ResponseHead) -> float | None:
        """Ask the retry policy: the seconds to wait before the next attempt, None when there is to be none."""
        exchange, cluster = self.exchange, self.cluster
        replayable = self.upload is None or self.upload.replayable
        now = wait.now()
        told: UpstreamError | ResponseHead | OwnAnswer = outcome
        if isinstance(outcome, ResponseHead) and self.leased.identity is not None:
            told = own_answer(outcome) or outcome
        decision = should_retry(exchange, told, self.policy, cluster.budget, now, replayable=replayable)
        attempt.verdict = decision.reason
        self.fresh = decision.fresh
        if not decision.retry:
            if decision.flag:
                exchange.flag(decision.flag)
            return None
        if decision.at_once:
            return 0.0
        if self.policy.resets and isinstance(outcome, ResponseHead):
            asked = asked_pause(outcome, self.policy, wait.wall_clock())
            if asked is not None:
                if now + asked * PATIENCE < exchange.deadline:
                    return asked * (1 + random.random() * (PATIENCE - 1))
                attempt.verdict = f"no time left before the deadline for a pause of {asked:.0f} s, as was asked for"
                return None
        return backoff(len(exchange.attempts), self.policy, random)

    async def _rest(self, pause: float) -> None:
        """Wait between two attempts, but not for a client that has left meanwhile, nor past the deadline."""
        flight = self.flight
        flight.attempt_deadline = flight.attempt_idle_timeout = NEVER
        await flight.rest(wait.now() + pause)
        if flight.cause is not None:
            raise self._translate(UpstreamError(504, flags.REQUEST_TIMEOUT, flight.cause.value))

    async def _relay(self, response: ResponseHead) -> None:
        """Let policies see the response, then pass it on."""
        flight, exchange = self.flight, self.exchange
        attempt = exchange.attempts[-1]
        for chain in (self.target.chain, self.route.chain):
            for step in chain.on_response:
                step(exchange, response)
        if exchange.inbound and (response.status >= 400 or attempt.grpc_status is not None):
            disown(response, self.plan.proxy_name)
        exchange.response = response
        exchange.status = response.status
        exchange.details = "via_upstream"
        if response.status >= 400 and (told := response.get(b"proxy-status")) is not None:
            exchange.note("proxy_status", told[:TOLD_LIMIT].decode("ascii", "backslashreplace"))
        try:
            whole = await relay(flight, response)
        except UpstreamError as error:
            failure = self._translate(error)
            self._close(attempt, failure)
            raise failure from None
        except ProxyError as error:
            self._close(attempt, error)
            raise
        self._end(attempt, at=whole)

    def _translate(self, error: UpstreamError) -> ProxyError:
        """What the wire shows as a broken stream, told by the reason we broke it."""
        flight, cause = self.flight, self.flight.cause
        if cause is None:
            return error
        if cause in OF_ATTEMPT:
            flight.cause = None  # only this attempt is over
            flight.attempt_deadline = flight.attempt_idle_timeout = NEVER
        failure = self.upload.failure if self.upload is not None else None
        return (
            failure
            if cause is Cut.BAD_BODY and failure is not None
            else error_of(cause, limit_of(cause, self.exchange))
        )

    def _close(self, attempt: Attempt, error: ProxyError) -> None:
        """An attempt failed: its connection is of no more use."""
        attempt.flag = error.flag
        attempt.details = error.details
        attempt.resend = error.retry
        self._drop()
        self._end(attempt, error)

    def _drop(self) -> None:
        """Give the connection up; the rest of the upload waits for the next one."""
        flight = self.flight
        if self.upload is not None:
            self.upload.detach()
        if flight.connection is not None:
            carrier, flight.connection = flight.connection, None
            self.pool.release(self.leased, wait.now(), reusable=carrier.done(whole=False))

    def _end(self, attempt: Attempt, error: ProxyError | None = None, *, at: float = 0.0) -> None:
        """Account for one attempt at its endpoint, once; `at` is when the last octet of the endpoint's was here."""
        if attempt.ended:
            return
        attempt.ended = at or self.exchange.ended or wait.now()
        attempt.endpoint.active -= 1
        self.cluster.observe(attempt, error)
        flight = self.flight
        if flight.connection is not None:
            carrier, flight.connection = flight.connection, None
            whole = self.upload is None or self.upload.end is not None
            self.pool.release(self.leased, attempt.ended, reusable=carrier.done(whole=whole))

    def _leave(self) -> None:
        """Whatever happened, no connection stays leased and no task waits for one."""
        self.exchange.ended = self.exchange.ended or wait.now()
        for attempt in self.exchange.attempts[-1:]:
            if not attempt.ended:
                self._close(attempt, ProxyError(500, flags.INTERNAL, "internal_error"))
        if self.upload is not None:
            self.upload.release()
        if self.rival is not None:
            self.rival.lose()
        if self.exchange.asked is not None and self.exchange.asked.mirrors:
            self._copy()
            if self.exchange.asked.mirrors:
                self.exchange.note("mirror", "no copy: the body was not whole, or too large to keep")

    def _copy(self) -> None:
        """Send the copies that were asked for, once the whole body is here."""
        body = b"" if self.upload is None else self.upload.whole()
        if body is not None:
            copies.send(self.exchange, body, self._carry_copy)

    def _hedge(self) -> None:
        """The attempt takes too long: try elsewhere as well, or give it up where that is not allowed."""
        exchange, cluster, flight = self.exchange, self.cluster, self.flight
        body = b"" if self.upload is None else self.upload.whole()
        decision = may_hedge(exchange, self.policy, cluster.budget, wait.now(), whole=body is not None)
        exchange.attempts[-1].verdict = decision.reason
        if not decision.retry or body is None:
            flight.hedge = None
            flight.cut(Cut.ATTEMPT_TIMEOUT)
            return
        self.rival = Rival(flight, body)
        flight.rival = self.rival.flight
        wait.spawn(self.rival.run, self._carry_rival)

    async def _carry_rival(self, flight: Flight) -> None:
        await Trip(flight, self.plan, self.target, self.cluster).run()

    async def _carry_copy(self, name: str, flight: Flight) -> None:
        cluster = self.plan.clusters.get(name)
        if cluster is not None:
            await Trip(flight, self.plan, Target(name), cluster).run()


def _settle(head: RequestHead, response: ResponseHead) -> None:
    try:
        settle(head, response)
    except ProtocolError as error:
        kind = error.proxy_error
        raise UpstreamError(error.status, flags.UPSTREAM_PROTOCOL, error.details, proxy_error=kind) from error
