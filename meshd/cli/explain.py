"""`meshd explain`: why a request is let through, refused or routed as it is.

Hypothetical, from the documents and the very engine that serves; or real, from what a running sidecar remembers.

Exit code 0: it goes through; 1: it does not; 2: the question or the documents make no sense, or nothing is known of it.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Final

from meshd.cli.admin_page import AdminUnreachable, admin_address, ask_admin
from meshd.cli.exit_codes import NO, OK
from meshd.cli.failure import fail
from meshd.cli.proxy_file import NO_FILE, file_of
from meshd.cli.sidecar import add_sidecar, load_world
from meshd.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, Terminal, printable, table
from meshd.config.bootstrap import load_proxy
from meshd.config.errors import ConfigError
from meshd.config.proxy import Proxy
from meshd.explain.authorization import RuleTrace
from meshd.explain.explanation import SAID, Explanation, explain
from meshd.explain.question import Question, Unaskable, caller_named
from meshd.explain.recorded import question_of
from meshd.explain.routes import RouteTrace
from meshd.explain.world import Answer, World
from meshd.identity.spiffe import InvalidSpiffeId
from meshd.telemetry.describe import Json

ROUTES_SHOWN: Final = 20
WORDS: Final = {"": "agrees", "allow": "agrees", "deny": "refuses", "fail": "does not answer"}
GOOD: Final = ("forwarded", "answered", "tunnel")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:  # argparse has no other name
    """Declare the command."""
    told = "say why a request is let through, refused or routed as it is"
    parser = subparsers.add_parser("explain", help=told, description=told)
    add_sidecar(parser)
    parser.add_argument("--to", metavar="SERVICE[:PORT]", default="", help="the authority that the request names")
    parser.add_argument("--from", dest="caller", metavar="ID", default="", help="SPIFFE ID, or [namespace/]account")
    parser.add_argument("--method", default="GET")
    parser.add_argument("--path", default="/", help="with a query, if any")
    parser.add_argument("-H", "--header", action="append", default=[], metavar="'NAME: VALUE'")
    told_by = "what authorizers outside say that are asked (action CUSTOM); left out, each outcome is shown"
    parser.add_argument("--authorizer", choices=SAID, default="", help=told_by)
    direction = parser.add_mutually_exclusive_group()
    direction.add_argument("--inbound", action="store_true", help="ask as the callee's sidecar")
    direction.add_argument("--outbound", action="store_true", help="ask as the caller's sidecar")
    parser.add_argument("--listener", default="", help="such as inbound-1, when there are several")
    real = parser.add_mutually_exclusive_group()
    real.add_argument("--last-denied", action="store_true", help="the last request that a running sidecar denied")
    real.add_argument("--request-id", metavar="ID", help="a request that a running sidecar remembers")
    real.add_argument("--trace-id", metavar="HEX", help="the requests of a trace that a running sidecar remembers")
    parser.add_argument("--admin", metavar="ADDRESS", help="where the running sidecar's admin API listens")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Answer; the exit code."""
    try:
        if args.last_denied or args.request_id is not None or args.trace_id is not None:
            return _real(args)
        return _hypothetical(args)
    except ConfigError as error:
        return fail(args, error)
    except (Unaskable, InvalidSpiffeId, AdminUnreachable) as error:
        return fail(args, str(error))


