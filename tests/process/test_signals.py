"""Signals as numbers, in order."""

import os
import select
import signal

import pytest

from meshd.process.signals import HEARD, Signals


@pytest.fixture
def signals():
    before = {number: signal.getsignal(number) for number in HEARD}
    signals = Signals()
    signals.listen()
    yield signals
    signals.close()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_nothing_arrived(signals):
    assert signals.take() == []


def test_what_arrived_is_told_once_and_wakes(signals):
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert select.select([signals], [], [], 1)[0]
    assert signals.take() == [signal.SIGHUP, signal.SIGUSR1]
    assert signals.take() == []
