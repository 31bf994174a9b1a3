"""Work in steps: the same result, however it is paced."""

import weakref

import pytest

from meshd.core.steps import TOGETHER, each, let_go, run


def test_all_steps_at_once_give_the_result():
    def work():
        yield
        yield
        return "done"

    assert run(work()) == "done"


@pytest.mark.parametrize("count", [0, 1, TOGETHER - 1, TOGETHER, 3 * TOGETHER + 1])
def test_everything_is_acted_on_in_order_a_few_at_a_time(count):
    acted, sizes = [], []
    sizes.extend(len(acted) for _ in each(range(count), acted.append))
    assert acted == list(range(count))
    assert sizes == list(range(TOGETHER, count + 1, TOGETHER))


def test_a_mistake_comes_through():
    def work():
        yield
        raise KeyError("web")

    with pytest.raises(KeyError):
        run(work())


def test_what_is_let_go_goes_one_by_one():
    class Thing:
        pass

    things = [Thing() for _ in range(3)]
    alive = [weakref.ref(thing) for thing in things]
    left = [sum(thing() is not None for thing in alive) for _ in let_go(things)]
    assert left == [2, 1, 0]
