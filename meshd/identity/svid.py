"""The rules of X.509 SVIDs for one certificate: what a leaf must say of itself, and what a signing certificate must.

Sources: the X509-SVID standard, sections 2 to 5; RFC 5280, section 4.2. A TLS library asks little of this: it takes
leaves that may sign, leaves without a key usage, two identities in one certificate, and NUL or line ends in a name.
Whether certificates belong together is asked in `path.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from meshd.identity.errors import IdentityError
from meshd.identity.spiffe import InvalidSpiffeId, SpiffeId

MAX_NAMES: Final = 64  # alternative names of a certificate; an SVID needs one
MIN_RSA_BITS: Final = 2048

_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
        # We demand no policy, so that processing one (RFC 5280 section 6.1) can not change the outcome.
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)
_PURPOSES: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_DIGESTS: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)

_E = TypeVar("_E", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class Names:
    """The alternative names that matter: at most one SPIFFE ID, and DNS names that are safe to show."""

    spiffe_id: SpiffeId | None = None
    dns: tuple[str, ...] = ()


def read_certificate(der: bytes) -> x509.Certificate:
    """Decode; raises `IdentityError` for what is no certificate or has extensions that can not be read."""
    try:
        return decode(x509.load_der_x509_certificate(der))
    except (ValueError, x509.InvalidVersion) as error:
        raise IdentityError("malformed", f"the certificate can not be read: {error}") from error


def decode(certificate: x509.Certificate) -> x509.Certificate:
    """The same certificate with everything decoded that is decoded only when asked for; raises ValueError if it can
    not be, so that nothing surprises later."""
    try:
        list(certificate.extensions)
        certificate.subject.public_bytes()
        certificate.issuer.public_bytes()
        if certificate.not_valid_after_utc < certificate.not_valid_before_utc:
            raise ValueError("it ends before it begins")
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ValueError(str(error)) from error
    return certificate


def check_leaf(certificate: x509.Certificate) -> Names:
    """The names of a leaf that may authenticate a workload; raises `IdentityError` for every other certificate."""
    _check_form(certificate, "the certificate")
    if certificate.serial_number <= 0:
        raise IdentityError("malformed", "the serial number is not positive")  # RFC 5280 section 4.1.2.2
    basic = find_extension(certificate, x509.BasicConstraints)
    if basic is not None and basic.value.ca:
        raise IdentityError("leaf-is-ca", "a CA certificate can not authenticate a workload")
    _check_leaf_usage(certificate)
    purposes = find_extension(certificate, x509.ExtendedKeyUsage)
    if purposes is not None and not all(purpose in purposes.value for purpose in _PURPOSES):
        raise IdentityError("wrong-purpose", "extendedKeyUsage must have both serverAuth and clientAuth")
    names = read_names(certificate)
    if names.spiffe_id is None:
        raise IdentityError("no-spiffe-id", "the certificate has no URI among its alternative names")
    if not names.spiffe_id.path:
        raise IdentityError("spiffe-id-without-path", f"{names.spiffe_id} names a trust domain, not a workload")
    return names


def check_signer(certificate: x509.Certificate) -> Names:
    """The names of a certificate that may sign others; raises `IdentityError` if it may not."""
    _check_form(certificate, "a signing certificate")
    basic = find_extension(certificate, x509.BasicConstraints)
    if basic is None or not basic.value.ca:
        raise IdentityError("issuer-not-a-ca", f"{_subject(certificate)} signed a certificate but is not a CA")
    usage = find_extension(certificate, x509.KeyUsage)
    if usage is None or not usage.value.key_cert_sign:
        raise IdentityError("issuer-may-not-sign", f"{_subject(certificate)} lacks the key usage keyCertSign")
    names = read_names(certificate)
    if names.spiffe_id is not None and names.spiffe_id.path:
        raise IdentityError("issuer-has-path", f"signing certificate has the ID of a workload, {names.spiffe_id}")
    return names


def read_names(certificate: x509.Certificate) -> Names:
    """The names of any certificate. Never read from the subject: that is a label and proves nothing."""
    extension = find_extension(certificate, x509.SubjectAlternativeName)
    if extension is None:
        return Names()
    if len(list(extension.value)) > MAX_NAMES:
        raise IdentityError("too-many-names", f"the certificate has more than {MAX_NAMES} alternative names")
    dns = extension.value.get_values_for_type(x509.DNSName)
    for name in dns:
        if not name.isascii() or not name.isprintable() or " " in name:
            raise IdentityError("bad-dns-name", f"DNS name {ascii(name)[:120]} has characters that no name has")
    uris = extension.value.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) > 1:
        raise IdentityError("several-uris", f"the certificate has {len(uris)} URIs, an SVID has exactly one")
    if not uris:
        return Names(None, tuple(dns))
    try:
        return Names(SpiffeId.parse(uris[0]), tuple(dns))
    except InvalidSpiffeId as error:
        raise IdentityError("invalid-spiffe-id", str(error)) from error


def find_extension(certificate: x509.Certificate, kind: type[_E]) -> x509.Extension[_E] | None:
    """The extension of that kind, None when the certificate has none."""
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _check_form(certificate: x509.Certificate, what: str) -> None:
    """Version, critical extensions, and algorithms that are still worth something."""
    if certificate.version is not x509.Version.v3:
        raise IdentityError("not-version-3", f"{what} is X.509 {certificate.version.name}, which has no identity")
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise IdentityError(
                "unknown-critical-extension", f"{what} has critical extension {extension.oid.dotted_string}"
            )
    _check_key(_attempt(certificate.public_key, what), what)
    digest = _attempt(lambda: certificate.signature_hash_algorithm, what)
    if digest is not None and not isinstance(digest, _DIGESTS):
        raise IdentityError("digest-too-weak", f"{what} is signed with {digest.name}")


def _check_key(key: object, what: str) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise IdentityError("key-too-small", f"{what} has an RSA key of {key.key_size} bits")
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, _CURVES):
            raise IdentityError("unsupported-key", f"{what} has a key on curve {key.curve.name}")
    elif not isinstance(key, ed25519.Ed25519PublicKey):
        raise IdentityError("unsupported-key", f"{what} has a key that is not RSA, P-256, P-384, P-521 or Ed25519")


_T = TypeVar("_T")


def _attempt(read: Callable[[], _T], what: str) -> _T:
    """What the library reads lazily, with its refusal in our words."""
    try:
        return read()
    except (UnsupportedAlgorithm, ValueError) as error:
        raise IdentityError("unsupported-key", f"{what} has an algorithm that is not supported: {error}") from error


def _check_leaf_usage(certificate: x509.Certificate) -> None:
    usage = find_extension(certificate, x509.KeyUsage)
    if usage is None:
        raise IdentityError("no-key-usage", "the certificate has no keyUsage")
    if not usage.critical:
        raise IdentityError("key-usage-not-critical", "keyUsage must be critical")
    if not usage.value.digital_signature:
        raise IdentityError("no-digital-signature", "keyUsage lacks digitalSignature")
    if usage.value.key_cert_sign or usage.value.crl_sign:
        raise IdentityError("leaf-may-sign", "keyUsage of a workload must not have keyCertSign or cRLSign")


def _subject(certificate: x509.Certificate) -> str:
    """A certificate's label for a message."""
    return ascii(certificate.subject.rfc4514_string())[:120]
