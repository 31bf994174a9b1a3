"""The bundled CA: a folder with roots, keys and an index, and what can be asked of it.

For a laptop, a test, a fleet of machines without Kubernetes. Where an issuer exists (SPIRE, cert-manager, an
organisation's own), meshd reads what that writes and this is not needed.

The folder, mode 0700: `ca.key` and, after a rotation, `ca-2.key`, ...: keys of roots; `index.json`: the truth;
`ca.crt` and `crl.pem`: what workloads are to trust, written from the index. A workload's folder has tls.crt, tls.key,
and copies of ca.crt and crl.pem.

Rule 1: what the index says is saved before anything is published that depends on it; what is published can be
published again.
Rule 2: a copy of the revocation lists stays current for as long as the leaf beside it lives, so that a folder nobody
touches fails by its own date and not by that of a list.
"""

import fcntl
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from meshd.identity.bundle import TrustBundle, read_certificates
from meshd.identity.ca_index import Index, IndexCorrupt, Issued, Role, Root
from meshd.identity.credentials import CERTIFICATE, FILES, KEY, REVOKED, ROOTS
from meshd.identity.file_set import PRIVATE, NewFile, write_files
from meshd.identity.minting import (
    Life,
    Signer,
    certificate_pem,
    key_pem,
    make_crl,
    make_intermediate,
    make_leaf,
    make_root,
)
from meshd.identity.spiffe import InvalidSpiffeId, SpiffeId, check_trust_domain

DAY: Final = 86400.0
ROOT_TTL: Final = 3650 * DAY
LEAF_TTL: Final = DAY
CRL_TTL: Final = 7 * DAY

INDEX: Final = "index.json"
UNTRACKED: Final = NewFile(".gitignore", b"*\n")  # keys stand beside it
_LOCK: Final = ".lock"


