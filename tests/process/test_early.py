"""A signal that comes while `meshd run` starts ends it in order or is told of later; it never ends it by accident."""

import os
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have had it ignored, as nohup does
from meshd.process.early import prepare
prepare(["meshd", *sys.argv[1:]])
os.write(1, b"prepared\\n")
from meshd.process.signals import Signals
sys.stdin.readline()
signals = Signals()
signals.listen()
os.write(1, repr([int(number) for number in signals.take()]).encode())
"""


def started(*arguments):
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout.readline() == "prepared\n"
    return program


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_what_does_not_ask_to_end_is_told_of_later(number):
    program = started("run")
    program.send_signal(number)
    told, _ = program.communicate("go on\n", timeout=30)
    assert (program.returncode, told) == (0, f"[{int(number)}]")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_asked_to_end_ends_at_once_as_if_drained(number):
    with started("run") as program:
        program.send_signal(number)
        assert program.wait(30) == 0


def test_other_commands_are_left_alone():
    with started("check") as program:
        program.send_signal(signal.SIGHUP)
        assert program.wait(30) == -signal.SIGHUP


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_closed_standard_stream_gives_its_number_to_nobody(closed, tmp_path):
    code = (
        "import os, sys; from meshd.process.early import keep_standard_streams; keep_standard_streams();"
        "new = os.open(os.devnull, os.O_RDONLY); open(sys.argv[1], 'w').write(str(new))"
    )
    seen = tmp_path / "seen"
    command = f'"$0" -c "$1" "$2" {closed}'
    subprocess.run(["sh", "-c", command, sys.executable, code, str(seen)], check=True, timeout=30, env=os.environ)
    assert int(seen.read_text()) > 2
