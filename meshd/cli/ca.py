"""`meshd ca`: the bundled CA on the command line. What it does is in `identity/ca.py`; here are its words.

Every command prints for people, or with --json one document for programs. Exit status: 0 done, 1 refused or failed
(the reason is on standard error), 2 wrong usage.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from meshd.cli.ca_show import show_authority, show_certificates, show_issued, utc
from meshd.cli.exit_codes import NO
from meshd.cli.failure import Parser, fail
from meshd.identity import rotation
from meshd.identity.ca import LEAF_TTL, ROOT_TTL, Authority, CaError, Order, Setup
from meshd.identity.credentials import CredentialError, Credentials, load_credentials
from meshd.identity.mutual import find_distrust
from meshd.identity.spiffe import InvalidSpiffeId, SpiffeId

TOLD: Final = "issue, renew, revoke and check certificates"
ABOUT: Final = (
    "The CA is a folder, and so is each workload's certificate. With --json one document is printed for programs."
)
HOME: Final = Path("certs/out/ca")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DNS_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command has to say, twice: lines for people, a document for programs."""

    text: str
    document: Mapping[str, object] = field(default_factory=dict)
    status: int = 0


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:  # argparse has no other name
    """Add `ca` to the commands of meshd."""
    parser = subparsers.add_parser("ca", help=TOLD, description=f"{TOLD}. {ABOUT}")
    _add_commands(parser)
    parser.set_defaults(run=run)


def main(argv: Sequence[str] | None = None) -> int:
    """The same commands without `meshd` before them, as certs/ca.py offers them."""
    parser = Parser(prog="ca.py", description="A small CA for a mesh of workloads.")
    _add_commands(parser)
    arguments = sys.argv[1:] if argv is None else argv
    Parser.as_json = "--json" in arguments
    return run(parser.parse_args(arguments))


def run(args: argparse.Namespace) -> int:
    """Do what was asked, say what was done."""
    command: Callable[[argparse.Namespace, float], Outcome] = args.ca_command
    try:
        outcome = command(args, time.time())
    except (CaError, InvalidSpiffeId) as error:
        return fail(args, str(error), NO)
    except OSError as error:
        return fail(args, f"{error.filename or args.ca}: {error.strerror}", NO)
    print(json.dumps(outcome.document, indent=2) if args.json else outcome.text)
    return outcome.status


