"""What workers send, and where it goes."""

import json

import pytest

from meshd.core.cells import Cells
from meshd.core.exchange import Exchange
from meshd.core.head import RequestHead
from meshd.core.peer import NOBODY
from meshd.process.channel import pair
from meshd.process.intake import BACKLOG, PASS, Intake
from meshd.telemetry.records import Recorder
from meshd.telemetry.report import Report


class FakeExporter:
    def __init__(self):
        self.offered = []

    def offer(self, records):
        self.offered.extend(records)

    def counters(self):
        return iter(())


@pytest.fixture
def ends():
    ours, theirs = pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def recorder(channel):
    return Recorder(Cells(), lambda payload: channel.send("records", payload), 0.0, keep_all=True)


def exchange(path=b"/"):
    made = Exchange(RequestHead(b"GET", path, b"orders"), NOBODY, 1.0, inbound=True)
    made.status, made.ended = 200, 2.0
    return made


def test_records_reach_everybody_and_wait_for_a_late_exporter(ends, tmp_path):
    intake, exporter = Intake(1), FakeExporter()
    intake.open_access_log(str(tmp_path / "access.log"), "json")
    intake.expect_exporter()
    source = recorder(ends[0])
    for place in range(3):
        source.finish(exchange(b"/%d" % place), 2.0)
        source.flush(2.0, force=True)
    assert not intake.read(0, ends[1])
    intake.attach(exporter)
    source.finish(exchange(b"/late"), 3.0)
    source.flush(3.0, force=True)
    intake.read(0, ends[1])
    assert [record.path for record in intake.recent.latest()] == ["/late", "/2", "/1", "/0"]
    assert [record.path for record in exporter.offered] == ["/0", "/1", "/2", "/late"]
    next(intake.close(1.0))()
    assert len((tmp_path / "access.log").read_text().splitlines()) == 4


def test_what_waits_for_the_exporter_is_bounded():
    intake, exporter = Intake(1), FakeExporter()
    intake.expect_exporter()
    ours, theirs = pair()
    source = recorder(ours)
    for _ in range(BACKLOG // 64 + 5):
        for _ in range(64):
            source.finish(exchange(), 2.0)
        intake.read(0, theirs)
    intake.attach(exporter)
    assert len(exporter.offered) == BACKLOG
    ours.close()
    theirs.close()


def test_numbers_add_up_over_a_restart(ends):
    intake = Intake(1)
    for incarnation in (1, 2):
        source = recorder(ends[0])
        report = Report(source, lambda payload: ends[0].send("cells", payload), incarnation)
        source.refused("inbound-0", "expired")
        report.push()
        intake.read(0, ends[1])
        intake.forget(0)
    families = {family.name: family for family in intake.metrics.collect()}
    assert families["meshd.connections.refused"].points[0][1] == 2


def test_state_and_refusals_are_kept_by_slot(ends):
    intake = Intake(2)
    ends[0].send("state", json.dumps({"connections": 4}))
    ends[0].send("refused", 9, "no such cluster")
    intake.read(1, ends[1])
    assert intake.states == [None, {"connections": 4}]
    assert intake.refused == [0, 9]
    intake.forget(1)
    assert (intake.states, intake.refused) == ([None, None], [0, 0])


def test_one_worker_does_not_keep_the_others_waiting(ends):
    intake = Intake(1)
    for _ in range(PASS + 1):
        ends[0].send("state", "1")
    assert intake.read(0, ends[1])
    assert not intake.read(0, ends[1])
