"""Certificate revocation lists, and what they say of a certificate.

Source: RFC 5280, sections 5 and 6.3. When lists are asked for, every issuer on a path must have one that is signed by
it and still current: a missing, forged or outdated list means no, not "unknown".
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtensionOID

from meshd.identity.errors import IdentityError
from meshd.identity.path import Path
from meshd.identity.svid import find_extension

_UNDERSTOOD: Final = frozenset({ExtensionOID.CRL_NUMBER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER})
_MAX_REMEMBERED: Final = 256
_PEM_END: Final = b"-----END X509 CRL-----"


@dataclass(frozen=True, slots=True)
class Crl:
    """One list, read once."""

    issuer: bytes  # name, DER
    this_update: float
    next_update: float
    serials: frozenset[int] = field(repr=False)
    source: x509.CertificateRevocationList = field(repr=False, compare=False)

    @classmethod
    def read(cls, source: x509.CertificateRevocationList) -> "Crl":
        """Raises ValueError for a list that can not be used: a partial one, or one that never ends."""
        for extension in source.extensions:
            if extension.critical and extension.oid not in _UNDERSTOOD:
                raise ValueError(f"revocation list has critical extension {extension.oid.dotted_string}")
        if source.next_update_utc is None:
            raise ValueError("revocation list has no nextUpdate")
        return cls(
            source.issuer.public_bytes(),
            source.last_update_utc.timestamp(),
            source.next_update_utc.timestamp(),
            frozenset(entry.serial_number for entry in source),
            source,
        )


def read_crls(pem: bytes) -> tuple[Crl, ...]:
    """All lists of a PEM file; raises ValueError when there is none or one is broken."""
    *blocks, rest = pem.split(_PEM_END)
    if b"-----BEGIN" in rest:
        raise ValueError("cut short in the middle of a revocation list")
    if not blocks:
        raise ValueError("no revocation list (BEGIN X509 CRL) in it")
    return tuple(Crl.read(x509.load_pem_x509_crl(block + _PEM_END)) for block in blocks)


class Revocations:
    """The lists of a bundle. Without any, nothing is revoked, unless they are `required`."""

    __slots__ = ("_by_issuer", "_signed", "crls", "required")

    def __init__(self, crls: Iterable[Crl] = (), *, required: bool = False) -> None:
        self.crls = tuple(sorted(crls, key=lambda crl: -crl.this_update))
        self.required = required or bool(self.crls)
        self._by_issuer: dict[bytes, list[Crl]] = {}
        self._signed: dict[tuple[int, bytes], bool] = {}  # (list, issuer's key): verified once, not once a handshake
        for crl in self.crls:
            self._by_issuer.setdefault(crl.issuer, []).append(crl)

    def check(self, path: Path, now: float) -> None:
        """Raises `IdentityError` unless a current list of its issuer clears every certificate below the root."""
        if not self.required:
            return
        for certificate, issuer in pairwise(path):
            crl = self._current(issuer)
            if certificate.serial_number in crl.serials:
                what = "the certificate" if certificate is path[0] else "a signing certificate"
                raise IdentityError("revoked", f"{what} {certificate.serial_number:x} is revoked")
            if now < crl.this_update:
                raise IdentityError("crl-not-yet-valid", f"the revocation list of {_name(issuer)} is from the future")
            if now > crl.next_update:
                raise IdentityError("crl-expired", f"the revocation list of {_name(issuer)} is out of date")

    def _current(self, issuer: x509.Certificate) -> Crl:
        """The newest list that this issuer has signed."""
        named = self._by_issuer.get(issuer.subject.public_bytes(), ())
        for crl in named:
            if self._is_signed(crl, issuer):
                return crl
        if named:
            raise IdentityError("crl-bad-signature", f"the revocation list of {_name(issuer)} is not signed by it")
        raise IdentityError("crl-missing", f"there is no revocation list of {_name(issuer)}")

    def _is_signed(self, crl: Crl, issuer: x509.Certificate) -> bool:
        key = (id(crl), issuer.fingerprint(hashes.SHA256()))
        known = self._signed.get(key)
        if known is None:
            if len(self._signed) >= _MAX_REMEMBERED:
                self._signed.clear()
            known = self._signed[key] = _verify(crl.source, issuer)
        return known

    def __repr__(self) -> str:
        revoked = sum(len(crl.serials) for crl in self.crls)
        return f"<Revocations {len(self.crls)} lists, {revoked} revoked{', required' if self.required else ''}>"


def _verify(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    usage = find_extension(issuer, x509.KeyUsage)
    if usage is not None and not usage.value.crl_sign:
        return False
    key = issuer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        return False
    try:
        return crl.is_signature_valid(key)
    except (UnsupportedAlgorithm, ValueError, TypeError):
        return False


def _name(issuer: x509.Certificate) -> str:
    return ascii(issuer.subject.rfc4514_string())[:120]
