"""Starting, watching, restarting, draining: every rule of a fleet without a process, by the time it is given."""

import os
import signal
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.process.backoff import LONGEST
from meshd.process.board import Phase
from meshd.process.fleet import GIVE_UP, HANG, HARD_STOP, LAST_WORDS, TICK, Fleet, Stage
from meshd.process.listeners import Listeners
from meshd.process.stall import GRACE, QUESTION

KILLED = signal.SIGKILL
EXITED_0 = 0
EXITED_1 = 1 << 8


class FakeKernel:
    """Processes that only exist as numbers."""

    def __init__(self):
        self.pids = iter(range(100, 100_000))
        self.running = {}
        self.kept = {}
        self.sent = []

    def fork(self, role, body, keep):
        pid = next(self.pids)
        self.running[pid] = role
        self.kept[role] = keep
        return pid

    def kill(self, pid, number):
        assert pid in self.running, "a signal to a process that is gone may hit a stranger"
        self.sent.append((self.running[pid], number))


class Sidecar:
    """A fleet and the story of its processes."""

    def __init__(self, workers=2):
        self.kernel = FakeKernel()
        accepted = SimpleNamespace(workers=workers, drain=10.0, generation=1)
        self.fleet = Fleet(accepted, Listeners({}), SimpleNamespace(), self.kernel)

    def child(self, role):
        return next(child for child in self.fleet.children if child.role == role)

    def started(self):
        return sorted(self.kernel.running.values())

    def ready(self, now=0.0):
        self.fleet.tick(now)
        for child in self.fleet.children:
            child.row.show(Phase.READY, child.pid)
            child.row.beat(now, 1)
        self.fleet.tick(now)
        return self

    def beat(self, now, *roles):
        for role in roles:
            self.child(role).row.beat(now, 1)

    def ends(self, role, now, status=KILLED):
        pid = self.child(role).pid
        del self.kernel.running[pid]
        assert self.fleet.reaped(pid, status, now)


@pytest.fixture
def sidecar():
    sidecar = Sidecar().ready()
    yield sidecar
    sidecar.fleet.close()


def test_everything_is_started_at_once_and_serves_when_every_worker_does():
    sidecar = Sidecar()
    assert sidecar.started() == []
    sidecar.fleet.tick(0.0)
    assert sidecar.started() == ["controller", "worker-0", "worker-1"]
    sidecar.child("worker-0").row.show(Phase.READY, 1)
    sidecar.fleet.tick(0.1)
    assert sidecar.fleet.stage is Stage.STARTING
    sidecar.child("worker-1").row.show(Phase.READY, 1)
    sidecar.fleet.tick(0.2)
    assert sidecar.fleet.stage is Stage.SERVING
    sidecar.fleet.close()


def test_a_child_keeps_its_own_channel_and_no_other(sidecar):
    fleet, kept = sidecar.fleet, sidecar.kernel.kept
    ours = [two[0].fileno() for two in fleet.channels]
    theirs = [two[1].fileno() for two in fleet.channels]
    assert ours[0] in kept["worker-0"]
    assert kept["worker-0"].isdisjoint([ours[1], *theirs])
    assert kept["controller"].issuperset(theirs)
    assert kept["controller"].isdisjoint(ours)


def test_a_dead_worker_is_started_again_at_once_and_then_with_backoff(sidecar):
    now, waits = 1.0, []
    for _ in range(8):
        sidecar.ends("worker-0", now)
        due = sidecar.child("worker-0").due
        assert due - now <= LONGEST + 1e-9
        assert sidecar.fleet.deadline() <= max(due, now + TICK)
        sidecar.fleet.tick(due - 0.001)
        assert not sidecar.child("worker-0").pid or due == now
        sidecar.fleet.tick(due)
        assert sidecar.child("worker-0").pid
        waits.append(round(due - now, 3))
        now = due
    assert waits == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert sidecar.fleet.stage is Stage.SERVING
    assert sidecar.child("worker-0").row.status().restarts == 8


