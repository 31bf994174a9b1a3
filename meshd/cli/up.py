"""`meshd up`: a whole mesh on this machine, with traffic, and what happens to it and why.

Exit code 0: every expectation was met; 1: one was not; 2: the mesh did not come up or the command line makes no sense.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final

from meshd import demo
from meshd.cli.exit_codes import NO, OK
from meshd.cli.failure import fail
from meshd.config.duration import parse_duration
from meshd.demo.expectations import Expectation, Seen, enough, judge
from meshd.demo.mesh import DemoFailed, Mesh
from meshd.demo.traffic import Traffic

PAUSE: Final = 0.25  # seconds between two rounds
POLICIES: Final = Path(demo.__file__).parent / "policies"  # in a checkout a link to the documents that people change
GREEN, RED, DIM, PLAIN = "\033[32m", "\033[31m", "\033[2m", "\033[0m"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:  # argparse has no other name
    """Declare the command."""
    told = "run a whole mesh on loopback and show what happens to its traffic"
    parser = subparsers.add_parser("up", help=told, description=told)
    parser.add_argument("--for", dest="seconds", type=_seconds, metavar="10s", help="stop by itself after this long")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end instead of text")
    parser.add_argument("--otlp", metavar="URL", help="export traces, metrics and logs to this OpenTelemetry collector")
    parser.add_argument("--policies", type=Path, help="the documents to run on (default: those of the demo)")
    parser.add_argument("--folder", type=Path, help="keep documents, certificates and logs here")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until told to end; the exit code."""
    policies: Path = args.policies or POLICIES
    seconds: float | None = args.seconds
    as_json: bool = args.json
    if not policies.is_dir():
        return fail(args, f"--policies: there is no folder {policies}")
    signal.signal(signal.SIGTERM, _interrupt)
    began = time.perf_counter()
    if not as_json:
        print("starting a CA, three apps and two sidecars ...", flush=True)
    try:
        with Mesh(policies, args.otlp, args.folder, copies=policies is POLICIES and not POLICIES.is_symlink()) as mesh:
            traffic = Traffic(mesh)
            if not as_json:
                print(_introduction(mesh, time.perf_counter() - began), flush=True)
            elapsed = _drive(traffic, seconds, quiet=as_json)
    except DemoFailed as error:
        return fail(args, str(error))
    expectations = judge(traffic.seen)
    print(_summary(traffic.seen, expectations, elapsed) if as_json else _verdicts(expectations))
    return OK if all(each.met for each in expectations) else NO


def _seconds(text: str) -> float:
    seconds = parse_duration(text)
    if seconds is None:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a duration such as 10s or 1m30s")
    return seconds


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _drive(traffic: Traffic, seconds: float | None, *, quiet: bool) -> float:
    """Round after round until the time is over or somebody interrupts; seconds that it took."""
    began = time.perf_counter()
    before = Seen()
    try:
        while seconds is None or time.perf_counter() - began < seconds or not enough(traffic.seen):
            traffic.round()
            if not quiet:
                print(_line(time.perf_counter() - began, traffic.seen, before), flush=True)
                before = _copy(traffic.seen)
            time.sleep(PAUSE)
    except KeyboardInterrupt:
        if not quiet:
            print("\ndraining", flush=True)
    return time.perf_counter() - began


def _copy(seen: Seen) -> Seen:
    return Seen(
        requests=seen.requests,
        allowed=seen.allowed,
        denied=seen.denied,
        retried=seen.retried,
        posts=seen.posts,
        posts_seen=seen.posts_seen,
        versions=dict(seen.versions),
    )


def _introduction(mesh: Mesh, seconds: float) -> str:
    return f"""
  customers ──▶ storefront ──▶ sidecar ══ mutual TLS ══▶ sidecar ──▶ reviews v1, v2
  up after {seconds:.1f} s. Storefront: http://{mesh.storefront}/reviews/7
  Admin pages: storefront http://{mesh.admin["storefront"]}/  reviews http://{mesh.admin["reviews"]}/
  Documents:   {mesh.policies} (change one and watch)
  Why anything happened: meshd explain --last-denied --admin {mesh.admin["reviews"]}
"""


def _line(elapsed: float, seen: Seen, before: Seen) -> str:
    """One round."""
    split = " ".join(
        f"{version} {number - before.versions.get(version, 0)}" for version, number in sorted(seen.versions.items())
    )
    denied = "denied 403" if seen.denied > before.denied else "NOT DENIED"
    flaky = "failed, retried, 200" if seen.retried > before.retried else "failed"
    posts = seen.posts_seen - before.posts_seen
    return (
        f"{elapsed:6.1f} s  GET {_colour(f'{seen.allowed - before.allowed} x 200', GREEN)} ({split})"
        f"  DELETE {denied}  flaky GET {flaky}  failing POST delivered {posts} time{'' if posts == 1 else 's'}"
    )


def _verdicts(expectations: list[Expectation]) -> str:
    lines = [
        f"  {_colour('met    ', GREEN) if each.met else _colour('NOT MET', RED)}  {each.name:<15} {each.told}"
        for each in expectations
    ]
    return "\n".join(["", *lines])


def _summary(seen: Seen, expectations: list[Expectation], elapsed: float) -> str:
    told = {
        "ok": all(each.met for each in expectations),
        "seconds": round(elapsed, 1),
        "requests": seen.requests,
        "expectations": [{"name": each.name, "met": each.met, "told": each.told} for each in expectations],
    }
    return json.dumps(told, indent=2, ensure_ascii=False)


def _colour(text: str, code: str) -> str:
    return f"{code}{text}{PLAIN}" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text
