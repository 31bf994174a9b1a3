"""JSON Web Key Sets: the public keys of an issuer, ready to verify.

Sources: RFC 7517 and RFC 7518 (keys and algorithms), RFC 8037 (Ed25519 and Ed448). An algorithm belongs to a type of
key: a token can never choose to have a public key taken for a secret, and "none" is no algorithm. Symmetric keys are
left out, for whoever can verify with one can also sign.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, utils

MAX_KEYS: Final = 64  # of one set
MAX_SET: Final = 262_144  # octets of a set as text
LEAST_RSA_BITS: Final = 2048  # RFC 7518 section 3.3

Verify = Callable[[bytes, bytes], bool]  # the signature, and what it is of
Fields = Mapping[str, object]


class InvalidKey(ValueError):
    """A key that can not be used, and why."""


@dataclass(frozen=True, slots=True)
class Key:
    """One public key: what it is called, and how it verifies by each algorithm it may be used with."""

    name: str  # `kid`, empty for none
    algorithms: Mapping[str, Verify]


def read_key_set(text: str) -> tuple[Key, ...]:
    """As `usable_keys`. Raises InvalidKey too when there is none, with the reasons."""
    keys, reasons = _sort_out(text)
    if not keys:
        raise InvalidKey("; ".join(reasons[:3]) or "a key set without keys")
    return keys


def usable_keys(text: str) -> tuple[Key, ...]:
    """The keys of a set that can verify tokens; those of other uses and types are left out, as RFC 7517 section 5 says.
    There may be none: an issuer takes a key back by leaving it out.

    Raises InvalidKey when it is no set.
    """
    return _sort_out(text)[0]


def _sort_out(text: str) -> tuple[tuple[Key, ...], list[str]]:
    """The keys that can be used, and why others cannot. Raises InvalidKey."""
    if len(text) > MAX_SET:
        raise InvalidKey(f"a key set of more than {MAX_SET} octets")
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidKey(f"not JSON: {error}") from error
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise InvalidKey(f"not a key set: expected an object with a list 'keys' of at most {MAX_KEYS}")
    keys: list[Key] = []
    reasons: list[str] = []
    for place, each in enumerate(listed):
        try:
            keys.append(read_key(each))
        except (InvalidKey, ValueError, TypeError) as error:
            reasons.append(f"keys[{place}]: {error}")
    return tuple(keys), reasons


def read_key(fields: object) -> Key:
    """One key. Raises InvalidKey, or ValueError for numbers that are no key."""
    if not isinstance(fields, dict):
        raise InvalidKey("expected an object")
    operations = fields.get("key_ops")
    if fields.get("use", "sig") != "sig" or (isinstance(operations, list) and "verify" not in operations):
        raise InvalidKey("not for signatures")
    kind = fields.get("kty")
    if not isinstance(kind, str) or kind not in _READERS:
        raise InvalidKey(f"type {kind!r} is not one of {', '.join(_READERS)}")
    algorithms = _READERS[kind](fields)
    wanted = fields.get("alg")
    if wanted is not None:
        algorithms = {name: verify for name, verify in algorithms.items() if name == wanted}
        if not algorithms:
            raise InvalidKey(f"algorithm {wanted!r} is not one of its type")
    name = fields.get("kid", "")
    return Key(name if isinstance(name, str) else "", algorithms)


def decode(text: str | bytes) -> bytes:
    """Base64url without padding, and nothing beside its alphabet (RFC 7515 section 2). Raises ValueError."""
    octets = text.encode("ascii") if isinstance(text, str) else text
    if octets.translate(None, _ALPHABET):
        raise ValueError("an octet that is not base64url")
    try:
        return base64.urlsafe_b64decode(octets + b"=" * (-len(octets) % 4))
    except binascii.Error as error:
        raise ValueError(str(error)) from error


_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _octets(fields: Fields, name: str) -> bytes:
    value = fields.get(name)
    if not isinstance(value, str):
        raise InvalidKey(f"{name!r} is missing")
    return decode(value)


def _number(fields: Fields, name: str) -> int:
    return int.from_bytes(_octets(fields, name), "big")


def _rsa(fields: Fields) -> Mapping[str, Verify]:
    key = rsa.RSAPublicNumbers(_number(fields, "e"), _number(fields, "n")).public_key()
    if key.key_size < LEAST_RSA_BITS:
        raise InvalidKey(f"an RSA key of {key.key_size} bits; at least {LEAST_RSA_BITS} are needed")

    def pkcs1(digest: hashes.HashAlgorithm) -> Verify:
        return _good(lambda signature, data: key.verify(signature, data, padding.PKCS1v15(), digest))

    def pss(digest: hashes.HashAlgorithm) -> Verify:
        scheme = padding.PSS(padding.MGF1(digest), digest.digest_size)
        return _good(lambda signature, data: key.verify(signature, data, scheme, digest))

    return {f"RS{bits}": pkcs1(digest) for bits, digest in _DIGESTS.items()} | {
        f"PS{bits}": pss(digest) for bits, digest in _DIGESTS.items()
    }


def _ec(fields: Fields) -> Mapping[str, Verify]:
    curve = fields.get("crv")
    if not isinstance(curve, str) or curve not in _CURVES:
        raise InvalidKey(f"curve {curve!r} is not one of {', '.join(_CURVES)}")
    name, shape, digest = _CURVES[curve]
    key = ec.EllipticCurvePublicNumbers(_number(fields, "x"), _number(fields, "y"), shape).public_key()
    half = (shape.key_size + 7) // 8

    def verify(signature: bytes, data: bytes) -> None:
        if len(signature) != 2 * half:  # both numbers in full length (RFC 7518 section 3.4)
            raise InvalidSignature
        r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
        key.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(digest))

    return {name: _good(verify)}


def _okp(fields: Fields) -> Mapping[str, Verify]:
    curve = fields.get("crv")
    if curve == "Ed25519":
        return {"EdDSA": _good(ed25519.Ed25519PublicKey.from_public_bytes(_octets(fields, "x")).verify)}
    if curve == "Ed448":
        return {"EdDSA": _good(ed448.Ed448PublicKey.from_public_bytes(_octets(fields, "x")).verify)}
    raise InvalidKey(f"curve {curve!r} is not one of Ed25519, Ed448")


def _good(check: Callable[[bytes, bytes], None]) -> Verify:
    """Yes or no in the place of an exception."""

    def verify(signature: bytes, data: bytes) -> bool:
        try:
            check(signature, data)
        except InvalidSignature:
            return False
        return True

    return verify


_DIGESTS: Final = {256: hashes.SHA256(), 384: hashes.SHA384(), 512: hashes.SHA512()}
_CURVES: Final[Mapping[str, tuple[str, ec.EllipticCurve, hashes.HashAlgorithm]]] = {
    "P-256": ("ES256", ec.SECP256R1(), hashes.SHA256()),
    "P-384": ("ES384", ec.SECP384R1(), hashes.SHA384()),
    "P-521": ("ES512", ec.SECP521R1(), hashes.SHA512()),
}
_READERS: Final[Mapping[str, Callable[[Fields], Mapping[str, Verify]]]] = {"RSA": _rsa, "EC": _ec, "OKP": _okp}
