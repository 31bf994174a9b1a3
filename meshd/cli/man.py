"""`meshd man`: the manual page, made from the parsers: `meshd man | man -l -`, or into man1/meshd.1."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Final

from meshd import __version__
from meshd.cli.exit_codes import EXIT_CODES, OK
from meshd.cli.grammar import Command, Option, all_commands

TOLD: Final = "print the manual page"
ABOUT: Final = """
meshd stands next to a service, takes its traffic in and out, and between two sidecars adds mutual TLS with SPIFFE
identities, authorization, safe retries, load balancing over warm connections, and traces. It speaks Gateway API routes
and Istio policies, and needs no Kubernetes."""
ENVIRONMENT: Final[Mapping[str, str]] = {
    "MESHD_LOG_LEVEL, MESHD_LOG_FORMAT": "what run logs, and how; the options win.",
    "MESHD_FIELD": "overrides a field of the Proxy document's spec, by its path in capitals: MESHD_DRAIN=30s.",
    "MESHD_H2": "h2: use that library for HTTP/2 even where jh2 is installed.",
    "NO_COLOR": "leaves colours out.",
}
FILES: Final[Mapping[str, str]] = {
    "proxy.yaml": "the Proxy document that commands read when none is named with -f.",
    "policies/": "beside it, the documents that it reads unless it names others.",
}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:  # argparse has no other name
    """Declare the command."""
    parser = subparsers.add_parser("man", help=TOLD, description=f"{TOLD}: meshd man | man -l -")
    parser.set_defaults(run=run)


def run(_args: argparse.Namespace) -> int:
    """Print; the exit code."""
    print("\n".join(page(all_commands())))
    return OK


def page(commands: tuple[Command, ...]) -> Iterator[str]:
    """The page in man(7)."""
    yield f'.TH MESHD 1 "" "meshd {__version__}" "User Commands"'
    yield from (".SH NAME", r"meshd \- a sidecar service-mesh proxy")
    yield from (".SH SYNOPSIS", ".B meshd", r"\fICOMMAND\fR [\fIOPTION\fR]...")
    yield from (".SH DESCRIPTION", plain(ABOUT))
    yield ".SH COMMANDS"
    for command in commands:
        for each in command.walk():
            yield from _command(each)
    yield from _table("EXIT STATUS", EXIT_CODES)
    yield from _table("ENVIRONMENT", ENVIRONMENT)
    yield from _table("FILES", FILES)


def plain(text: str) -> str:
    """Text that says the same to roff: no escapes, no requests, hyphens that can be copied."""
    line = " ".join(text.split()).replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{line}" if line.startswith((".", "'")) else line


def _command(command: Command) -> Iterator[str]:
    yield f".SS {plain('meshd ' + ' '.join(command.words))}"
    for line in command.description.splitlines():
        yield from ([".br"] if line.startswith(" ") else [])  # a line of an example
        yield plain(line)
    for option in command.options:
        yield ".TP"
        yield _heading(option)
        yield plain(option.told) or r"\&"


def _heading(option: Option) -> str:
    if option.is_positional:
        more = "..." if option.is_repeated else ""
        return rf"\fI{plain(option.value.upper())}\fR{more}"
    value = rf" \fI{plain(option.value)}\fR" if option.value else ""
    if option.choices:
        value = rf" {plain('|'.join(option.choices))}"
    return ", ".join(rf"\fB{plain(name)}\fR" for name in option.names) + value


def _table(title: str, rows: Mapping[str, str]) -> Iterator[str]:
    yield f".SH {title}"
    for name, told in rows.items():
        yield from (".TP", rf"\fB{plain(name)}\fR", plain(told))