class CaError(Exception):
    """The CA can not do what was asked; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Order:
    """A leaf to be issued."""

    spiffe_id: SpiffeId
    folder: Path
    dns: tuple[str, ...] = ()
    ttl: float = LEAF_TTL


class Authority:
    """An open CA. Use as a context: while it is open no other process can change the same folder."""

    __slots__ = ("_lock", "home", "index")

    def __init__(self, home: Path, index: Index, lock: int) -> None:
        self.home = home
        self.index = index
        self._lock = lock

    @classmethod
    def create(cls, home: Path, trust_domain: str, now: float, *, setup: "Setup | None" = None) -> "Authority":
        """A new CA in a folder that has none; raises `CaError`."""
        setup = setup or Setup()
        try:
            check_trust_domain(trust_domain)
        except InvalidSpiffeId as error:
            raise CaError(str(error)) from error
        is_ours = not home.parent.exists()  # the folder around it, where leaves go as well
        _make_home(home)
        lock = _take(home)
        try:
            _make_room(home, force=setup.force)
            root = make_authority(home, trust_domain, Life.from_now(now, setup.ttl), intermediate=setup.intermediate)
            authority = cls(home, Index(trust_domain, (root,)), lock)
            for folder in (home, home.parent) if is_ours else (home,):
                write_files(folder, UNTRACKED, overwrite=True)
            authority.save(authority.index, now)
        except FileExistsError as error:
            os.close(lock)
            raise CaError(f"{error}; --force replaces it") from error
        except BaseException:
            os.close(lock)
            raise
        return authority

    @classmethod
    def open(cls, home: Path) -> "Authority":
        """The CA in a folder; waits while another process has it open. Raises `CaError`."""
        if not (home / INDEX).is_file():
            raise CaError(f"{home} has no CA (no {INDEX}); make one with init")
        lock = _take(home)
        try:
            return cls(home, Index.from_json((home / INDEX).read_text()), lock)
        except (IndexCorrupt, OSError) as error:
            os.close(lock)
            raise CaError(f"{home / INDEX}: {error}") from error
        except BaseException:
            os.close(lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._lock)

    def save(self, index: Index, now: float) -> None:
        """Make that the truth, with new revocation lists, and write ca.crt and crl.pem from it."""
        index = replace(index.without_old(now), crl_number=index.crl_number + 1)
        write_files(self.home, NewFile(INDEX, index.to_json().encode(), PRIVATE), overwrite=True)
        self.index = index
        write_files(self.home, *self._published(now), overwrite=True)

    def issue(self, order: Order, now: float, *, force: bool = False) -> Issued:
        """Issue a leaf with a new key into a folder of its own; raises `CaError`, also for a folder that has one."""
        if order.spiffe_id.trust_domain != self.index.trust_domain:
            raise CaError(f"{order.spiffe_id} is not of trust domain {self.index.trust_domain}")
        if order.folder.resolve() == self.home.resolve():
            raise CaError(f"{order.folder} is the folder of the CA; name another with --out")
        for name in () if force else FILES:
            if os.path.lexists(order.folder / name):
                raise CaError(f"{order.folder / name} exists already; renew it, or replace it with --force")
        return self._issue(order, now, overwrite=force)

    def renew(self, folder: Path, now: float, *, ttl: float | None = None) -> Issued:
        """A new key and certificate for the same identity, in the same folder; raises `CaError`."""
        leaf = self.record(folder)
        if leaf.revoked:
            raise CaError(f"the certificate in {folder} is revoked; issue a new one with --force if that is over")
        order = Order(SpiffeId.parse(leaf.spiffe_id), folder, leaf.dns, ttl or leaf.ttl)
        return self._issue(order, now, overwrite=True)

    def _issue(self, order: Order, now: float, *, overwrite: bool) -> Issued:
        root = self.index.issuing
        signer = self._signer(root)
        life = Life.from_now(now, order.ttl)
        end = min(certificate.not_valid_after_utc for certificate in (root.certificate, signer.certificate))
        if life.not_after > end.timestamp():
            raise CaError(f"the CA ends at {end}, before that leaf would; replace its root with rotate-root start")
        leaf = make_leaf(signer, order.spiffe_id, order.dns, life)
        record = Issued(
            serial=leaf.certificate.serial_number,
            spiffe_id=str(order.spiffe_id),
            dns=order.dns,
            not_before=leaf.certificate.not_valid_before_utc.timestamp(),
            not_after=leaf.certificate.not_valid_after_utc.timestamp(),
            ttl=order.ttl,
            root=root.name,
            folder=os.path.relpath(order.folder, self.home),
        )
        self.save(replace(self.index, issued=(*self.index.issued, record)), now)
        order.folder.mkdir(parents=True, exist_ok=True)
        chain = (leaf.certificate,) if root.intermediate is None else (leaf.certificate, root.intermediate)
        # What to trust first: the new pair is then never beside a bundle that does not know its issuer.
        write_files(order.folder, *self._published(now), overwrite=True)
        pair = (NewFile(KEY, key_pem(leaf.key), PRIVATE), NewFile(CERTIFICATE, certificate_pem(*chain)))
        try:
            write_files(order.folder, *pair, overwrite=overwrite)
        except FileExistsError as error:
            raise CaError(f"{error}; replace it with --force") from error
        return record

    def revoke(self, serials: Iterable[int], now: float) -> tuple[Issued, ...]:
        """Put leaves on the revocation list, and write that to every folder that is known; raises `CaError`."""
        wanted = set(serials)
        missing = wanted - {leaf.serial for leaf in self.index.issued}
        if missing or not wanted:
            raise CaError(f"no such certificate was issued here: {', '.join(f'{serial:x}' for serial in missing)}")
        issued = tuple(
            replace(leaf, revoked=now) if leaf.serial in wanted and not leaf.revoked else leaf
            for leaf in self.index.issued
        )
        self.save(replace(self.index, issued=issued), now)
        self.publish(now)
        return tuple(leaf for leaf in issued if leaf.serial in wanted)

    def publish(self, now: float) -> tuple[Path, ...]:
        """Write ca.crt and crl.pem anew into every folder that holds a leaf of ours; those that were written."""
        folders, files = self.folders(), self._published(now)
        for folder in folders:
            write_files(folder, *files, overwrite=True)
        return folders

    def folders(self) -> tuple[Path, ...]:
        """Folders on this machine with a leaf that was issued here, in the order they were first issued."""
        names = dict.fromkeys(leaf.folder for leaf in self.index.issued)
        homes = [Path(os.path.normpath(self.home / name)) for name in names]
        return tuple(home for home in homes if self.leaf_in(home) is not None)

    def record(self, folder: Path) -> Issued:
        """What the index says of the leaf in a folder; raises `CaError` when there is none, or not one of ours."""
        leaf = self.leaf_in(folder)
        if leaf is None:
            raise CaError(f"{folder / CERTIFICATE} is not a certificate that {self.home} issued")
        return leaf

    def leaf_in(self, folder: Path) -> Issued | None:
        """The leaf in a folder, None when there is none or this CA has not issued it."""
        try:
            leaf = read_certificates((folder / CERTIFICATE).read_bytes())[0]
        except (OSError, ValueError):
            return None
        return self.index.find(leaf.serial_number)

    def bundle(self, now: float) -> TrustBundle:
        """What workloads trust now."""
        roots, crls = self._published(now)
        return TrustBundle.read(self.index.trust_domain, roots.content, crls.content)

    def _published(self, now: float) -> tuple[NewFile, NewFile]:
        """ca.crt with the issuing root first, and crl.pem with a list of every issuer."""
        roots = sorted(self.index.roots, key=lambda root: root.role is not Role.ISSUING)
        ends = [leaf.not_after + DAY for leaf in self.index.issued if leaf.not_after >= now]
        life = Life(now - 300, max([now + CRL_TTL, *ends]))
        crls = b""
        for root in roots:
            revoked = {
                leaf.serial: leaf.revoked for leaf in self.index.issued if leaf.root == root.name and leaf.revoked
            }
            crl = make_crl(self._signer(root), revoked, self.index.crl_number, life)
            crls += crl.public_bytes(Encoding.PEM) + root.root_crl.encode()
        return NewFile(ROOTS, certificate_pem(*(root.certificate for root in roots))), NewFile(REVOKED, crls)

    def _signer(self, root: Root) -> Signer:
        """What issues below a root: its intermediate if it has one, else itself."""
        if root.intermediate is not None:
            return Signer(root.intermediate, _read_key(self.home / intermediate_key(root.name)))
        return Signer(root.certificate, _read_key(self.home / root_key(root.name)))

    def __repr__(self) -> str:
        roots = " ".join(f"{root.name}:{root.role.value}" for root in self.index.roots)
        return f"<Authority {self.index.trust_domain} {roots}, {len(self.index.issued)} issued>"


@dataclass(frozen=True, slots=True)
class Setup:
    """How a CA is to be made."""

    ttl: float = ROOT_TTL
    intermediate: bool = False
    force: bool = False


def make_authority(
    home: Path, trust_domain: str, life: Life, *, intermediate: bool = False, role: Role = Role.ISSUING
) -> Root:
    """A new root, whose keys are in the folder before anything is signed that others see."""
    name = _free_name(home)
    root = make_root(trust_domain, life, path_length=1 if intermediate else 0)
    files = [NewFile(root_key(name), key_pem(root.key), PRIVATE)]
    between, crl = None, ""
    if intermediate:
        signer = make_intermediate(root, trust_domain, life)
        files.append(NewFile(intermediate_key(name), key_pem(signer.key), PRIVATE))
        between = signer.certificate
        # The root signs its list once, for good: its key can then be kept away from this machine.
        crl = make_crl(root, {}, 1, life).public_bytes(Encoding.PEM).decode()
    write_files(home, *files, overwrite=False)
    return Root(name, role, root.certificate, between, crl)


def root_key(name: str) -> str:
    """The file of a root's key."""
    return f"{name}.key"


def intermediate_key(name: str) -> str:
    """The file of the key of a root's intermediate."""
    return f"{name}-intermediate.key"


def _free_name(home: Path) -> str:
    names = ("ca", *(f"ca-{number}" for number in range(2, 1000)))
    if not (home / INDEX).exists():
        return "ca"
    return next(name for name in names if not list(home.glob(f"{name}.key")) + list(home.glob(f"{name}-inter*.key")))


def _make_home(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        home.chmod(0o700)
    except OSError as error:
        raise CaError(f"{home}: {error.strerror}") from error


def _make_room(home: Path, *, force: bool) -> None:
    if force:
        for old in (home / INDEX, *home.glob("*.key")):
            old.unlink(missing_ok=True)
    elif os.path.lexists(home / INDEX):
        raise CaError(f"{home} has a CA already; --force replaces it, and voids every certificate it issued")


def _take(home: Path) -> int:
    """Lock the folder; the lock goes with the descriptor, also when the process is killed."""
    fd = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise CaError(f"{path}: {error.strerror}; this key is needed to sign") from error
    except (ValueError, TypeError) as error:
        raise CaError(f"{path} holds no readable private key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CaError(f"{path} is not an EC key")
    return key
