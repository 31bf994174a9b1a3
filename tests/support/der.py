"""Certificates that no builder makes: DER taken apart, changed and signed again."""

from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

ECDSA_SHA1 = bytes.fromhex("300906072a8648ce3d0401")
SEQUENCE = 0x30


def elements(der: bytes) -> list[bytes]:
    """The elements inside a constructed one."""
    content = der[_header(der) :]
    found = []
    while content:
        size = _size(content)
        found.append(content[:size])
        content = content[size:]
    return found


def sequence(*parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([SEQUENCE, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([SEQUENCE, 0x80 | len(octets)]) + octets + content


def resign(
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    edit: Callable[[list[bytes]], list[bytes]],
    digest: hashes.HashAlgorithm | None = None,
) -> bytes:
    """The certificate with the elements of its body edited, signed by `key`.

    Elements: version, serial, algorithm, issuer, validity, subject, public key, extensions.
    """
    body, algorithm, _signature = elements(certificate.public_bytes(Encoding.DER))
    parts = edit(elements(body))
    if isinstance(digest, hashes.SHA1):
        algorithm = ECDSA_SHA1
    body = sequence(*parts)
    signature = b"\0" + key.sign(body, ec.ECDSA(digest or hashes.SHA256()))
    return sequence(body, algorithm, bytes([0x03, len(signature)]) + signature)


def as_version_1(parts: list[bytes]) -> list[bytes]:
    return parts[1:-1]


def with_reversed_dates(parts: list[bytes]) -> list[bytes]:
    return [*parts[:4], sequence(*reversed(elements(parts[4]))), *parts[5:]]


def with_sha1(parts: list[bytes]) -> list[bytes]:
    return [*parts[:2], ECDSA_SHA1, *parts[3:]]


def _header(der: bytes) -> int:
    return 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)


def _size(der: bytes) -> int:
    header = _header(der)
    return header + (der[1] if header == 2 else int.from_bytes(der[2:header], "big"))
