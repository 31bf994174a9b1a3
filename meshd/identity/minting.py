"""Certificates and revocation lists as the bundled CA makes them: builders without files.

Sources: the X509-SVID standard, sections 2 to 4; RFC 5280. Keys are EC P-256: small, fast, and known everywhere.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshd.identity.spiffe import SpiffeId

BACKDATE: Final = 300  # seconds: clocks of peers may be behind


@dataclass(frozen=True, slots=True)
class Life:
    """From when until when, seconds since the epoch."""

    not_before: float
    not_after: float

    @classmethod
    def from_now(cls, now: float, seconds: float) -> "Life":
        """Valid for that long, and already a little before now."""
        return cls(now - min(BACKDATE, seconds / 10), now + seconds)


@dataclass(frozen=True, slots=True)
class Signer:
    """A CA certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)


def make_root(trust_domain: str, life: Life, *, path_length: int = 0) -> Signer:
    """A self-signed root that says which trust domain it is for."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _authority_name("root", trust_domain, key)
    return Signer(_sign_authority(subject, key, Signed(subject, key), (trust_domain, life, path_length)), key)


def make_intermediate(root: Signer, trust_domain: str, life: Life) -> Signer:
    """A CA that issues leaves, so that the key of the root can be locked away."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _authority_name("intermediate", trust_domain, key)
    by = Signed(root.certificate.subject, root.key)
    return Signer(_sign_authority(subject, key, by, (trust_domain, life, 0)), key)


def make_leaf(signer: Signer, spiffe_id: SpiffeId, dns: Iterable[str], life: Life) -> Signer:
    """The certificate and key of a workload. Its subject is empty, so its alternative names are critical."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.UniformResourceIdentifier(str(spiffe_id)), *map(x509.DNSName, dns)]
    builder = (
        _begin(x509.Name([]), signer.certificate.subject, key, life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(_authority_key(signer.key), critical=False)
    )
    return Signer(builder.sign(signer.key, hashes.SHA256()), key)


def make_crl(signer: Signer, revoked: Mapping[int, float], number: int, life: Life) -> x509.CertificateRevocationList:
    """What the signer has revoked: serial numbers and when."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(signer.certificate.subject)
        .last_update(moment(life.not_before))
        .next_update(moment(life.not_after))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_authority_key(signer.key), critical=False)
    )
    for serial, when in sorted(revoked.items()):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(moment(when)).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(signer.key, hashes.SHA256())


def certificate_pem(*certificates: x509.Certificate) -> bytes:
    """One after the other."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS #8, not encrypted: a sidecar that starts by itself has nobody to ask for a password."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def moment(seconds: float) -> datetime:
    """Seconds since the epoch as certificates write time: whole seconds, UTC."""
    return datetime.fromtimestamp(int(seconds), UTC)


@dataclass(frozen=True, slots=True)
class Signed:
    """By whom: a name and a key."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey = field(repr=False)


def _sign_authority(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, by: Signed, what: tuple[str, Life, int]
) -> x509.Certificate:
    trust_domain, life, path_length = what
    builder = (
        _begin(subject, by.name, key, life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(SpiffeId(trust_domain)))]), critical=False
        )
        .add_extension(_authority_key(by.key), critical=False)
    )
    return builder.sign(by.key, hashes.SHA256())


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, life: Life
) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment(life.not_before))
        .not_valid_after(moment(life.not_after))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _authority_name(kind: str, trust_domain: str, key: ec.EllipticCurvePrivateKey) -> x509.Name:
    """A label; the piece of the key in it keeps old and new apart while a root is replaced."""
    digest = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, f"meshd {kind} {digest[:12]}"),
        ]
    )


def _authority_key(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
