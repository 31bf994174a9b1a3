"""What was made is used again only while everything it was made from is the same."""

from hypothesis import given
from hypothesis import strategies as st

from meshd.memory import Memory
from meshd.reuse import Reuse

THINGS = [[number] for number in range(4)]  # told apart by identity


def test_the_very_inputs_find_it_and_equal_ones_do_not():
    reuse = Reuse()
    one, other = [1], [1]
    assert reuse.keep("a", (one,), "made") == "made"
    assert reuse.find("a", (one,)) == "made"
    assert reuse.find("a", (other,)) is None
    assert reuse.find("a", (one, one)) is None
    assert reuse.find("b", (one,)) is None


def test_what_a_whole_turn_did_not_ask_for_is_forgotten():
    reuse = Reuse()
    for name in ("a", "b"):
        reuse.keep(name, (), name)
    reuse.begin()
    reuse.find("a", ())
    reuse.end()
    assert (reuse.find("a", ()), reuse.find("b", ())) == ("a", None)


def test_a_turn_that_never_ends_leaves_what_it_made():
    reuse = Reuse()
    reuse.begin()
    reuse.keep("a", (), "a")
    reuse.begin()
    reuse.keep("b", (), "b")
    assert reuse.find("a", ()) == "a"
    reuse.end()
    assert (reuse.find("a", ()), reuse.find("b", ())) == ("a", "b")


@given(st.lists(st.tuples(st.sampled_from("ab"), st.lists(st.sampled_from(THINGS), max_size=2))))
def test_it_is_a_function_of_its_inputs(asked):
    reuse = Reuse()
    for name, things in asked:
        inputs = tuple(things)
        found = reuse.find(name, inputs)
        assert found in (None, [name, *map(id, inputs)])
        if found is None:
            reuse.keep(name, inputs, [name, *map(id, inputs)])


def test_a_copy_goes_its_own_way():
    memory = Memory()
    memory.tables.keep("a", (), "table")
    other = memory.copy()
    assert other.tables.find("a", ()) == "table"
    assert other.random is not memory.random
    other.tables.keep("b", (), "more")
    assert memory.tables.find("b", ()) is None
    assert (memory.made, other.made) == (1, 1)
