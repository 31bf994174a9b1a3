"""Whatever happens in whatever order: a pool keeps its bounds, loses nobody, leaks nothing, and is warm again at last.

The pool runs under trio on a virtual clock in a thread of its own; after each rule the machine waits until every task
of it waits, then compares the pool with what the machine itself saw: who holds what, who stands in line, what is open.
"""

from functools import partial
from random import Random

import pytest
import trio
import trio.testing
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.connections import FakeDialler
from support.trio_thread import World

from meshd.core import flags
from meshd.core.endpoint import Endpoint
from meshd.core.errors import UpstreamError
from meshd.net import wait
from meshd.upstream.holding import HOLD_MAX, REFILL_PAUSE_MAX
from meshd.upstream.pool import LIFETIME_JITTER, NEVER, Pool, PoolSettings

IDLE, LIFETIME = 10.0, 100.0
PAUSES = st.sampled_from([0.01, 0.1, 0.6, 2.0, 6.0, 11.0, 70.0])
ANY = st.integers(0, 1 << 16)  # a choice among however many there are


class Holder:
    """One exchange that wants a connection."""

    def __init__(self, deadline):
        self.deadline = deadline
        self.scope = trio.CancelScope()
        self.ticket = self.connection = self.error = None
        self.gone = False  # cancelled, or done with its connection

    @property
    def waits(self):
        return self.connection is None and self.error is None and not self.gone

    async def run(self, pool):
        with self.scope:
            try:
                self.connection = await pool.acquire(trio.current_time(), self.deadline, self.watch)
                self.was_dead = self.connection.dead
            except UpstreamError as error:
                self.error = error
        self.gone = self.scope.cancelled_caught

    def watch(self, ticket):
        self.ticket = ticket


def is_open(connection):
    """Whether its peer lets anybody begin on it when it is idle."""
    return connection.streams == 1 or connection.room


