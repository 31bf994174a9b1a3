"""A controller whose workers and supervisor are the other ends of its channels: who is told of keys, and when again."""

from meshd.process.board import Board, Phase
from meshd.process.channel import pair
from meshd.process.clock import monotonic
from meshd.process.controller import BEHIND, Controller
from meshd.process.key_sets import Fetched
from meshd.process.start import ControllerStart


class Bench:
    """A controller of one worker that is ready."""

    def __init__(self, folder):
        self.board = Board(1)
        self.board.workers[0].begin(monotonic(), 0)
        self.board.workers[0].show(Phase.READY, 1)
        ours, self.worker = pair()
        supervisor, self.supervisor = pair()
        accepted = folder.accepted()
        self.board.workers[0].beat(monotonic(), accepted.generation)
        self.start = ControllerStart(accepted, None, (), (ours,), supervisor, self.board)
        self.controller = Controller(self.start, folder.source())
        self.controller.tick()

    def keys(self, channel):
        """What was said of keys to that end."""
        found = []
        while (message := channel.receive()) is not None:
            if message[0] == "keys":
                found.append(message[1:])
        return found

    def fetched(self, version, **texts):
        """As if these key sets had just come."""
        for uri, text in texts.items():
            self.controller._key_sets._sets.setdefault(uri, Fetched(text)).text = text
        self.controller._key_sets.version = version
        self.controller._tell_keys()

    def close(self):
        self.board.close()
        for channel in (self.worker, self.supervisor, self.start.supervisor, *self.start.workers):
            channel.close()


def test_keys_go_to_everybody_and_are_said_again_to_a_worker_that_stays_behind(folder):
    bench = Bench(folder)
    try:
        bench.fetched(1, uri="text")
        told = (1, {"uri": "text"})
        assert bench.keys(bench.worker) == bench.keys(bench.supervisor) == [told]
        for _ in range(BEHIND + 1):
            bench.controller.tick()
        assert bench.keys(bench.worker) == [told]
        bench.controller._intake.take(0, ("keys", 1))
        for _ in range(3 * BEHIND):
            bench.controller.tick()
        assert bench.keys(bench.worker) == []
    finally:
        bench.close()


def test_a_worker_that_knows_newer_keys_than_we_do_is_told_ours_by_a_newer_version(folder):
    """Its controller died after the worker had heard of keys, and before the supervisor had."""
    bench = Bench(folder)
    try:
        bench.fetched(1, uri="text")
        bench.keys(bench.worker)
        bench.controller._intake.take(0, ("keys", 5))
        bench.controller.tick()
        assert bench.keys(bench.worker) == [(6, {"uri": "text"})]
    finally:
        bench.close()
