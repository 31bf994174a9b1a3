"""What the controller remembers of generations; that its deltas lead where they should stands beside `delta.py`."""

from support.compiled import service
from support.documents import document

from meshd.config.documents import Document, collect
from meshd.process import ledger as module
from meshd.process.delta import GONE, WHOLE
from meshd.process.ledger import Ledger

PIECES = {
    name: [Document(document(part).model, "a.yaml", b"") for part in service(name).split("---\n")] for name in "abcd"
}


def of(*names):
    return collect(each for name in names for each in PIECES[name])


def test_nothing_changed_since_the_newest():
    ledger = Ledger(of("a"), 7)
    delta = ledger.since(7, 8, reread=True)
    assert (delta.generation, delta.since, delta.documents, delta.head, delta.reread) == (8, 7, {}, b"", True)


def test_whoever_has_missed_what_it_does_not_know_gets_everything():
    ledger = Ledger(of("a"), 7)  # as a successor begins: what went before, nobody told it
    delta = ledger.since(6, 7, reread=False)
    assert (delta.since, len(delta.documents)) == (WHOLE, 2)


def test_names_of_the_gone_are_not_kept_for_ever(monkeypatch):
    monkeypatch.setattr(module, "MOST_GONE", 3)
    ledger = Ledger(of("a", "b", "c", "d"), 1)
    ledger.record(of("a", "b", "c"), 2)
    delta = ledger.since(1, 2, reread=False)
    assert (delta.since, set(delta.documents.values())) == (1, {GONE})
    ledger.record(of("a"), 3)
    assert ledger.since(1, 3, reread=False).since == WHOLE


def test_what_comes_back_is_there():
    first = of("a", "b")
    ledger = Ledger(first, 1)
    ledger.record(of("a"), 2)
    ledger.record(first, 3)
    assert all(ledger.since(2, 3, reread=False).documents.values())
