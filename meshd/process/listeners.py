"""The listening sockets of a sidecar, bound before the first fork and kept open by the supervisor.

Theory of operation: every worker slot has a socket of its own on each address (SO_REUSEPORT), so the kernel spreads
connections without the workers contending for one queue. The supervisor never accepts, but it keeps its duplicate of
each socket: when a worker is killed, the connections that arrive meanwhile wait in that socket's queue and its
successor accepts them; nobody is refused. The same makes a reload hitless: the sockets of an unchanged address pass to
the new workers with whatever waits in them. The price is that the supervisor must close its duplicates when the sidecar
drains, or the kernel would go on queueing for nobody.

SO_REUSEPORT would also let a second sidecar of the same user share our ports by mistake, each taking half of the
other's traffic; therefore an address is first bound without it, which the kernel refuses when anybody listens there.
"""

import errno
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from meshd.config.address import Address
from meshd.config.proxy import Inbound, Outbound
from meshd.net.sockets import listen
from meshd.process.start import Accepted

ADMIN: Final = "admin"  # the one listener that is the controller's
PATIENCE: Final = 0.5  # seconds that an address may still be held by a predecessor that was just killed
PAUSE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Wanted:
    """One address to listen on. `field` is where the document says so, for people."""

    name: str
    field: str
    address: Address
    sockets: int = 1

    @property
    def key(self) -> tuple[str, Address]:
        """What makes it the same listener after a reload; a free port is one only together with its name."""
        return ("" if self.address.port or self.address.is_unix else self.name), self.address


class BindFailed(Exception):
    """An address cannot be listened on; the text says which, where it is written, and why."""


@dataclass(slots=True, eq=False)
class Bound:
    """One address with its sockets, one a slot; `address` has the port that was found for port 0."""

    wanted: Wanted
    address: Address
    sockets: list[socket.socket] = field(default_factory=list)

    def slot(self, slot: int) -> socket.socket:
        """The socket of one worker. A unix socket has no SO_REUSEPORT: all workers accept from the same."""
        return self.sockets[slot if len(self.sockets) > 1 else 0]


class Listeners:
    """Everything one bootstrap listens on, by listener name."""

    __slots__ = ("bound",)

    def __init__(self, bound: Mapping[str, Bound]) -> None:
        self.bound = bound

    def of_slot(self, slot: int) -> dict[str, list[socket.socket]]:
        """What worker `slot` accepts from."""
        return {name: [bound.slot(slot)] for name, bound in self.bound.items() if name != ADMIN}

    def sockets(self) -> Iterator[socket.socket]:
        """Every socket, once."""
        for bound in self.bound.values():
            yield from bound.sockets

    def close(self, keep: "Listeners | None" = None) -> None:
        """Close the supervisor's duplicates, but for those that `keep` has taken over."""
        kept = set(keep.sockets()) if keep is not None else set()
        for bound in self.bound.values():
            for sock in bound.sockets:
                if sock not in kept:
                    sock.close()
            address = bound.address
            if address.is_unix and address.host.startswith("/") and kept.isdisjoint(bound.sockets):
                Path(address.host).unlink(missing_ok=True)

    def __repr__(self) -> str:
        return f"<Listeners {', '.join(f'{name} {bound.address}' for name, bound in self.bound.items())}>"


def listens_of(accepted: Accepted) -> list[Wanted]:
    """What a bootstrap listens on: its inbound and outbound listeners for each worker, the admin page once."""
    spec, workers = accepted.proxy.spec, accepted.workers
    groups: tuple[tuple[str, tuple[Inbound | Outbound, ...]], ...] = (
        ("inbound", spec.inbound),
        ("outbound", spec.outbound),
    )
    found = [
        Wanted(f"{direction}-{place}", f"spec.{direction}[{place}].listen", each.listen, workers)
        for direction, group in groups
        for place, each in enumerate(group)
    ]
    if spec.admin is not None:
        found.append(Wanted(ADMIN, "spec.admin.listen", spec.admin.listen))
    return found


def bind(wanted: list[Wanted], before: Listeners | None = None) -> Listeners:
    """Sockets for every address; those that `before` has already are taken over. Raises `BindFailed`, nothing bound."""
    old: dict[tuple[str, Address], Bound] = {}
    for each in before.bound.values() if before is not None else ():
        old["", each.address] = each  # a port that was found may be written down now
        old[each.wanted.key] = each
    bound: dict[str, Bound] = {}
    fresh: list[socket.socket] = []
    for wish in wanted:
        try:
            bound[wish.name] = _bind(wish, old.get(wish.key), fresh)
        except OSError as error:
            for sock in fresh:
                sock.close()
            raise BindFailed(f"{wish.field}: cannot listen on {wish.address}: {error.strerror}") from error
    return Listeners(bound)


def _bind(wanted: Wanted, old: Bound | None, fresh: list[socket.socket]) -> Bound:
    """One address. What is opened is added to `fresh` at once, so that a failure can close it."""
    address = old.address if old is not None else wanted.address
    sockets = list(old.sockets[: wanted.sockets]) if old is not None else []
    if old is None and address.port:
        _refuse_company(address)
    if old is None and address.is_unix:
        _refuse_stealing(address)
    while len(sockets) < (1 if address.is_unix else wanted.sockets):
        try:
            sock = listen(address.host, address.port)
        except OSError as error:
            raise OSError(error.errno, _reason(error)) from error
        fresh.append(sock)
        sockets.append(sock)
        if wanted.name == ADMIN and address.is_unix:
            Path(address.host).chmod(0o600)  # whoever can open it can drain us
        if not address.is_unix and not address.port:
            port = sock.getsockname()[1]
            assert isinstance(port, int)
            address = Address(address.host, port)
    return Bound(wanted, address, sockets)


def _refuse_company(address: Address) -> None:
    """Raises OSError when anybody listens there, even somebody who would share."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    attempts = int(PATIENCE / PAUSE)
    for attempt in range(attempts + 1):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address.host, address.port))
                return
            except OSError as error:
                if error.errno != errno.EADDRINUSE or attempt == attempts:
                    raise
        time.sleep(PAUSE)


def _refuse_stealing(address: Address) -> None:
    """Raises OSError when a process answers at that path; a socket left by a killed one may be replaced."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PATIENCE)
        try:
            probe.connect(address.host)
        except OSError:
            return
    raise OSError(errno.EADDRINUSE, "Address already in use")


def _reason(error: OSError) -> str:
    """The cause alone, without the address that the socket layer puts in front of it."""
    cause = error.__cause__
    return (cause.strerror if isinstance(cause, OSError) else error.strerror) or str(error)
