"""Which command is run, and what is said when none is."""

import pytest

from meshd import __version__
from meshd.cli.main import COMMANDS, main


@pytest.mark.parametrize("line", ["version", "-V", "--version"])
def test_the_version_is_told_in_every_spelling(line, capsys):
    assert main([line]) == 0
    assert capsys.readouterr().out == f"meshd {__version__}\n"


def test_every_command_has_help_that_begins_with_its_line_of_the_table(capsys):
    for name in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: meshd {name} ")


def test_help_of_a_command_may_be_asked_for_the_other_way_round(capsys):
    with pytest.raises(SystemExit):
        main(["help", "check"])
    assert "usage: meshd check" in capsys.readouterr().out


def test_a_command_that_is_none_is_told_the_nearest(capsys):
    assert main(["chekc"]) == 2
    assert "did you mean 'check'?" in capsys.readouterr().err
    assert main([]) == 2


def test_what_follows_two_dashes_is_for_run_alone(capsys):
    with pytest.raises(SystemExit):
        main(["check", "a", "--", "--json"])
    assert "meshd: error: check takes nothing after --" in capsys.readouterr().err
