"""`meshd completion bash|zsh|fish`: what a shell needs to complete command lines, made from the parsers themselves.

bash and zsh get one table, a row for each command: what may follow it. zsh reads it through its own emulation of
bash's completion, fish by lines of its own. Rule 1: only words of ours are written, quoted, so that nothing in a help
text can be run.
"""

import argparse
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from meshd.cli.exit_codes import OK
from meshd.cli.grammar import Command, all_commands, by_words
from meshd.config.schema import READ

TOLD: Final = "print the completions for a shell"
INSTALL: Final = """To have them in every shell from now on:
  bash  meshd completion bash > ~/.local/share/bash-completion/completions/meshd
  zsh   meshd completion zsh > ~/.zfunc/_meshd      (with ~/.zfunc in fpath before compinit)
  fish  meshd completion fish > ~/.config/fish/completions/meshd.fish
  (in this one only: source <(meshd completion bash))"""

BASH: Final = """# Completions of meshd for bash, made by `meshd completion bash`.
_meshd() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command=meshd word place
    COMPREPLY=()
    for ((place = 1; place < COMP_CWORD; place++)); do
        word=${COMP_WORDS[place]}
        [[ $word == -- ]] && { compopt -o default 2>/dev/null || :; return 0; }
        [[ -n ${_meshd_words[$command $word]+x} ]] && command+=" $word"
    done
    if [[ -n ${_meshd_values[$command $previous]+x} ]]; then
        word=${_meshd_values[$command $previous]}
        if [[ $word == @ ]]; then compopt -o default 2>/dev/null || :; return 0; fi
        COMPREPLY=($(compgen -W "$word" -- "$current"))
        return 0
    fi
    COMPREPLY=($(compgen -W "${_meshd_words[$command]}" -- "$current"))
    [[ -n ${_meshd_values[$command FILES]+x} && $current != -* ]] && compopt -o default 2>/dev/null || :
    return 0
}
"""
ZSH: Final = """#compdef meshd
# Completions of meshd for zsh, made by `meshd completion zsh`.
_meshd() {
    local current=$words[CURRENT] previous=$words[CURRENT-1] command=meshd word
    for word in $words[2,CURRENT-1]; do
        [[ $word == -- ]] && { _files; return }
        (( ${+_meshd_words[$command $word]} )) && command+=" $word"
    done
    if (( ${+_meshd_values[$command $previous]} )); then
        word=${_meshd_values[$command $previous]}
        if [[ $word == @ ]]; then _files; else compadd -- ${=word}; fi
        return
    fi
    compadd -- ${=_meshd_words[$command]}
    (( ${+_meshd_values[$command FILES]} )) && [[ $current != -* ]] && _files
    return 0
}
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:  # argparse has no other name
    """Declare the command."""
    parser = subparsers.add_parser(
        "completion", help=TOLD, description=INSTALL, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shell", choices=tuple(SHELLS), help="the shell to print them for")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print; the exit code."""
    write = SHELLS[args.shell]
    print("\n".join(write(all_commands())))
    return OK


def words_of(commands: Sequence[Command]) -> Mapping[str, str]:
    """What may follow each command, and the bare name: commands below it, options, choices."""
    table = {"meshd": " ".join([*(each.words[0] for each in commands), "--help", "--version"])}
    for typed, command in by_words(tuple(commands)).items():
        words = [each.words[-1] for each in command.below]
        for option in command.options:
            words += option.choices if option.is_positional else option.names
        table[f"meshd {typed}"] = " ".join([*words, *(READ if typed == "schema" else ())])
    return table


def values_of(commands: Sequence[Command]) -> Mapping[str, str]:
    """What may follow an option that takes a value, `@` for a file; `COMMAND FILES` is there where files may follow."""
    table = {}
    for typed, command in by_words(tuple(commands)).items():
        for option in command.options:
            if option.is_positional and option.is_path:
                table[f"meshd {typed} FILES"] = "@"
            for name in option.names if option.value else ():
                table[f"meshd {typed} {name}"] = "@" if option.is_path else " ".join(option.choices)
    return table


def bash(commands: Sequence[Command]) -> Iterator[str]:
    """For bash 4 and newer."""
    yield from _tables(commands, "declare -gA", "[{}]={}")
    yield BASH + "complete -F _meshd meshd"


def zsh(commands: Sequence[Command]) -> Iterator[str]:
    """As a file `_meshd` of fpath, or sourced."""
    head, _, body = ZSH.partition("\n")
    yield head
    yield from _tables(commands, "typeset -gA", "{} {}")
    yield body + 'if [[ $funcstack[1] == _meshd ]]; then _meshd "$@"; else compdef _meshd meshd; fi'


def _tables(commands: Sequence[Command], declare: str, pair: str) -> Iterator[str]:
    for name, table in (("_meshd_words", words_of(commands)), ("_meshd_values", values_of(commands))):
        yield f"{declare} {name}"
        yield f"{name}=("
        yield from ("    " + pair.format(shlex.quote(key), shlex.quote(value)) for key, value in table.items())
        yield ")"


def fish(commands: Sequence[Command]) -> Iterator[str]:
    """Lines of fish's own `complete`."""
    yield "# Completions of meshd for fish, made by `meshd completion fish`."
    yield "complete -c meshd -f"
    for command in commands:
        [name] = command.words
        yield f"complete -c meshd -n __fish_use_subcommand -a {name} -d {shlex.quote(command.told)}"
        for each in command.below:
            words = " ".join(other.words[-1] for other in command.below)
            seen = shlex.quote(f"__fish_seen_subcommand_from {name}; and not __fish_seen_subcommand_from {words}")
            yield f"complete -c meshd -n {seen} -a {each.words[-1]} -d {shlex.quote(each.told)}"
        for each in command.walk():
            yield from _fish_options(each)


def _fish_options(command: Command) -> Iterator[str]:
    wanted = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in command.words)
    head = f"complete -c meshd -n {shlex.quote(wanted)}"
    for option in command.options:
        words = (*option.choices, *(READ if command.words == ("schema",) and option.is_positional else ()))
        values = f" -a {shlex.quote(' '.join(words))}" if words else ""
        files = " -F" if option.is_path else ""
        if option.is_positional:
            yield from [f"{head}{files}{values} -d {shlex.quote(option.told)}"] if values or files else []
            continue
        names = "".join(f" -l {name[2:]}" if name.startswith("--") else f" -s {name[1:]}" for name in option.names)
        needs = "" if not option.value else " -r" if option.is_path else " -x"
        yield f"{head}{names}{needs}{files}{values} -d {shlex.quote(option.told)}"


SHELLS: Final[Mapping[str, Callable[[Sequence[Command]], Iterator[str]]]] = {"bash": bash, "zsh": zsh, "fish": fish}
