"""Our own identity as one immutable set: leaf, key, chain and bundle, read from a folder and valid together.

A folder is rewritten while we read it: by a person, by the bundled CA, by a Kubernetes volume that swaps a symlink. So
a set is taken whole or not at all: when the key does not fit the certificate yet, a file is cut short or the leaf has
expired, `CredentialError` says so, and whoever asked keeps the set it has.
"""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from meshd.identity.bundle import BundleError, TrustBundle, read_certificates
from meshd.identity.certificate import verify_svid
from meshd.identity.errors import IdentityError
from meshd.identity.peer import PeerIdentity
from meshd.identity.spiffe import InvalidSpiffeId, SpiffeId, check_trust_domain

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
Fingerprint: TypeAlias = tuple[tuple[int, ...] | None, ...]

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
ROOTS: Final = "ca.crt"
REVOKED: Final = "crl.pem"
FILES: Final = (CERTIFICATE, KEY, ROOTS, REVOKED)
MAX_FILE: Final = 16 * 1024 * 1024  # octets; a revocation list may be long


class CredentialError(Exception):
    """A folder holds no usable set of credentials now. `path` is the file at fault, `code` is stable."""

    def __init__(self, code: str, path: Path, text: str) -> None:
        super().__init__(f"{path}: {text}")
        self.code = code
        self.path = path


@dataclass(frozen=True, slots=True, eq=False)
class Credentials:
    """One set that was read and checked together. Times are seconds since the epoch."""

    spiffe_id: SpiffeId
    leaf: x509.Certificate = field(repr=False)
    key: PrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...] = field(repr=False)  # intermediates to send after the leaf, in their order
    bundle: TrustBundle
    generation: int
    not_before: float
    not_after: float

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the leaf, hex."""
        return self.leaf.fingerprint(hashes.SHA256()).hex()

    @property
    def serial(self) -> str:
        """The leaf's serial number, hex."""
        return f"{self.leaf.serial_number:x}"

    def remaining(self, now: float) -> float:
        """Seconds until the leaf expires; negative when it has."""
        return self.not_after - now

    def is_due(self, now: float, share: float = 0.5) -> bool:
        """Whether that share of the leaf's life is over, so that a new one should be on its way."""
        return now >= self.not_before + (self.not_after - self.not_before) * share


def credentials_fingerprint(folder: str | os.PathLike[str]) -> Fingerprint:
    """Differs from the last one when a file was written, replaced or swapped by symlink. Reads no file."""
    return tuple(_stamp(Path(folder) / name) for name in FILES)


def load_credentials(
    folder: str | os.PathLike[str], trust_domain: str, now: float, *, generation: int = 1, require_crl: bool = False
) -> Credentials:
    """Read a folder of tls.crt, tls.key, ca.crt and, if there is one, crl.pem; raises `CredentialError`.

    Our own leaf is held to all rules that we hold peers to, but for revocation: whether we are still welcome is for the
    peers to say, and to refuse a list that names us would keep us trusting others who are named beside us.
    """
    home = Path(folder)
    try:
        check_trust_domain(trust_domain)
    except InvalidSpiffeId as error:
        raise CredentialError("invalid-trust-domain", home, str(error)) from error
    before = credentials_fingerprint(home)
    contents = {name: _read(home / name, optional=name == REVOKED) for name in FILES}
    if credentials_fingerprint(home) != before:
        raise CredentialError("changing", home, "its files changed while they were read; try again")
    bundle = _read_bundle(home, trust_domain, contents, require_crl=require_crl)
    certificates = _read_leaf(home / CERTIFICATE, contents[CERTIFICATE] or b"")
    key = _read_key(home / KEY, contents[KEY] or b"")
    peer = _prove(home / CERTIFICATE, certificates, bundle, now)
    if _public(key.public_key()) != _public(certificates[0].public_key()):
        text = f"is not the key of {home / CERTIFICATE}; perhaps only one of them is replaced yet"
        raise CredentialError("key-mismatch", home / KEY, text)
    return Credentials(
        spiffe_id=peer.spiffe_id,
        leaf=certificates[0],
        key=key,
        chain=peer.path[1:-1],
        bundle=bundle,
        generation=generation,
        not_before=peer.not_before,
        not_after=peer.not_after,
    )


def _prove(path: Path, certificates: tuple[x509.Certificate, ...], bundle: TrustBundle, now: float) -> PeerIdentity:
    """Our leaf through the eyes of a peer that trusts what we trust."""
    try:
        peer = verify_svid(certificates[0], certificates[1:], bundle.without_revocation(), now)
    except IdentityError as error:
        raise CredentialError(error.code, path, f"{error.text} ({error.code})") from error
    if peer.spiffe_id.trust_domain != bundle.trust_domain:
        text = f"is of trust domain {peer.spiffe_id.trust_domain}, configured is {bundle.trust_domain}"
        raise CredentialError("wrong-trust-domain", path, text)
    return peer


def _read_bundle(home: Path, trust_domain: str, contents: dict[str, bytes | None], *, require_crl: bool) -> TrustBundle:
    try:
        return TrustBundle.read(trust_domain, contents[ROOTS] or b"", contents[REVOKED], require_crl=require_crl)
    except BundleError as error:
        raise CredentialError("bad-bundle", home / error.file, str(error)) from error


def _read_leaf(path: Path, pem: bytes) -> tuple[x509.Certificate, ...]:
    try:
        return read_certificates(pem)
    except ValueError as error:
        raise CredentialError("bad-certificate", path, str(error)) from error


def _read_key(path: Path, pem: bytes) -> PrivateKey:
    try:
        key = load_pem_private_key(pem, None)
    except TypeError as error:
        raise CredentialError("bad-key", path, "is encrypted; it must be readable without a password") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CredentialError("bad-key", path, "holds no readable PEM private key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise CredentialError("bad-key", path, "is not an EC, RSA or Ed25519 key")
    return key


def _public(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        return b""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _read(path: Path, *, optional: bool) -> bytes | None:
    """A regular file of bounded size; opened without waiting, so that a pipe in its place can not stop us."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        if optional:
            return None
        raise CredentialError("missing-file", path, "does not exist") from error
    except OSError as error:
        raise CredentialError("unreadable-file", path, f"can not be read: {error.strerror}") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise CredentialError("unreadable-file", path, "is not a regular file")
        if status.st_size > MAX_FILE:
            raise CredentialError("unreadable-file", path, f"is larger than {MAX_FILE} octets")
        return _read_all(fd, status.st_size)
    except OSError as error:
        raise CredentialError("unreadable-file", path, f"can not be read: {error.strerror}") from error
    finally:
        os.close(fd)


def _read_all(fd: int, size: int) -> bytes:
    """Up to the size the file had; one that grows meanwhile has another fingerprint afterwards."""
    content = bytearray()
    while len(content) < size:
        piece = os.read(fd, size - len(content))
        if not piece:
            break
        content += piece
    return bytes(content)


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev
