"""Memory is given back once a crowd has left, and not for every connection."""

from meshd.net.heap import CROWD, PAUSE, Heap


def test_a_crowd_that_left_is_worth_while():
    heap = Heap()
    heap.look(CROWD + 10, 0.0)
    heap.look(11, 1.0)
    assert heap.trimmed == 0
    heap.look(10, 2.0)
    assert heap.trimmed == 1
    heap.look(0, 3.0)
    assert heap.trimmed == 1
    assert repr(heap) == "<Heap of 10 connections, trimmed 1 times>"


def test_crowds_that_come_and_go_are_not_followed_at_once():
    heap = Heap()
    for at in (1.0, 1.1, 1.2):
        heap.look(CROWD, at)
        heap.look(0, at)
    assert heap.trimmed == 1
    heap.look(CROWD, 1.0 + PAUSE)
    heap.look(0, 1.0 + PAUSE)
    assert heap.trimmed == 2