def _add_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = _command(commands, "init", _init, "make a new CA", "--out")
    command.add_argument("--trust-domain", default="cluster.local", help="of all identities (default: %(default)s)")
    command.add_argument("--ttl", type=_seconds, default=ROOT_TTL, help="life of the root (default: 3650d)")
    command.add_argument("--intermediate", action="store_true", help="issue by an intermediate, so that ca.key can go")
    command.add_argument("--force", action="store_true", help="replace a CA that is there, voiding what it issued")

    command = _command(commands, "issue", _issue, "issue a certificate for a workload")
    command.add_argument("--namespace", default="default", help="(default: %(default)s)")
    command.add_argument("--service-account", required=True, help="with the namespace, this is the identity")
    command.add_argument("--out", type=Path, help="folder for the files (default: beside the CA)")
    command.add_argument("--ttl", type=_seconds, default=LEAF_TTL, help="its life: 90s, 15m, 24h, 30d (default: 24h)")
    command.add_argument("--dns", type=_dns_name, action="append", default=[], help="also this DNS name (repeatable)")
    command.add_argument("--force", action="store_true", help="replace what is in the folder")

    command = _command(commands, "renew", _renew, "new key and certificate for the same identity")
    command.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    command.add_argument("--all", action="store_true", help="every folder that this CA has issued to")
    command.add_argument("--if-due", action="store_true", help="only those that are past half of their life")
    command.add_argument("--ttl", type=_seconds, help="another life than before")

    command = _command(commands, "revoke", _revoke, "put certificates on the revocation list")
    command.add_argument("target", help="a folder, a serial number (hex), or a SPIFFE ID (all its live ones)")

    command = _command(commands, "show", _show, "what this CA has issued, or what a certificate says")
    command.add_argument("target", type=Path, nargs="?", help="a folder or a PEM file; without it the CA itself")

    command = _command(commands, "verify", _verify, "prove that folders are usable and accept each other")
    command.add_argument("folders", type=Path, nargs="*", metavar="FOLDER", help="(default: all that were issued here)")

    _command(commands, "publish", _publish, "write ca.crt and crl.pem anew into every folder")

    command = _command(commands, "rotate-root", _rotate, "replace the root, step by step, without an outage")
    command.add_argument("step", choices=("start", "finish", "retire"))
    command.add_argument("--force", action="store_true", help="even if a folder known here would be cut off")


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run_command: Callable[[argparse.Namespace, float], Outcome],
    text: str,
    *also: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--ca", *also, dest="ca", type=Path, default=HOME, help="its folder (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(ca_command=run_command)
    return parser


def _init(args: argparse.Namespace, now: float) -> Outcome:
    setup = Setup(args.ttl, args.intermediate, args.force)
    with Authority.create(args.ca, args.trust_domain, now, setup=setup) as authority:
        shown = show_authority(authority, now)
        lines = [f"new CA for trust domain {args.trust_domain} in {args.ca}"]
        if args.intermediate:
            lines.append("ca.key is not needed any more: move it to a safe place")
        lines.append("next: meshd ca issue --service-account NAME")
        return Outcome("\n".join(lines), shown.document)


def _issue(args: argparse.Namespace, now: float) -> Outcome:
    with Authority.open(args.ca) as authority:
        spiffe_id = SpiffeId.of_workload(authority.index.trust_domain, args.namespace, args.service_account)
        name = args.service_account if args.namespace == "default" else f"{args.namespace}.{args.service_account}"
        folder: Path = args.out or args.ca.parent / name
        leaf = authority.issue(Order(spiffe_id, folder, tuple(args.dns), args.ttl), now, force=args.force)
        text = f"{leaf.spiffe_id}\n  in {folder}, until {utc(leaf.not_after)}"
        return Outcome(text, show_issued(leaf, folder, now))


def _renew(args: argparse.Namespace, now: float) -> Outcome:
    if bool(args.folders) == args.all:
        raise CaError("name the folders to renew, or --all")
    with Authority.open(args.ca) as authority:
        folders: Sequence[Path] = authority.folders() if args.all else args.folders
        lines, rows = [], []
        for folder in folders:
            old = authority.record(folder)
            if args.all and old.revoked:
                continue
            if args.if_due and now < (old.not_before + old.not_after) / 2:
                continue
            leaf = authority.renew(folder, now, ttl=args.ttl)
            lines.append(f"{leaf.spiffe_id}\n  in {folder}, until {utc(leaf.not_after)}")
            rows.append(show_issued(leaf, folder, now))
        return Outcome("\n".join(lines) or "nothing to renew", {"renewed": rows})


def _revoke(args: argparse.Namespace, now: float) -> Outcome:
    with Authority.open(args.ca) as authority:
        revoked = authority.revoke(_serials(authority, args.target, now), now)
        lines = [f"revoked {leaf.spiffe_id}, serial {leaf.serial:x}" for leaf in revoked]
        folders = authority.folders()
        lines.append(f"crl.pem is new in {args.ca} and {len(folders)} folders; copy it to where they are used")
        rows = [show_issued(leaf, authority.home / leaf.folder, now) for leaf in revoked]
        return Outcome("\n".join(lines), {"revoked": rows, "published": list(map(str, folders))})


def _serials(authority: Authority, target: str, now: float) -> list[int]:
    if target.lower().startswith("spiffe://"):
        wanted = str(SpiffeId.parse(target))
        found = [leaf.serial for leaf in authority.index.issued if leaf.spiffe_id == wanted and leaf.is_live(now)]
        if not found:
            raise CaError(f"no live certificate of {wanted} was issued here")
        return found
    if Path(target).is_dir():
        return [authority.record(Path(target)).serial]
    if re.fullmatch(r"[0-9a-fA-F:]{1,80}", target):
        return [int(target.replace(":", "") or "0", 16)]
    raise CaError(f"{target!r} is no folder, no serial number in hexadecimal and no SPIFFE ID")


def _show(args: argparse.Namespace, now: float) -> Outcome:
    if args.target is not None:
        shown = show_certificates(args.target, now)
        return Outcome(shown.text, shown.document)
    with Authority.open(args.ca) as authority:
        shown = show_authority(authority, now)
        return Outcome(shown.text, shown.document)


def _verify(args: argparse.Namespace, now: float) -> Outcome:
    with Authority.open(args.ca) as authority:
        folders: Sequence[Path] = args.folders or authority.folders()
        index = authority.index
    members: list[tuple[Path, Credentials]] = []
    problems: list[str] = []
    revoked: dict[Path, str] = {}
    for folder in folders:
        try:
            found = load_credentials(folder, index.trust_domain, now)
        except CredentialError as error:
            problems.append(str(error))
            continue
        members.append((folder, found))
        record = index.find(found.leaf.serial_number)
        if record is None or record.spiffe_id != str(found.spiffe_id):
            problems.append(f"{folder}: {args.ca} has not issued serial {found.serial} for {found.spiffe_id}")
        elif record.revoked:
            revoked[folder] = f"{folder}: {args.ca} has revoked this certificate, serial {found.serial}"
    distrust = [str(each) for each in find_distrust(members, now)]
    told = "\n".join(distrust)  # by a list that has it; without one, the index knows all the same
    problems += distrust + [why for folder, why in revoked.items() if str(folder) not in told]
    count = f"{len(folders)} folder" + ("" if len(folders) == 1 else "s")
    good = f"{count}: every certificate is good, and every one accepts every other"
    document = {"folders": list(map(str, folders)), "problems": problems}
    return Outcome("\n".join(problems) or good, document, status=1 if problems else 0)


def _publish(args: argparse.Namespace, now: float) -> Outcome:
    with Authority.open(args.ca) as authority:
        authority.save(authority.index, now)
        folders = authority.publish(now)
        return Outcome(f"wrote ca.crt and crl.pem into {len(folders)} folders", {"published": list(map(str, folders))})


def _rotate(args: argparse.Namespace, now: float) -> Outcome:
    step: str = args.step
    with Authority.open(args.ca) as authority:
        if step == "start":
            folders = rotation.start(authority, now)
        else:
            folders = (rotation.finish if step == "finish" else rotation.retire)(authority, now, force=args.force)
        shown = show_authority(authority, now)
        return Outcome(_ROTATED[step].format(count=len(folders)), {"step": step, **shown.document})


_ROTATED: Final = {
    "start": "a new root is trusted in {count} folders beside the old one; copy ca.crt and crl.pem on, then: finish",
    "finish": "the new root issues from now on, told to {count} folders; next: renew --all, copy them, then: retire",
    "retire": "only the new root is trusted in {count} folders; the key of the old one is destroyed",
}


def _seconds(text: str) -> float:
    """A duration of the command line: one number and one unit."""
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration like 90s, 15m, 24h or 30d")
    return float(int(match[1]) * _UNITS[match[2]])


def _dns_name(text: str) -> str:
    if not _DNS_NAME.match(text.lower()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a DNS name")
    return text.lower()