def test_a_silent_worker_is_killed_once_and_its_siblings_are_not(sidecar):
    for now in range(1, int(HANG) + 3):
        sidecar.beat(float(now), "worker-1", "controller")
        sidecar.fleet.tick(float(now))
    asked = [("worker-0", QUESTION), ("worker-0", signal.SIGCONT)]
    assert sidecar.kernel.sent == [*asked, ("worker-0", KILLED)]
    sidecar.ends("worker-0", HANG + 3)
    sidecar.fleet.tick(HANG + 3)
    assert sidecar.started() == ["controller", "worker-0", "worker-1"]


def test_a_silent_worker_is_killed_as_soon_as_it_has_said_its_last_words(sidecar):
    sidecar.beat(HANG, "worker-1", "controller")
    for now in range(1, int(HANG)):
        sidecar.fleet.tick(float(now))
    assert sidecar.kernel.sent == []
    sidecar.fleet.tick(HANG - GRACE + 0.1)
    assert sidecar.child("worker-0").row.is_asked
    assert sidecar.fleet.deadline() <= HANG + 0.1
    sidecar.child("worker-0").row.answered()
    sidecar.fleet.tick(HANG - GRACE + 0.2)
    assert sidecar.kernel.sent[-1] == ("worker-0", KILLED)
    sidecar.ends("worker-0", HANG)
    sidecar.fleet.tick(HANG)
    assert not sidecar.child("worker-0").row.is_asked


def test_nobody_is_blamed_for_silence_while_we_were_stopped_ourselves(sidecar):
    sidecar.fleet.tick(1.0)
    sidecar.fleet.tick(500.0)
    sidecar.fleet.tick(500.5)
    assert sidecar.kernel.sent == []
    for second in range(501, 500 + 2 * int(HANG)):
        sidecar.fleet.tick(float(second))
    assert {role for role, _ in sidecar.kernel.sent} == {"worker-0", "worker-1", "controller"}


def test_a_fleet_that_cannot_start_gives_up_and_leaves_nobody_behind():
    sidecar, now = Sidecar(), 0.0
    sidecar.fleet.tick(now)
    for _ in range(GIVE_UP):
        sidecar.ends("worker-0", now, EXITED_1)
        now += LONGEST
        sidecar.fleet.tick(now)
    assert sidecar.fleet.stage is Stage.FAILED
    assert not sidecar.fleet.is_over
    assert sidecar.kernel.sent == [("worker-1", KILLED), ("controller", KILLED)]
    sidecar.ends("worker-1", now)
    sidecar.ends("controller", now)
    sidecar.fleet.tick(now + 100)
    assert sidecar.fleet.is_over
    assert sidecar.started() == []
    sidecar.fleet.close()


def test_draining_refuses_readiness_first_then_ends_workers_and_the_controller_last(sidecar):
    fleet = sidecar.fleet
    fleet.drain(5.0, 15.0)
    assert fleet.board.drain_deadline == 15.0
    assert not fleet.board.is_serving(5.0)
    assert sidecar.kernel.sent == [("worker-0", signal.SIGTERM), ("worker-1", signal.SIGTERM)]
    fleet.drain(6.0, 99.0)
    assert fleet.board.drain_deadline == 15.0
    sidecar.ends("worker-0", 6.0, EXITED_0)
    assert fleet.control[1].receive() is None
    sidecar.ends("worker-1", 7.0, EXITED_0)
    assert fleet.control[1].receive() == ("stop",)
    sidecar.ends("controller", 7.1, EXITED_0)
    assert fleet.stage is Stage.GONE
    assert fleet.cut == 0


def test_a_fleet_gives_over_patiently_until_somebody_waits_for_its_end(sidecar):
    fleet = sidecar.fleet
    fleet.give_over(5.0, 15.0)
    assert (fleet.board.drain_deadline, fleet.board.is_replaced) == (15.0, True)
    assert sidecar.kernel.sent == [("worker-0", signal.SIGTERM), ("worker-1", signal.SIGTERM)]
    fleet.hasten()
    assert (fleet.board.drain_deadline, fleet.board.is_replaced) == (15.0, False)
    sidecar.ends("worker-0", 6.0, EXITED_0)
    sidecar.ends("worker-1", 7.0, EXITED_0)
    sidecar.ends("controller", 7.1, EXITED_0)
    assert fleet.stage is Stage.GONE


def test_what_does_not_leave_is_killed_within_a_second_of_the_deadline(sidecar):
    fleet = sidecar.fleet
    fleet.drain(5.0, 15.0)
    sidecar.beat(15.0, "worker-0", "worker-1", "controller")
    fleet.tick(15.0 + HARD_STOP - 0.01)
    assert fleet.deadline() == 15.0 + HARD_STOP
    fleet.tick(15.0 + HARD_STOP)
    fleet.tick(15.0 + HARD_STOP)
    assert sidecar.kernel.sent[2:] == [("worker-0", KILLED), ("worker-1", KILLED)]
    sidecar.ends("worker-0", 15.5)
    sidecar.ends("worker-1", 15.5)
    assert fleet.cut == 2


def test_a_controller_that_does_not_stop_is_killed(sidecar):
    fleet = sidecar.fleet
    fleet.drain(5.0, 15.0)
    sidecar.ends("worker-0", 5.1, EXITED_0)
    sidecar.ends("worker-1", 5.1, EXITED_0)
    sidecar.beat(5.1, "controller")
    fleet.tick(5.1)
    assert fleet.deadline() == 5.1 + LAST_WORDS
    fleet.tick(5.1 + LAST_WORDS)
    assert sidecar.kernel.sent[-1] == ("controller", KILLED)
    sidecar.ends("controller", 6.2)
    assert fleet.is_over


def test_nothing_is_started_again_while_draining(sidecar):
    sidecar.ends("controller", 4.0)
    sidecar.fleet.drain(4.0, 14.0)
    sidecar.ends("worker-0", 5.0)
    for second in range(5, 12):
        sidecar.fleet.tick(float(second))
    assert sidecar.started() == ["worker-1"]
    sidecar.ends("worker-1", 12.0, EXITED_0)
    assert sidecar.fleet.is_over


def test_ending_at_once_kills_the_workers_and_lets_the_controller_speak(sidecar):
    sidecar.fleet.end(5.0)
    assert sidecar.kernel.sent == [("worker-0", KILLED), ("worker-1", KILLED)]
    sidecar.ends("worker-0", 5.0)
    sidecar.ends("worker-1", 5.0)
    assert sidecar.fleet.control[1].receive() == ("stop",)
    assert sidecar.fleet.cut == 0


def test_a_stranger_is_not_ours(sidecar):
    assert not sidecar.fleet.reaped(os.getpid(), 0, 1.0)


STORY = st.lists(
    st.tuples(
        st.sampled_from(["worker-0", "worker-1", "controller", "drain", "beat", "nothing"]),
        st.floats(min_value=0.0, max_value=12.0, allow_nan=False),
    ),
    max_size=40,
)


@given(STORY)
def test_whatever_happens_the_books_are_right(story):
    sidecar = Sidecar().ready()
    fleet, now = sidecar.fleet, 0.0
    for what, pause in story:
        now += pause
        if what == "drain":
            fleet.drain(now, now + 5)
        elif what == "beat":
            sidecar.beat(now, "worker-0", "worker-1", "controller")
        elif what != "nothing" and sidecar.child(what).pid:
            sidecar.ends(what, now)
        fleet.tick(now)
        alive = {child.pid for child in fleet.children if child.pid}
        assert alive == set(sidecar.kernel.running)
        assert fleet.is_over == (fleet.stage is Stage.GONE)
        if fleet.stage is Stage.SERVING:
            assert all(child.pid or child.due < now + 6 for child in fleet.children)
        assert fleet.deadline() <= now + TICK + 1e-9 or fleet.is_over
    fleet.close()
