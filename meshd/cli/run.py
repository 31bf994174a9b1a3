"""`meshd run`: a sidecar in the foreground, alone or around an app.

With `-- command args...` the command starts once the sidecar serves, gets our signals, and ends the sidecar with it.

Exit code: 0 drained; 1 could not start; 2 the command line makes no sense; 3 something had to be killed at the hard
stop, a second after the drain time; with an app, the app's own code (128 and the signal's number if one ended it).
"""

import argparse
import json
import logging
import os
import sys
from pathlib import Path

from meshd.cli.exit_codes import NO, UNUSABLE
from meshd.cli.failure import say
from meshd.cli.proxy_file import NO_FILE, add_file, file_of
from meshd.config.errors import ConfigError, Problem
from meshd.core.log_levels import LEVELS
from meshd.process import announce
from meshd.process.clock import monotonic
from meshd.process.command import Command
from meshd.process.data_path import Compiler
from meshd.process.descriptors import raise_limit
from meshd.process.fleet import Fleet
from meshd.process.listeners import BindFailed
from meshd.process.log import close, configure, take_standard_error
from meshd.process.roles import SidecarRoles
from meshd.process.source import Source
from meshd.process.supervisor import Supervisor

log = logging.getLogger(__name__)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:  # argparse has no other name
    """Declare the command."""
    told = "run a sidecar, alone or around an app"
    parser = subparsers.add_parser(
        "run", help=told, description=f"{told}: meshd run [-f proxy.yaml] [-- command args...]"
    )
    add_file(parser)
    parser.add_argument("--workers", metavar="N", help="how many workers, or 'auto' for one a core")
    parser.add_argument("--admin", metavar="ADDRESS", help="where the admin page listens, or 'null' for nowhere")
    parser.add_argument("--set", metavar="FIELD=VALUE", action="append", default=[], help="override any field")
    parser.add_argument("--log-level", choices=LEVELS, default=os.environ.get("MESHD_LOG_LEVEL", "info"))
    parser.add_argument("--log-format", choices=("text", "json"), default=os.environ.get("MESHD_LOG_FORMAT", "text"))
    parser.add_argument("--ready-file", "--ports-file", metavar="PATH", type=Path, help="written once it serves: JSON")
    parser.set_defaults(run=run, rest=())


def run(args: argparse.Namespace) -> int:
    """Run until asked to end; the exit code."""
    started = monotonic()
    if args.log_level not in LEVELS:
        return _refuse(args, f"MESHD_LOG_LEVEL: got {args.log_level!r}, expected one of {', '.join(LEVELS)}", UNUSABLE)
    malformed = [each for each in args.set if "=" not in each]
    if malformed:
        return _refuse(args, f"--set: got {malformed[0]!r}, expected FIELD=VALUE such as spec.workers=2", UNUSABLE)
    file = file_of(args)
    if file is None:
        return _refuse(args, NO_FILE, UNUSABLE)
    configure(args.log_level, as_json=args.log_format == "json")
    take_standard_error()
    raise_limit()
    compiler = Compiler()
    source = Source(file, _overrides(args), compiler)
    command = Command(args.rest) if args.rest else None
    told = _Announcer(args.ready_file, started, as_json=args.log_format == "json")
    try:
        accepted = source.read_all(source.read_proxy(), generation=1)
        for problem in (*accepted.loaded.problems, *accepted.documents.problems):
            log.warning("%s", problem)
        roles = SidecarRoles(source, compiler)
        return Supervisor(source, roles, command, announce=told.bound, ready=told.ready).run(accepted)
    except ConfigError as error:
        return _refuse(args, error, NO)
    except BindFailed as error:
        return _refuse(args, str(error), NO)
    finally:
        told.forget()
        close()


class _Announcer:
    """Says on standard error, in the ready file and to systemd where the sidecar stands."""

    __slots__ = ("_as_json", "_file", "_started")

    def __init__(self, file: Path | None, started: float, *, as_json: bool) -> None:
        self._file = file
        self._as_json = as_json
        self._started = started
        self.forget()  # a file that a killed sidecar left behind would speak of the wrong ports

    def bound(self, fleet: Fleet) -> None:
        """Its listeners are bound, its processes start."""
        for line in announce.lines(fleet.accepted, fleet.listeners):
            if self._as_json:  # whoever reads the log as JSON reads all of it so
                log.info("%s", line)
            else:
                print(f"meshd: {line}", file=sys.stderr, flush=True)

    def ready(self, fleet: Fleet) -> None:
        """It serves."""
        took = monotonic() - self._started
        log.info("ready after %.2f s, pid %d", took, os.getpid())
        if self._file is not None:
            try:
                announce.write(self._file, announce.document(fleet.accepted, fleet.listeners))
            except OSError as error:
                log.error("cannot write %s: %s", self._file, error.strerror)  # noqa: TRY400  # the cause is all there is
        announce.notify(f"READY=1\nMAINPID={os.getpid()}")

    def forget(self) -> None:
        """Take the file away."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)


def _overrides(args: argparse.Namespace) -> dict[str, str]:
    """Flags by field, as the bootstrap's loader wants them."""
    settings: list[str] = args.set
    found = dict(setting.split("=", 1) for setting in settings)
    if args.workers is not None:
        found["spec.workers"] = args.workers
    if args.admin is not None:
        found["spec.admin" if args.admin == "null" else "spec.admin.listen"] = args.admin
    return found


def _refuse(args: argparse.Namespace, why: str | ConfigError, code: int) -> int:
    """Say why it does not start, on standard error and in the format of the log."""
    if args.log_format != "json":
        return say(why, code, as_json=False)
    for problem in why.problems if isinstance(why, ConfigError) else (why,):
        severity = problem.severity if isinstance(problem, Problem) else "error"
        print(json.dumps({"level": severity, "message": str(problem)}), file=sys.stderr)
    return code
