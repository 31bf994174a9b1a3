"""Where a sidecar's documents and certificates are read from, and the checks that a set must pass to be accepted.

The supervisor reads everything once before it starts anything, and again when the bootstrap may have changed; the
controller reads policies and certificates while the sidecar runs. Both ask here, so both accept exactly the same.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from meshd.config.bootstrap import LoadedProxy, load_proxy
from meshd.config.cross_check import cross_check
from meshd.config.documents import Documents
from meshd.config.errors import ConfigError, Problem
from meshd.config.load import load_policies, watch_stamp
from meshd.config.losses import find_losses
from meshd.config.pieces import Pieces
from meshd.core.steps import Steps
from meshd.identity.credentials import (
    REVOKED,
    CredentialError,
    Credentials,
    Fingerprint,
    credentials_fingerprint,
    load_credentials,
)
from meshd.process.delta import Delta, applying
from meshd.process.pace import CollectorRests
from meshd.process.start import Accepted

CERTIFICATES: Final = "spec.identity.certificates"
NONE_BEFORE: Final = Documents()  # at the start there is nothing to lose
OWN_VARIABLES: Final = frozenset({"MESHD_LOG_LEVEL", "MESHD_LOG_FORMAT"})  # of the process, not of the bootstrap


class Source:
    """One bootstrap file with its overrides. `compiles` raises ConfigError for a set that cannot be compiled."""

    __slots__ = ("_compiles", "_pieces", "file", "overrides")

    def __init__(self, file: Path, overrides: Mapping[str, str], compiles: Callable[[Accepted], object]) -> None:
        self.file = file
        self.overrides = overrides
        self._compiles = compiles
        self._pieces = Pieces()

    def read_proxy(self) -> LoadedProxy:
        """The bootstrap as it is now. Raises ConfigError."""
        environ = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
        return load_proxy(self.file, self.overrides, environ)

    def read_all(self, loaded: LoadedProxy, generation: int, before: Accepted | None = None) -> Accepted:
        """Everything it names, checked together. Raises ConfigError, with what is wrong with either if both are."""
        with CollectorRests():
            return self._read_all(loaded, generation, before)

    def _read_all(self, loaded: LoadedProxy, generation: int, before: Accepted | None) -> Accepted:
        problems: list[Problem] = []
        credentials = documents = None
        kept = before.credentials if before is not None and before.loaded.certificates == loaded.certificates else None
        stamps = self.documents_stamp(loaded), self.credentials_stamp(loaded)
        try:
            credentials = self.read_credentials(loaded, generation, kept)
        except ConfigError as error:
            problems += error.problems
        try:
            documents = self.read_documents(loaded, NONE_BEFORE if before is None else before.documents)
        except ConfigError as error:
            problems += error.problems
        if documents is None or problems:
            raise ConfigError(problems)
        return self.checked(Accepted(generation, loaded, documents, credentials, *stamps))

    def read_documents(self, loaded: LoadedProxy, before: Documents = NONE_BEFORE) -> Documents:
        """The policies alone, checked against each other, the bootstrap, and what was served `before`: what restricts
        is not lost by accident. Raises ConfigError."""
        documents = load_policies(loaded.policies, self._pieces)
        if losses := find_losses(before, documents, loaded.named):
            raise ConfigError(losses)
        found = cross_check(documents, loaded)
        if any(problem.severity == "error" for problem in found):
            raise ConfigError(found)
        return replace(documents, problems=(*documents.problems, *found))

    def read_credentials(
        self, loaded: LoadedProxy, generation: int, before: Credentials | None = None
    ) -> Credentials | None:
        """The certificates alone; None when the bootstrap names none. Revocation lists that were there `before` are not
        lost by accident. Raises ConfigError."""
        identity = loaded.proxy.spec.identity
        if identity is None or loaded.certificates is None:
            return None
        place = loaded.where(("spec", "identity", "certificates"))
        title = f"Proxy {loaded.proxy.namespace}/{loaded.proxy.name}"
        try:
            now = time.time()  # certificates are judged by the wall clock
            found = load_credentials(loaded.certificates, identity.trust_domain, now, generation=generation)
        except CredentialError as error:
            given = repr(identity.certificates)
            problem = Problem("error", "file", *place, title, CERTIFICATES, given, f"not usable: {error}")
            raise ConfigError([problem]) from error
        if str(found.spiffe_id) != loaded.proxy.spiffe_id:
            expected = f"expected a certificate for {loaded.proxy.spiffe_id}; this one is for {found.spiffe_id}"
            hint = "set 'trustDomain' and 'serviceAccount' to match"
            given = repr(identity.certificates)
            raise ConfigError([Problem("error", "value", *place, title, CERTIFICATES, given, expected, hint)])
        if before is not None and before.bundle.revocations.crls and not found.bundle.revocations.crls:
            expected = f"{loaded.certificates / REVOKED} is gone, and what it revoked would be let in"
            hint = "bring it back; a list that revokes nothing will do, and `meshd ca publish` writes one"
            raise ConfigError([Problem("error", "file", *place, title, CERTIFICATES, "", expected, hint)])
        return found

    def checked(self, accepted: Accepted) -> Accepted:
        """The same set, after it was compiled once for nothing but to see that it can be. Raises ConfigError."""
        try:
            self._compiles(accepted)
        except ConfigError as error:
            raise accepted.loaded.placed(error) from error
        return accepted

    def documents_stamp(self, loaded: LoadedProxy) -> object:
        """Differs from the last one when a policy came, went or was written anew."""
        return watch_stamp(loaded.policies)

    def credentials_stamp(self, loaded: LoadedProxy) -> Fingerprint | None:
        """Differs from the last one when a certificate file was replaced."""
        return None if loaded.certificates is None else credentials_fingerprint(loaded.certificates)

    def __repr__(self) -> str:
        return f"<Source {self.file}>"


def renewed(accepted: Accepted, delta: Delta, source: Source | None) -> Accepted:
    """The set after the controller announced a newer one. Its documents are still to be laid over the old ones
    (`folding`); certificates are read from their files when there is a `source`.

    Raises ConfigError when nothing of it can be used. Certificates that changed again since the controller looked do
    not hold up new documents: the controller looks again too.
    """
    credentials, stamp, documents_stamp = accepted.credentials, accepted.credentials_stamp, accepted.documents_stamp
    if delta.head:
        documents_stamp = None  # a later controller reads anew, and says so if that is refused
    if source is not None:
        now = source.credentials_stamp(accepted.loaded)
        try:
            credentials, stamp = source.read_credentials(accepted.loaded, delta.generation, credentials), now
        except ConfigError:
            if not delta.head:
                raise
    return replace(
        accepted,
        generation=delta.generation,
        credentials=credentials,
        documents_stamp=documents_stamp,
        credentials_stamp=stamp,
        delta=delta.over(accepted.delta) if delta.head or accepted.delta is not None else None,
    )


def folding(accepted: Accepted) -> Steps[Accepted]:
    """The same set with nothing left to be laid over its documents."""
    if accepted.delta is None:
        return accepted
    documents = yield from applying(accepted.documents, accepted.delta)
    return replace(accepted, documents=documents, delta=None)
