"""Completions, asked of a real bash; of the other shells, where they are installed, at least that they read them."""

import os
import shutil
import subprocess

import pytest

from meshd.cli.completion import bash, fish, zsh
from meshd.cli.grammar import all_commands
from meshd.cli.main import COMMANDS

ASK = """
source /dev/stdin
ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _meshd; printf '%s\\n' "${COMPREPLY[@]}"; }
ask "$@"
"""


@pytest.fixture(scope="module")
def script():
    return "\n".join(bash(all_commands()))


@pytest.fixture
def complete(script):
    def ask(*words):
        shell = shutil.which("bash") or pytest.skip("bash is not installed")
        argv = [shell, "--norc", "-euc", ASK, "ask", "meshd", *words]
        done = subprocess.run(argv, input=script, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    return ask


def test_commands(complete):
    assert complete("") == [*COMMANDS, "--help", "--version"]
    assert complete("sim") == ["simulate"]
    assert set(complete("ca", "")) >= {"init", "issue", "renew", "verify"}
    assert complete("ca", "rotate-root", "st") == ["start"]


def test_options_and_their_values(complete):
    assert complete("run", "--log-f") == ["--log-format"]
    assert complete("run", "--log-format", "") == ["text", "json"]
    assert complete("check", "-f", "x.yaml", "--st") == ["--strict"]
    assert "--service-account" in complete("ca", "issue", "--")
    assert complete("schema", "HTTPR") == ["HTTPRoute"]
    assert complete("completion", "z") == ["zsh"]


def test_where_files_follow_the_shell_completes_them(complete):
    assert complete("check", "-f", "") == []
    assert complete("run", "--", "") == []


def test_words_of_others_are_never_run(complete, tmp_path):
    assert complete(f"$(touch {tmp_path}/run)", "`touch x`", "") == complete("")
    assert list(tmp_path.iterdir()) == []


ASK_ZSH = """
compdef() { }
compadd() { shift; print -l -- "$@" }
_files() { print FILES }
source /dev/stdin
words=("$@") CURRENT=$#
_meshd
"""


def test_zsh_is_told_the_same():
    shell = shutil.which("zsh") or pytest.skip("zsh is not installed")

    def ask(*words):
        argv = [shell, "-fc", ASK_ZSH, "ask", "meshd", *words]
        text = "\n".join(zsh(all_commands()))
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    assert ask("") == [*COMMANDS, "--help", "--version"]
    assert {"init", "issue"} <= set(ask("ca", ""))
    assert ask("run", "--log-format", "") == ["text", "json"]
    assert ask("check", "-f", "") == ["FILES"]
    assert "HTTPRoute" in ask("schema", "")


def test_fish_is_told_the_same(tmp_path):
    shell = shutil.which("fish") or pytest.skip("fish is not installed")
    script = tmp_path / "meshd.fish"
    script.write_text("\n".join(fish(all_commands())))

    def ask(line):
        argv = [shell, "--no-config", "-c", f"source {script}; complete -C '{line}'"]
        environ = {**os.environ, "HOME": str(tmp_path)}
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=environ, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        return [row.split("\t")[0] for row in done.stdout.splitlines()]

    assert set(ask("meshd ")) >= set(COMMANDS)
    assert {"init", "issue"} <= set(ask("meshd ca "))
    assert "--service-account" in ask("meshd ca issue --")
    assert ask("meshd run --log-format ") == ["json", "text"]
    assert "HTTPRoute" in ask("meshd schema ")


@pytest.mark.parametrize(("shell", "write"), [("bash", bash), ("zsh", zsh), ("fish", fish)])
def test_the_shell_reads_its_script(shell, write):
    text = "\n".join(write(all_commands()))
    assert all(name in text for name in COMMANDS)
    found = shutil.which(shell) or pytest.skip(f"{shell} is not installed")
    done = subprocess.run([found, "-n"], input=text, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
