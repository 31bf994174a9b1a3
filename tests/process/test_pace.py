"""Signs of life while a process starts, and the collector while much comes to be."""

import gc

import pytest

from meshd.process.pace import BEAT, CollectorRests, with_signs_of_life


def test_life_is_shown_as_often_as_it_should_be():
    now, beats = [100.0], []

    def work():
        for _ in range(10):
            now[0] += BEAT / 2
            yield
        return "done"

    assert with_signs_of_life(work(), beats.append, lambda: now[0]) == "done"
    assert beats == [100.0 + BEAT * beat for beat in range(6)]


def test_no_work_shows_life_once():
    def work():
        return "done"
        yield

    beats = []
    assert with_signs_of_life(work(), beats.append, lambda: 1.0) == "done"
    assert beats == [1.0]


@pytest.fixture
def counted_collections():
    """The oldest generation that each collection looked at."""
    seen = []

    def note(phase, info):
        if phase == "start":
            seen.append(info["generation"])

    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)
    gc.unfreeze()


def test_nothing_is_collected_meanwhile_and_what_stays_is_set_apart(counted_collections):
    frozen = gc.get_freeze_count()
    with CollectorRests():
        kept = [[number] for number in range(50_000)]
    assert counted_collections == []
    assert gc.isenabled()
    assert gc.get_freeze_count() - frozen >= len(kept)


@pytest.mark.slow
def test_of_a_small_change_nothing_is_set_apart(counted_collections):
    gc.collect()
    frozen = gc.get_freeze_count()
    with CollectorRests():
        kept = [[number] for number in range(100)]
    assert (gc.get_freeze_count(), len(kept)) == (frozen, 100)


def test_a_collector_that_rested_before_rests_on():
    gc.disable()
    try:
        with CollectorRests():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
