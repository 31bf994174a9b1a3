"""A worker around a data path that only remembers: readiness, renewal, ticks, the end."""

import json
import os
import signal
from dataclasses import dataclass

import pytest
import trio

from meshd.config.documents import Documents
from meshd.config.errors import ConfigError, Problem
from meshd.net.pace import between_requests
from meshd.process.board import Board, Phase
from meshd.process.channel import pair
from meshd.process.clock import monotonic
from meshd.process.delta import GONE, Delta, head_of, packed
from meshd.process.start import WorkerStart
from meshd.process.worker import TICK, Worker


@dataclass
class Pool:
    live: int = 2


class FakePath:
    """Serves nothing, and says what was asked of it."""

    def __init__(self, start, recorder):
        self.recorder = recorder
        self.adopted = []
        self.deadline = None
        self.refuse = {}  # by generation
        self.steps = 0  # that it takes to compile
        self.taken = 0
        self.slow = False
        self.parted = False
        self.exchanges = []
        self.keys = []
        self.wanted = []
        self.drained = trio.Event()

    def part_from_app(self):
        self.parted = True

    async def run(self, *, ready):
        if self.slow:
            await trio.sleep_forever()
        ready()
        await self.drained.wait()

    async def drain(self, deadline, is_replaced):
        self.deadline = deadline - trio.current_time()
        self.is_replaced = is_replaced
        self.drained.set()

    async def adopt(self, accepted, is_overtaken):
        await between_requests(self.compiling(accepted), is_overtaken)
        self.adopted.append(accepted)

    def compiling(self, accepted):
        for _ in range(self.steps):
            self.taken += 1
            yield
        if self.refuse and accepted.generation in self.refuse:
            raise self.refuse[accepted.generation]

    def take_keys(self, texts):
        self.keys.append(texts)

    def wanted_keys(self):
        wanted, self.wanted = self.wanted, []
        return wanted

    def under_way(self):
        return self.exchanges

    def describing(self):
        yield
        return {"connections": 3, "clusters": {"a": {"pool": Pool()}, 'b"': {}}}


class Bench:
    """One worker and the controller's end of its channel."""

    def __init__(self, folder):
        self.board = Board(1)
        self.row = self.board.workers[0]
        self.row.begin(monotonic(), 0)
        ours, self.controller = pair()
        self.paths = []
        self.start = WorkerStart(0, folder.accepted(), {}, ours, self.row, self.board)
        self.source = folder.source()

    def build(self, start, recorder):
        self.paths.append(FakePath(start, recorder))
        return self.paths[-1]

    def worker(self):
        worker = Worker(self.start, self.source, self.build)
        self.path = self.paths[-1]
        return worker

    def tell(self, generation, digest="", since=None, documents=None):
        """A new set, as the controller tells it."""
        head = head_of(Documents(digest=digest or f"d{generation}"))
        delta = Delta(generation, generation - 1 if since is None else since, documents or {}, head, reread=False)
        for message in delta.messages():
            self.controller.send(*message)

    def said(self, kind):
        found = []
        while (message := self.controller.receive()) is not None:
            if message[0] == kind:
                found.append(message)
        return found

    def close(self):
        self.board.close()
        self.controller.close()
        self.start.controller.close()


@pytest.fixture
def bench(folder):
    bench = Bench(folder)
    yield bench
    bench.close()


async def until(holds):
    while not holds():  # noqa: ASYNC110  # what it waits for tells nobody
        await trio.sleep(0.01)


async def test_it_says_ready_shows_life_and_reports(bench):
    worker = bench.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        await until(lambda: bench.row.status().phase is Phase.READY)
        assert bench.row.status().pid == os.getpid()
        assert bench.row.status().generation == 1
        told = []
        await until(lambda: told.extend(bench.said("state")) or told)
        assert json.loads(told[0][1]) == {"connections": 3, "clusters": {"a": {"pool": {"live": 2}}, 'b"': {}}}
        bench.path.drained.set()


async def test_it_parts_from_an_app_that_was_told_to_end(bench):
    worker = bench.worker()
    worker.tick(trio.current_time())
    assert not bench.path.parted
    bench.board.drain_deadline = monotonic() + 60
    bench.board.is_replaced = True  # another fleet serves on, and the app stays
    worker.tick(trio.current_time())
    assert not bench.path.parted
    bench.board.is_replaced = False
    worker.tick(trio.current_time())
    assert bench.path.parted


async def test_sigterm_drains_for_what_the_bootstrap_allows(bench):
    worker = bench.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        await until(lambda: bench.row.status().phase is Phase.READY)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    assert bench.row.status().phase is Phase.DRAINING
    assert 1.5 < bench.path.deadline <= 2.0


async def test_the_board_rules_how_long_a_drain_may_take(bench):
    worker = bench.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        await until(lambda: bench.row.status().phase is Phase.READY)
        bench.board.drain_deadline = monotonic() + 30
        os.kill(os.getpid(), signal.SIGTERM)
    assert 29 < bench.path.deadline <= 30
    assert not bench.path.is_replaced()
    bench.board.is_replaced = True
    assert bench.path.is_replaced()


async def test_told_to_end_before_it_serves_it_just_ends(bench):
    bench.board.drain_deadline = monotonic() + 30
    worker = bench.worker()
    bench.path.slow = True
    with trio.fail_after(1):
        await worker.run()
    assert bench.path.deadline is None


async def test_a_newer_set_is_adopted_and_an_older_one_is_not(bench):
    worker = bench.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        for generation in (1, 4, 4, 2):
            bench.tell(generation, since=1)
        await until(lambda: bench.row.status().generation == 4)
        bench.path.drained.set()
    assert [accepted.documents.digest for accepted in bench.path.adopted] == ["d4"]


async def test_a_set_that_is_complete_only_since_one_we_do_not_have_waits_to_be_told_again(bench):
    worker = bench.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        bench.tell(5, since=4)
        bench.tell(5, "again", since=1)
        await until(lambda: bench.row.status().generation == 5)
        bench.path.drained.set()
    assert [accepted.documents.digest for accepted in bench.path.adopted] == ["again"]


async def test_a_set_that_cannot_be_served_changes_nothing_and_is_told(bench):
    worker = bench.worker()
    bench.path.refuse[2] = ConfigError([Problem("error", "value", "route.yaml", expected="no such cluster")])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        bench.tell(2)
        found = []
        await until(lambda: found.extend(bench.said("refused")) or found)
        assert bench.row.status().generation == 1
        bench.tell(3)  # what follows on it is served
        await until(lambda: bench.row.status().generation == 3)
        bench.path.drained.set()
    assert found == [("refused", 2, "route.yaml: no such cluster")]
    assert [accepted.generation for accepted in bench.path.adopted] == [3]


async def test_a_storm_of_generations_ends_at_the_last(bench):
    worker = bench.worker()
    bench.path.steps = 100
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        for generation in range(2, 60):
            bench.tell(generation)
        await until(lambda: bench.row.status().generation == 59)
        bench.path.drained.set()
    assert bench.path.adopted[-1].documents.digest == "d59"


async def test_a_newer_generation_overtakes_one_that_is_still_compiling(bench):
    worker = bench.worker()
    bench.path.steps = 10**9
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        bench.tell(2)
        await until(lambda: bench.path.taken)
        assert bench.row.status().is_compiling
        bench.path.steps = 1
        bench.tell(3)
        await until(lambda: bench.row.status().generation == 3)
        await until(lambda: not bench.row.status().is_compiling)
        bench.path.drained.set()
    assert [accepted.generation for accepted in bench.path.adopted] == [3]


async def test_while_it_compiles_it_shows_life_and_whoever_waits_has_a_turn(bench):
    worker = bench.worker()
    bench.path.steps = 10**9
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        bench.tell(2)
        await until(lambda: bench.path.taken)
        began = bench.row.status().heartbeat
        await until(lambda: bench.row.status().heartbeat > began)
        assert bench.row.status().is_compiling
        assert bench.path.adopted == []
        nursery.cancel_scope.cancel()


async def test_one_document_that_changed_leaves_the_others_the_same(bench, folder):
    allow = folder.policies / "allow.yaml"
    allow.write_text(allow.read_text().replace("ALLOW", "DENY"))
    changed = folder.accepted().documents.authorization_policies[0]
    before = bench.start.accepted.documents
    worker = bench.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        bench.tell(2, documents={changed.title: packed(changed)})
        await until(lambda: bench.row.status().generation == 2)
        bench.tell(3, documents={changed.title: GONE})
        await until(lambda: bench.row.status().generation == 3)
        bench.path.drained.set()
    second, third = (accepted.documents for accepted in bench.path.adopted)
    assert second.authorization_policies[0].model.spec.action == "DENY"
    assert second.peer_authentications[0] is before.peer_authentications[0]
    assert (len(third), third.authorization_policies) == (1, ())


async def test_newer_keys_are_taken_and_older_ones_are_not(bench):
    worker = bench.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        for version, text in ((1, "first"), (3, "third"), (2, "second")):
            bench.controller.send("keys", version, {"uri": text})
        said = []
        await until(lambda: said.extend(bench.said("keys")) or len(said) == 3)
        bench.path.drained.set()
    assert bench.path.keys == [{"uri": "first"}, {"uri": "third"}]
    assert said == [("keys", 1), ("keys", 3), ("keys", 3)]
    assert bench.path.adopted == []  # nothing is compiled for it


async def test_keys_that_are_wanted_are_asked_for(bench):
    worker = bench.worker()
    worker.tick(trio.current_time())
    bench.path.wanted = ["uri"]
    worker.tick(trio.current_time())
    worker.tick(trio.current_time())
    assert bench.said("wanted") == [("wanted", ["uri"])]


async def test_the_last_numbers_leave_with_it(bench):
    worker = bench.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        await until(lambda: bench.row.status().phase is Phase.READY)
        bench.said("cells")
        bench.path.recorder.refused("inbound-0", "late")
        bench.path.drained.set()
    assert any(b"late" in payload for _, payload in bench.said("cells"))


async def test_without_a_reader_it_serves_on(bench, autojump_clock):
    worker = bench.worker()
    bench.controller.close()
    for tick in range(100):
        bench.path.recorder.refused("inbound-0", f"code-{tick}")
        worker.tick(tick * TICK)
    assert bench.start.controller.dropped > 10
    assert bench.row.status().heartbeat > 0
