"""A CA on disk for tests: one line a workload, the real issuing code underneath."""

import time
from pathlib import Path

from meshd.identity import rotation
from meshd.identity.ca import LEAF_TTL, Authority, Order, Setup
from meshd.identity.credentials import Credentials, load_credentials
from meshd.identity.spiffe import SpiffeId


class MeshCA:
    """`MeshCA(tmp_path).issue("orders")` is a folder as `certificates:` of a proxy document wants it.

    Its clock stands still at `now`, the moment it was made unless told otherwise; change the attribute to travel.
    """

    def __init__(
        self,
        home: Path,
        trust_domain: str = "cluster.local",
        *,
        intermediate: bool = False,
        now: float | None = None,
    ) -> None:
        self.home = home
        self.folder = home / "ca"
        self.trust_domain = trust_domain
        self.now = time.time() if now is None else now
        with Authority.create(self.folder, trust_domain, self.now, setup=Setup(intermediate=intermediate)):
            pass

    def open(self) -> Authority:
        """The authority itself; use with `with`."""
        return Authority.open(self.folder)

    def id(self, service_account: str, namespace: str = "default") -> SpiffeId:
        """The ID of a workload."""
        return SpiffeId.of_workload(self.trust_domain, namespace, service_account)

    def issue(
        self,
        service_account: str,
        *,
        namespace: str = "default",
        ttl: float = LEAF_TTL,
        dns: tuple[str, ...] = (),
        folder: Path | None = None,
    ) -> Path:
        """A new folder with tls.crt, tls.key, ca.crt and crl.pem."""
        name = service_account if namespace == "default" else f"{namespace}.{service_account}"
        folder = folder or self.home / name
        with self.open() as authority:
            authority.issue(Order(self.id(service_account, namespace), folder, dns, ttl), self.now)
        return folder

    def renew(self, folder: Path, *, ttl: float | None = None) -> None:
        """New key and certificate in the same folder."""
        with self.open() as authority:
            authority.renew(folder, self.now, ttl=ttl)

    def revoke(self, folder: Path) -> None:
        """Revoke the certificate in a folder; every folder gets the new list."""
        with self.open() as authority:
            authority.revoke([authority.record(folder).serial], self.now)

    def rotate(self, step: str, *, force: bool = False) -> None:
        """One step of replacing the root: start, finish or retire."""
        with self.open() as authority:
            if step == "start":
                rotation.start(authority, self.now)
            else:
                {"finish": rotation.finish, "retire": rotation.retire}[step](authority, self.now, force=force)

    def load(self, folder: Path, *, generation: int = 1) -> Credentials:
        """What a sidecar reads from a folder."""
        return load_credentials(folder, self.trust_domain, self.now, generation=generation)