class PoolMachine(RuleBasedStateMachine):
    @initialize(
        bounds=st.builds(
            PoolSettings,
            max_connections=st.integers(1, 4),
            max_pending=st.integers(0, 3),
            warm=st.integers(0, 3),
            eager=st.booleans(),
            idle_timeout=st.just(IDLE),
            max_lifetime=st.just(LIFETIME),
        ),
        streams=st.sampled_from([1, 1, 1, 3]),
        crowd=st.integers(0, 6),
        up=st.sampled_from([True, True, False]),
    )
    def begin(self, bounds, streams, crowd, up):
        self.world = World()
        self.settings = bounds
        self.streams = streams
        self.wanted = bounds.eager  # the floor is
        self.holders = []
        self.line_before = []
        self.swept_at = self.failed_at = -NEVER
        self.known_closed = set()
        self.released_broken = set()
        self.unseen = set()  # whose peers let more or fewer begin than at the last sweep

        def make():
            self.dialler = FakeDialler(by_hand=True, streams=streams)
            self.pool = Pool(Endpoint("10.0.0.1", 80), self.dialler, self.settings, Random(1))

        self.world.do(make)
        self.crowd(crowd)
        if up:
            self.end_all_dials()

    # -- what the machine knows by itself ----------------------------------------------------------------------------

    @property
    def now(self):
        return self.world.clock.current_time()

    @property
    def held(self):
        """Connections that somebody has."""
        return [holder.connection for holder in self.holders if holder.connection is not None and not holder.gone]

    @property
    def waiting(self):
        return [holder for holder in self.holders if holder.waits]

    @property
    def line(self):
        """Those who neither have a connection nor dial, in the order they came."""
        return [each for each in self.waiting if each.ticket is not None and not each.ticket.permit]

    @property
    def floor(self):
        """How many connections there have to be, sooner or later."""
        kept = self.wanted and not self.pool.closed
        return min(self.settings.warm, self.settings.max_connections) if kept else 0

    @property
    def idle(self):
        held = self.held
        return [connection for connection in self.dialler.open if connection not in held]

    def choose(self, things, number):
        return things[number % len(things)]

    # -- exchanges ---------------------------------------------------------------------------------------------------

    @rule(patience=st.sampled_from([None, 0.0, 0.5, 5.0]))
    def acquire(self, patience):
        holder = Holder(NEVER if patience is None else self.now + patience)
        live = [connection for connection in self.idle if not connection.dead]
        full = len(self.line) >= self.settings.max_pending
        room = len(self.held) + len(live) + len(self.dialler.under_way) < self.settings.max_connections
        is_held = self.now < self.pool.held_until
        alone = not self.held and not live
        begun = self.dialler.begun
        self.holders.append(holder)
        self.world.do(self.world.nursery.start_soon, holder.run, self.pool)
        self.wanted |= holder.connection is None
        if holder.connection is not None:
            assert holder.connection in live or self.streams > 1, "where does it come from?"
        elif any(map(is_open, live)):
            raise AssertionError("there was an idle connection")
        elif holder.error is not None:
            assert holder.error.flag == flags.OVERFLOW if not (is_held and alone) else flags.NO_HEALTHY_UPSTREAM
            assert full or (is_held and alone)
        elif holder.ticket is None:
            assert self.dialler.begun > begun, "neither dials nor waits"
            assert not self.line, "overtakes those in line"
            assert not is_held
        else:
            assert not room or is_held or self.line, "waits though there is room"

    @rule(count=st.integers(2, 4))
    def crowd(self, count):
        for _ in range(count):
            self.acquire(None)

    @rule(count=st.integers(1, 4))
    def dials_succeed(self, count):
        for dial in self.dialler.under_way[:count]:
            self.world.do(dial.succeed)

    @rule(careful=st.booleans())
    def take(self, careful):
        connection = self.world.do(lambda: self.pool.take(self.now, careful=careful))
        if connection is None:
            assert not [each for each in self.idle if is_open(each) and not each.dead], (
                "an idle connection was not found"
            )
            return
        holder = Holder(NEVER)
        holder.connection = connection
        holder.was_dead = connection.dead and (careful or not connection.quiet) and self.streams == 1
        self.holders.append(holder)

    @precondition(lambda self: self.held)
    @rule(number=ANY, reusable=st.booleans())
    def release(self, number, reusable):
        holder = self.choose([each for each in self.holders if each.connection is not None and not each.gone], number)
        holder.gone = True
        if not reusable:
            self.released_broken.add(holder.connection)
        self.world.do(lambda: self.pool.release(holder.connection, self.now, reusable=reusable))

    @precondition(lambda self: self.waiting)
    @rule(number=ANY)
    def cancel(self, number):
        holder = self.choose(self.waiting, number)
        self.world.do(holder.scope.cancel)
        assert holder.gone

    @precondition(lambda self: self.line and self.held)
    @rule(reusable=st.booleans(), first=st.booleans())
    def cancel_the_first_as_it_is_served(self, reusable, first):
        """Both in one turn, in either order: it has run neither before nor between."""
        self.in_one_turn(self.line[0], partial(self.give_one_back, reusable), first=first)

    @precondition(lambda self: self.waiting and self.dialler.under_way)
    @rule(number=ANY, well=st.booleans(), first=st.booleans())
    def cancel_as_a_dial_ends(self, number, well, first):
        dial = self.dialler.under_way[0]
        self.failed_at = self.failed_at if well else self.now
        self.in_one_turn(self.choose(self.waiting, number), dial.succeed if well else dial.fail, first=first)

    @precondition(lambda self: self.line)
    @rule(number=ANY, first=st.booleans())
    def cancel_as_it_expires(self, number, first):
        holder = self.choose(self.line, number)
        self.in_one_turn(holder, holder.ticket.expire, first=first)

    def in_one_turn(self, holder, event, *, first):
        steps = [holder.scope.cancel, event] if first else [event, holder.scope.cancel]
        self.world.do(lambda: [step() for step in steps])
        assert not holder.waits

    def give_one_back(self, reusable):
        holder = next(each for each in self.holders if each.connection is not None and not each.gone)
        holder.gone = True
        if not reusable:
            self.released_broken.add(holder.connection)
        self.pool.release(holder.connection, self.now, reusable=reusable)

    @precondition(lambda self: self.line)
    @rule(number=ANY)
    def expire(self, number):
        holder = self.choose(self.line, number)
        self.world.do(holder.ticket.expire)
        assert holder.error is not None
        assert holder.error.flag == flags.REQUEST_TIMEOUT

    # -- the other side ----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.dialler.under_way)
    @rule(number=ANY)
    def dial_succeeds(self, number):
        dial = self.choose(self.dialler.under_way, number)
        self.world.do(dial.succeed)

    @precondition(lambda self: self.dialler.under_way)
    @rule(number=ANY)
    def dial_fails(self, number):
        dial = self.choose(self.dialler.under_way, number)
        self.failed_at = self.now
        self.world.do(dial.fail)

    @precondition(lambda self: self.dialler.open)
    @rule(number=ANY, heard=st.booleans())
    def peer_closes(self, number, heard):
        connection = self.choose(self.dialler.open, number)
        connection.dead = True
        connection.quiet = not heard

    @precondition(lambda self: self.streams > 1 and self.dialler.open)
    @rule(number=ANY, room=st.booleans())
    def peer_has_room(self, number, room):
        connection = self.choose(self.dialler.open, number)
        connection.room = room
        self.unseen.add(connection)

    # -- time --------------------------------------------------------------------------------------------------------

    @rule(pause=PAUSES)
    def time_passes(self, pause):
        self.world.clock.jump(pause)

    @rule(known=st.booleans())
    def sweep(self, known):
        dead = {connection for connection in self.idle if connection.dead} if known else None
        self.swept_at = self.now
        self.unseen.clear()
        self.world.do(self.pool.sweep, self.now, dead)
        for holder in self.line:
            assert holder.deadline > self.now, "still waits though its time is over"
        spare = self.pool.live - self.settings.warm
        for connection in self.idle:
            assert not connection.dead
            assert self.now - connection.born < LIFETIME * (1 + LIFETIME_JITTER)
            assert spare <= 0 or self.now - connection.idle_since < IDLE
        if self.pool.live < self.floor:
            assert self.dialler.under_way or self.now < self.failed_at + REFILL_PAUSE_MAX, "nobody sees to the floor"

    @precondition(lambda self: self.now > 30.0 and not self.pool.closed)
    @rule()
    def close(self):
        self.world.do(self.pool.close)

    # -- laws --------------------------------------------------------------------------------------------------------

    @invariant()
    def nobody_is_lost_or_overtaken(self):
        line = self.line
        for holder in line:
            assert not holder.ticket.event.is_set(), "told, and still waiting"
        served = [each.ticket.connection is not None or each.ticket.permit for each in self.line_before]
        ordered = [was for was, each in zip(served, self.line_before, strict=True) if was or each in line]
        assert ordered == sorted(ordered, reverse=True), "served out of turn"
        self.line_before = line
        assert len(line) <= self.settings.max_pending
        if line:
            open_ones = [each for each in self.idle if is_open(each) and each not in self.unseen]
            assert not open_ones, "waits beside an idle connection"
            full = self.pool.live >= self.settings.max_connections
            assert full or self.pool.held_until > self.swept_at, "waits though there is room"

    @invariant()
    def the_bounds_hold_and_the_counts_agree(self):
        held = self.held
        told = self.pool.statistics()
        assert len(self.dialler.open) + len(self.dialler.under_way) == self.pool.live <= self.settings.max_connections
        assert (told.leased, told.idle) == (len(set(held)), len(self.idle))
        assert (told.waiting, told.dialling) == (len(self.line), len(self.dialler.under_way))
        for connection in held:
            assert held.count(connection) <= self.streams, "handed to more than it can carry"
            assert not connection.closed, "closed under its holder"

    @invariant()
    def nothing_detectably_stale_is_handed_out(self):
        for holder in self.holders:
            if holder.connection is not None and self.streams == 1:
                assert not holder.was_dead

    @invariant()
    def what_is_closed_had_a_reason(self):
        for connection in self.dialler.made:
            if connection.closed and connection not in self.known_closed:
                self.known_closed.add(connection)
                old = self.now - connection.born >= LIFETIME * (1 - LIFETIME_JITTER)
                bored = self.now - connection.idle_since >= IDLE
                broken = connection.dead or connection in self.released_broken
                assert broken or old or bored or self.pool.closed

    def teardown(self):
        if not hasattr(self, "world"):
            return
        try:
            self.heal()
        finally:
            self.world.end()

    def heal(self):
        """The endpoint is well again: who stands in line is served, the floor comes back, and then nothing stays."""
        for _ in range(20):
            self.world.clock.jump(HOLD_MAX + REFILL_PAUSE_MAX)
            self.world.do(self.pool.sweep, self.now)
            self.end_all_dials()
            self.release_all()
        assert not any(holder.waits for holder in self.holders)
        self.world.do(self.pool.sweep, self.now)
        self.end_all_dials()
        assert self.pool.live >= self.floor
        assert self.pool.closed or not (self.pool.warming and self.floor)
        self.world.do(self.pool.close)
        assert self.pool.live == 0
        assert not self.dialler.open
        assert not self.world.nursery.child_tasks
        assert wait.background.crashes == 0

    def end_all_dials(self):
        while self.dialler.under_way:
            self.world.do(self.dialler.under_way[0].succeed)

    def release_all(self):
        for holder in self.holders:
            if holder.connection is not None and not holder.gone:
                holder.gone = True
                self.world.do(partial(self.pool.release, holder.connection, self.now, reusable=True))


PoolMachine.TestCase.settings = settings(max_examples=2 * settings().max_examples, stateful_step_count=30)
TestPool = pytest.mark.slow(PoolMachine.TestCase)
