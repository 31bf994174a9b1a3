from support.exchanges import make_exchange

from meshd.core.cells import Cells
from meshd.telemetry import report
from meshd.telemetry.metrics import Metrics
from meshd.telemetry.records import Recorder
from meshd.telemetry.report import COMPLETE_EVERY, Report, read_report


class Wire:
    def __init__(self):
        self.taken = []
        self.full = False

    def send(self, payload):
        if not self.full:
            self.taken.append(payload)
        return not self.full


def make():
    wire = Wire()
    recorder = Recorder(Cells(), lambda _: True, 0.0, keep_all=False)
    return wire, recorder, Report(recorder, wire.send, incarnation=7)


def keys(wire):
    found = set()
    for payload in wire.taken:
        _incarnation, counters, gauges, histograms = read_report(payload)
        found |= {key[0] for key, _ in counters} | {key[0] for key, _ in gauges} | {key[0] for key, *_ in histograms}
    wire.taken.clear()
    return found


ALL = {
    "meshd.exchanges",
    "meshd.exchange.received",
    "meshd.exchange.sent",
    "http.server.request.duration",
    "http.server.request.body.size",
    "http.server.response.body.size",
    "http.client.request.duration",
    "custom",
    "idle",
}


def test_only_what_changed_is_sent():
    wire, recorder, pushed = make()
    recorder.finish(make_exchange(), 0.0)
    recorder.cells.add("custom")
    recorder.cells.set("idle", 3)
    assert pushed.push()
    assert keys(wire) == ALL
    assert pushed.push()
    assert keys(wire) == set()
    recorder.cells.add("custom", amount=2)
    recorder.cells.set("idle", 3)
    assert pushed.push()
    assert keys(wire) == {"custom"}


def test_what_the_channel_did_not_take_comes_again():
    wire, recorder, pushed = make()
    recorder.finish(make_exchange(), 0.0)
    recorder.cells.add("custom")
    recorder.cells.set("idle", 3)
    wire.full = True
    assert not pushed.push()
    wire.full = False
    assert pushed.push()
    assert keys(wire) == ALL


def test_each_part_waits_for_the_channel():
    wire, recorder, pushed = make()
    recorder.cells.add("custom")
    recorder.cells.histogram("h").observe(1)
    wire.full = True
    assert not pushed.push()
    recorder.cells.counters.clear()
    assert not pushed.push()
    wire.full = False
    assert pushed.push()
    assert keys(wire) == {"h"}


def test_now_and_then_everything_is_sent():
    wire, recorder, pushed = make()
    recorder.cells.add("custom")
    pushes = []
    for _ in range(COMPLETE_EVERY + 1):
        pushed.push()
        pushes.append(keys(wire))
    assert pushes == [{"custom"}, *[set()] * (COMPLETE_EVERY - 1), {"custom"}]


def test_after_a_reset_everything_is_sent():
    wire, recorder, pushed = make()
    recorder.finish(make_exchange(), 0.0)
    recorder.cells.add("custom")
    recorder.cells.set("idle", 3)
    pushed.push()
    keys(wire)
    pushed.reset()
    pushed.push()
    assert keys(wire) == ALL


def test_many_values_go_in_many_messages(monkeypatch):
    monkeypatch.setattr(report, "CHUNK", 6)
    wire, recorder, pushed = make()
    for number in range(20):
        recorder.finish(make_exchange(status=200 + number), 0.0)
        recorder.cells.add("custom", (("n", str(number)),))
    assert pushed.push()
    assert len(wire.taken) > 10
    metrics = Metrics()
    for payload in wire.taken:
        metrics.merge("worker 0", payload)
    families = {family.name: family for family in metrics.collect()}
    assert len(families["meshd.exchanges"].points) == 20
    assert sum(value for _, value in families["custom"].points) == 20
    assert sum(each.count for _, each in families["http.server.request.duration"].distributions) == 20


def test_a_message_says_whose_it_is():
    wire, recorder, pushed = make()
    recorder.cells.add("custom")
    pushed.push()
    assert read_report(wire.taken[0]) == (7, [(("custom", ()), 1)], [], [])
    assert repr(pushed) == "<Report 1 pushes, 1 values>"
