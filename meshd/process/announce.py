"""What a sidecar says of itself when it starts: lines for people, a file for programs, a datagram for systemd."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from meshd.process.listeners import ADMIN, Listeners
from meshd.process.start import Accepted


def lines(accepted: Accepted, listeners: Listeners) -> Iterator[str]:
    """One a listener, with the port that was found where the document says 0."""
    for each in described(accepted, listeners):
        target = f" -> {each['target']}" if each["target"] else ""
        yield f"{each['direction']} {each['address']}{target}"
    if ADMIN in listeners.bound:
        yield f"admin http://{listeners.bound[ADMIN].address}/"


def document(accepted: Accepted, listeners: Listeners) -> dict[str, object]:
    """The same for programs: what `--ready-file` writes."""
    admin = listeners.bound.get(ADMIN)
    return {
        "pid": os.getpid(),
        "name": accepted.proxy.name,
        "namespace": accepted.proxy.namespace,
        "spiffeId": accepted.proxy.spiffe_id or None,
        "generation": accepted.generation,
        "listeners": list(described(accepted, listeners)),
        "admin": None if admin is None else str(admin.address),
    }


def write(path: Path, told: dict[str, object]) -> None:
    """Replace a file whole: whoever reads it sees all of it or nothing. Raises OSError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(told, indent=2) + "\n")
    fresh.replace(path)


def notify(message: str) -> None:
    """Tell systemd (sd_notify(3)) when it started us and wants to know; otherwise do nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(message.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:
            pass  # nobody listens: then nobody waits


def described(accepted: Accepted, listeners: Listeners) -> Iterator[dict[str, str]]:
    """Every listener but the admin page's."""
    spec = accepted.proxy.spec
    targets = {f"inbound-{place}": str(each.app) for place, each in enumerate(spec.inbound)}
    targets |= {f"outbound-{place}": str(each.service or "") for place, each in enumerate(spec.outbound)}
    for name, target in targets.items():
        bound = listeners.bound[name]
        direction = name.partition("-")[0]
        yield {"name": name, "direction": direction, "address": str(bound.address), "target": target}
