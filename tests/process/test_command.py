"""The app: started, signalled, reaped."""

import os
import signal
from pathlib import Path

import pytest

from meshd.process.command import NOT_EXECUTABLE, NOT_FOUND, Command


def run(*argv):
    command = Command(argv)
    command.start()
    command.reaped(os.waitpid(command.pid, 0)[1])
    return command


def test_it_runs_and_its_code_is_kept():
    command = run("sh", "-c", "exit 4")
    assert command.code == 4
    assert not command.is_running


def test_a_command_that_is_not_there_or_cannot_run(tmp_path, capfd):
    assert run("surely-no-such-command").code == NOT_FOUND
    (tmp_path / "text").write_text("no program")
    assert run(str(tmp_path / "text")).code == NOT_EXECUTABLE
    assert "command not found" in capfd.readouterr().err


STANDARD_SIGNALS = (1 << 31) - 1  # 32 and 33 are the C library's own: what they are is inherited, and out of reach


def ignored_here():
    """As bits: whoever runs the tests may have had some ignored, as a shell does with SIGQUIT in the background."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("SigIgn")]
    return int(line.split()[1], 16) & ~(1 << signal.SIGPIPE - 1)  # Python ignores that one


def test_the_app_has_the_signals_of_any_program(capfd):
    inherited = ignored_here() & ~(1 << signal.SIGHUP - 1)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run("grep", "-E", "SigIgn|SigBlk", "/proc/self/status")
    finally:
        signal.signal(signal.SIGHUP, before)
    blocked, ignored = (int(line.split()[1], 16) for line in capfd.readouterr().out.splitlines())
    assert blocked == 0
    assert ignored & STANDARD_SIGNALS & ~inherited == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_signals_reach_it_until_it_has_ended(number):
    command = Command(["sleep", "60"])
    command.signal(number)
    command.start()
    command.signal(number)
    command.reaped(os.waitpid(command.pid, 0)[1])
    assert command.code == 128 + number
    command.signal(number)
    command.kill()
    assert repr(command) == f"<Command sleep ended {128 + number}>"
