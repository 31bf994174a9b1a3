"""What a set says of itself."""

import os


def test_workers_may_be_one_a_core(folder):
    loaded = folder.source(**{"spec.workers": "auto"}).read_proxy()
    accepted = folder.source().read_all(loaded, 4)
    assert accepted.workers == len(os.sched_getaffinity(0))
    assert (accepted.generation, accepted.drain, accepted.proxy.name) == (4, 2.0, "orders")


def test_workers_may_be_a_number(folder):
    assert folder.source().read_all(folder.source(**{"spec.workers": "3"}).read_proxy(), 1).workers == 3
