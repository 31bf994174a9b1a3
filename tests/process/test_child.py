"""A forked child: what it inherits, what it ignores, how its end is told."""

import os
import select
import signal
import subprocess
import sys

import pytest

from meshd.process.child import CRASHED, cause, exit_code, fork


def outcome(body):
    return os.waitpid(fork("tester", body), 0)[1]


def test_the_exit_code_is_what_the_body_returns():
    assert os.waitstatus_to_exitcode(outcome(lambda: 7)) == 7


def test_a_crash_is_told_and_never_climbs_into_the_parent():
    def body():
        raise KeyError("bug")

    assert os.waitstatus_to_exitcode(outcome(body)) == CRASHED


def test_a_child_ignores_what_is_meant_for_its_leader():
    def body():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        return 3

    assert os.waitstatus_to_exitcode(outcome(body)) == 3


def test_no_signal_stays_blocked():
    assert os.waitstatus_to_exitcode(outcome(lambda: len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))) == 0
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_child_is_killed_with_its_parent():
    program = (
        "import os, time\nfrom meshd.process.child import fork\n"
        "pid = fork('tester', lambda: time.sleep(60) or 0)\nprint(pid, flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        gone = os.pidfd_open(child)
        parent.kill()
        parent.wait()
        poll = select.poll()
        poll.register(gone)
        assert poll.poll(2000), "the child outlived its parent"
        os.close(gone)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (0, 0, "exit code 0"),
        (5 << 8, 5, "exit code 5"),
        (9, 137, "SIGKILL"),
        (15, 143, "SIGTERM"),
        (50, 178, "signal 50"),
    ],
)
def test_a_status_in_words(status, code, words):
    assert (exit_code(status), cause(status)) == (code, words)
