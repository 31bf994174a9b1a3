"""What a delta leads to, however many messages it takes, whichever of them get lost, whoever took what before."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.compiled import PLAIN, service
from support.documents import document

from meshd.config.documents import Document, Documents, collect
from meshd.core.steps import run
from meshd.process import delta as module
from meshd.process.channel import pair
from meshd.process.delta import GONE, WHOLE, Delta, Gathering, applying, head_of, packed
from meshd.process.ledger import Ledger


def read(text):
    return [Document(document(part).model, "a.yaml", b"") for part in text.split("---\n") if part.strip()]


# Two versions of each document. What is the same in two sets is the same object, as it is in a controller.
PIECES = {(name, version): read(service(name, f"10.0.0.{version}")) for name in "abc" for version in (1, 2)}
PIECES |= {("plain", version): read(PLAIN) for version in (1, 2)}
SETS = st.dictionaries(st.sampled_from(["a", "b", "c", "plain"]), st.sampled_from([1, 2]))


def whole(chosen):
    found = [each for name, version in chosen.items() for each in PIECES[name, version]]
    return collect(found, digest=repr(sorted(chosen.items())))


def models(documents):
    return [each.model for each in documents.each()], documents.digest


def sent(delta, lost=()):
    """What arrives of it, as the other end puts it together."""
    gathering, got = Gathering(), []
    for place, message in enumerate(delta.messages()):
        if place not in lost:
            got.append(gathering.take(message))
    return got[-1] if got else None


@given(st.lists(SETS, min_size=2, max_size=6), st.data())
def test_whoever_has_any_generation_comes_to_the_newest(generations, data):
    sets = [whole(each) for each in generations]
    ledger = Ledger(sets[0], 1)
    for place, documents in enumerate(sets[1:], 2):
        ledger.record(documents, place)
    newest = len(sets)
    has = data.draw(st.integers(1, newest))
    told = sent(ledger.since(data.draw(st.integers(1, has)), newest, reread=False))
    after = run(applying(sets[has - 1], told))
    assert models(after) == models(sets[-1])
    assert models(run(applying(after, told))) == models(sets[-1])  # taken twice


@given(SETS, st.lists(st.none() | SETS, min_size=2, max_size=6), st.data())
def test_one_laid_over_the_other_leads_to_the_same(first, generations, data):
    """None: new certificates and no new documents. After them the next documents ended the supervisor."""
    documents = begun = whole(first)
    ledger, held = Ledger(documents, 1), None
    for generation, chosen in enumerate(generations, 2):
        if chosen is not None:
            documents = whole(chosen)
            ledger.record(documents, generation)
        since = data.draw(st.integers(1, generation - 1))
        held = ledger.since(since, generation, reread=chosen is None).over(held)
        assert held.generation == generation
    assert models(run(applying(begun, held))) == models(documents)
    assert held.reread == (None in generations)


def test_what_a_delta_does_not_name_stays_the_same_object():
    before = whole({"a": 1, "b": 1})
    ledger = Ledger(before, 1)
    ledger.record(whole({"a": 1, "b": 2}), 2)
    delta = ledger.since(1, 2, reread=False)
    assert sorted(delta.documents) == ["EndpointSlice shop/b-1", "Service shop/b"]
    after = run(applying(before, delta))
    assert after.services[0] is before.services[0]
    assert after.endpoint_slices[0] is before.endpoint_slices[0]
    assert after.endpoint_slices[1].model != before.endpoint_slices[1].model


def test_a_whole_set_takes_the_place_of_whatever_was_there():
    delta = Delta(9, WHOLE, {each.title: packed(each) for each in PIECES["a", 1]}, head_of(Documents()), reread=False)
    assert len(run(applying(whole({"b": 1, "c": 1}), delta))) == 2
    assert delta.over(Delta(8, 1, {"Service shop/b": GONE}, b"", reread=True)) == replace(delta, reread=True)


@pytest.mark.parametrize("lost", [{0}, {1}, {2}, {0, 2}])
def test_a_delta_of_which_a_message_is_lost_is_none(lost, monkeypatch):
    monkeypatch.setattr(module, "PART", 1)
    ledger = Ledger(Documents(), 1)
    ledger.record(whole({"plain": 1, "a": 1}), 2)
    delta = ledger.since(1, 2, reread=False)
    assert len(list(delta.messages())) == 4  # three documents, and the end
    assert sent(delta, lost) is None
    assert sent(delta) == delta


def test_what_is_told_again_is_put_together_anew(monkeypatch):
    monkeypatch.setattr(module, "PART", 1)
    ledger = Ledger(Documents(), 1)
    ledger.record(whole({"a": 1}), 2)
    delta, gathering = ledger.since(1, 2, reread=False), Gathering()
    messages = list(delta.messages())
    for message in [*messages[:2], *messages]:
        got = gathering.take(message)
    assert got == delta


def test_messages_are_bounded_and_go_over_a_channel(monkeypatch):
    monkeypatch.setattr(module, "PART", 1000)
    ledger = Ledger(Documents(), 1)
    ledger.record(whole({"a": 1, "b": 1, "c": 1}), 2)
    delta = ledger.since(1, 2, reread=True)
    ours, theirs = pair()
    gathering = Gathering()
    for message in delta.messages():
        assert sum(len(body) for _, body in message[4]) < 1000 + 4000  # one document more
        assert ours.send(*message)
        got = gathering.take(theirs.receive())
    assert got == delta
    ours.close()
    theirs.close()