def _hypothetical(args: argparse.Namespace) -> int:
    file = file_of(args)
    if file is None:
        raise Unaskable(f"{NO_FILE}; or ask for a request that it remembers, with --last-denied and --admin")
    loaded, world = load_world(file, args.policies)
    found = explain(world, _question(args, loaded.proxy, world.trust_domain))
    if args.json:
        print(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
    else:
        print("\n".join(lines_of(found, Terminal.of())))
    return _exit_code(found.answer)


def _exit_code(answer: Answer) -> int:
    return OK if answer.kind in GOOD and answer.status < 400 else NO


def _question(args: argparse.Namespace, proxy: Proxy, trust_domain: str) -> Question:
    inbound = bool(args.inbound)
    if not args.inbound and not args.outbound:
        spec = proxy.spec
        inbound = bool(spec.inbound) and (not spec.outbound or bool(args.caller))
    headers: list[tuple[str, str]] = []
    for text in args.header:
        name, colon, value = text.partition(":")
        if not colon:
            raise Unaskable(f"-H: got {text!r}, expected 'name: value'")
        headers.append((name.strip(), value.strip()))
    return Question(
        method=args.method,
        target=args.path,
        authority=args.to or f"{proxy.name}.{proxy.namespace}",
        caller=caller_named(args.caller, trust_domain, proxy.namespace),
        headers=tuple(headers),
        inbound=inbound,
        listener=args.listener,
        authorizer=args.authorizer,
    )


# -- what a running sidecar remembers ---------------------------------------------------------------------------------


def _real(args: argparse.Namespace) -> int:
    file: Path | None = args.file
    loaded = load_proxy(file) if file is not None else None
    address = admin_address(args.admin, loaded.proxy if loaded is not None else None)
    query = {"denied": "1", "limit": "1"}
    if args.request_id is not None:
        query = {"request-id": args.request_id}
    elif args.trace_id is not None:
        query = {"trace-id": args.trace_id}
    records = ask_admin(address, "/records", query)
    if not isinstance(records, list) or not records:
        what = "denied request" if args.last_denied else "such request"
        raise AdminUnreachable(f"the sidecar at {address} remembers no {what}")
    first = records[0]
    found = None
    if file is not None and isinstance(first, dict):
        found = _now(load_world(file, args.policies)[1], first)
    if args.json:
        told = {"records": records, "now": found.as_json() if found is not None else None}
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        terminal = Terminal.of()
        lines = [line for record in records if isinstance(record, dict) for line in record_lines(record, terminal)]
        if found is not None:
            title = "By the documents as they are now (only fields that a log keeps are known):"
            lines += ["", terminal.paint(title, BOLD), *lines_of(found, terminal)]
        print("\n".join(lines))
    failed = any(isinstance(each, dict) and _status(each) >= 400 for each in records)
    return NO if failed else OK


def _now(world: World, record: dict[str, Json]) -> Explanation | None:
    """What the documents say of a recorded request today; None when they know no such listener."""
    question = question_of(record)
    if question is None:
        return None
    if question.listener not in world.snapshot.plans:
        question = replace(question, listener="")
    try:
        return explain(world, question)
    except Unaskable:
        return None


def _status(record: dict[str, Json]) -> int:
    status = record.get("response_code")
    return status if isinstance(status, int) and status else 599


def record_lines(record: dict[str, Json], terminal: Terminal) -> list[str]:
    """What was decided about one exchange, and each attempt."""
    status = _status(record)
    line = f"{record['start_time']} {record['direction']} {record['method']} {record['authority']}{record['path']}"
    rows = [["status", terminal.paint(str(record["response_code"]), GREEN if status < 400 else RED)]]
    shown = {"from": "downstream_peer", "why": "response_code_details", "route": "route_name"}
    shown |= {"backend": "upstream_cluster", "request id": "request_id", "trace id": "trace_id"}
    rows += [[name, str(record[key])] for name, key in shown.items() if record.get(key)]
    verdict = record.get("verdict")
    if isinstance(verdict, dict):
        decided = "allowed" if verdict.get("allowed") else "denied"
        rule = "" if verdict.get("rule") is None else f" rule {verdict['rule']}"
        rows.append(["verdict", f"{decided} by {verdict['policy']}{rule}" if verdict.get("policy") else decided])
        if verdict.get("nearest"):
            nearest = f"{verdict['nearest']}: {verdict['failed']}, saw {verdict['observed']}"
            rows.append(["nearest", nearest])
    attempts = record.get("attempts")
    for number, attempt in enumerate(attempts if isinstance(attempts, list) else (), 1):
        if isinstance(attempt, dict):
            how = attempt.get("status") or attempt.get("details")
            again = f"; {attempt['retry']}" if attempt.get("retry") else ""
            rows.append([f"attempt {number}", f"{attempt['endpoint']}: {how}, {attempt['duration_ms']} ms{again}"])
    return [terminal.paint(printable(line), BOLD), *table(rows)]


# -- in words ---------------------------------------------------------------------------------------------------------


def lines_of(found: Explanation, terminal: Terminal) -> list[str]:
    """The whole explanation for a person."""
    question = found.question
    who = f" from {question.caller or 'a client without a certificate'}" if question.inbound else ""
    request = f"{question.method} {question.target} to {question.authority}{who}"
    way = f"{found.listener}{f', mutual TLS {found.mode}' if found.mode else ''}"
    lines = [terminal.paint(printable(request), BOLD) + terminal.paint(f"  ({way})", DIM)]
    lines.append(verdict_line(found.answer, terminal))
    if question.caller and not question.inbound:
        lines.append("  (outbound, the caller is the sidecar's own app: --from is not looked at)")
    if found.hint:
        lines.append(f"  nobody knows {printable(question.authority)}; {found.hint}")
    if question.inbound and found.answer.kind not in ("refused", "malformed"):
        lines += ["", "Authorization", *_rules(found.rules, terminal)]
    if found.routes:
        lines += ["", "Routes, in the order of precedence", *_routes(found.routes, terminal)]
    if found.outside:
        rows = [[_told(answer)] for _, answer in found.outside]
        lines += ["", "Authorizers outside are asked, and their answers are not known here", *table(rows)]
    if found.answer.split:
        rows = [[cluster or "(no such backend)", f"{percent:g} %"] for cluster, percent in found.answer.split]
        lines += ["", "Split", *table(rows)]
    if len(found.chances) > 1:
        rows = [[f"below {share:g} of 100", _told(answer)] for share, answer in found.chances]
        lines += ["", "By chance: what is drawn decides, and each fault draws for itself", *table(rows)]
    if found.changes:
        rows = [[each.of, f"{each.text}: {_told(each.answer)}"] for each in found.changes]
        lines += ["", "Smallest changes that would alter it", *table(rows)]
    return lines


def verdict_line(answer: Answer, terminal: Terminal) -> str:
    """The outcome in one line."""
    good = _exit_code(answer) == 0
    return "  " + terminal.paint(printable(_told(answer)), GREEN if good else RED)


def _told(answer: Answer) -> str:
    """What becomes of it, as the end of a sentence."""
    later = f" after {answer.delay:g} s" if answer.delay else ""
    if answer.asks:
        return f"{_told(replace(answer, asks=()))}, if {' and '.join(answer.asks)} {WORDS[answer.said]}"
    if answer.kind == "forwarded":
        route = answer.route.name if answer.route is not None else ""
        leaves = f" as {answer.forwarded}" if answer.forwarded else ""
        return f"forwarded{leaves} by {route}{later}"
    if answer.kind == "answered":
        where = f", location {answer.location}" if answer.location else ""
        return f"answered with {answer.status}{where}{later} ({answer.details})"
    status = f" with {answer.status}" if answer.status else ""
    return f"{answer.kind}{status}: {answer.details}"


def _rules(rules: tuple[RuleTrace, ...], terminal: Terminal) -> list[str]:
    if not rules:
        return ["  no AuthorizationPolicy selects this workload: everything is allowed"]
    rows = []
    for rule in rules:
        if rule.decided:
            mark = terminal.paint("decides", RED if rule.action == "DENY" else GREEN)
        else:
            mark = terminal.paint("matches", YELLOW) if rule.matched else terminal.paint("no", DIM)
        why = f"{rule.failed}, saw {rule.observed}" if rule.failed else "every condition holds"
        enforced = "" if rule.enforced or rule.action == "AUDIT" else " (dry run)"
        rows.append([mark, rule.action + enforced, f"{rule.policy} rule {rule.rule}", why, rule.place])
    return table(rows)


def _routes(routes: tuple[RouteTrace, ...], terminal: Terminal) -> list[str]:
    rows = []
    for route in routes[:ROUTES_SHOWN]:
        mark = terminal.paint("takes it", GREEN) if route.chosen else terminal.paint("no", DIM)
        saw = f", saw {route.observed}" if route.observed else ""
        rows.append([mark, route.route, route.match, route.failed + saw, route.place])
    left = len(routes) - ROUTES_SHOWN
    return [*table(rows), *([f"  and {left} more"] if left > 0 else [])]
