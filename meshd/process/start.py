"""What a child of the supervisor starts with. It is inherited by fork: nothing here is written down or sent."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from meshd.config.bootstrap import LoadedProxy
from meshd.config.documents import Documents
from meshd.config.proxy import Proxy
from meshd.identity.credentials import Credentials
from meshd.process.board import Board, Row
from meshd.process.channel import Channel, Message
from meshd.process.delta import Delta
from meshd.process.stall import Stall


@dataclass(frozen=True, slots=True)
class FetchedKeys:
    """The key sets of issuers that were fetched, by their URI. They change without a generation of documents."""

    version: int = 0
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """One generation of everything a sidecar runs by, checked together."""

    generation: int
    loaded: LoadedProxy
    documents: Documents
    credentials: Credentials | None
    documents_stamp: object = None  # of the files, just before they were read
    credentials_stamp: object = None
    keys: FetchedKeys = FetchedKeys()
    delta: Delta | None = None  # what is newer than `documents`; `folding` lays it over them

    @property
    def proxy(self) -> Proxy:
        """The bootstrap."""
        return self.loaded.proxy

    @property
    def workers(self) -> int:
        """How many worker slots there are."""
        workers = self.proxy.spec.workers
        return workers if isinstance(workers, int) else len(os.sched_getaffinity(0))

    @property
    def drain(self) -> float:
        """Seconds that exchanges may take to end."""
        return self.proxy.spec.drain


def fetched_keys(message: Message) -> FetchedKeys:
    """What the controller sends as `("keys", version, texts)`."""
    _, version, texts = message
    assert isinstance(version, int)
    assert isinstance(texts, dict)
    return FetchedKeys(version, texts)


@dataclass(frozen=True, slots=True)
class WorkerStart:
    """One worker slot."""

    slot: int
    accepted: Accepted
    sockets: Mapping[str, list[socket.socket]]
    controller: Channel
    row: Row
    board: Board
    stall: Stall | None = None  # asks for the last words


@dataclass(frozen=True, slots=True)
class ControllerStart:
    """The controller. `workers` are its ends of the slots' channels, `supervisor` its end of the supervisor's."""

    accepted: Accepted
    admin: socket.socket | None
    listeners: tuple[dict[str, str], ...]  # what is listened on, for the admin page
    workers: tuple[Channel, ...]
    supervisor: Channel
    board: Board
    stall: Stall | None = None
