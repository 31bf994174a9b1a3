"""Issuers of tokens: keys of every type, their key sets, and tokens that they sign."""

import base64
import json
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, utils

NOW = 1_700_000_000.0
DIGESTS = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES = {"ES256": (ec.SECP256R1(), "P-256"), "ES384": (ec.SECP384R1(), "P-384"), "ES512": (ec.SECP521R1(), "P-521")}
ALGORITHMS = [*(family + bits for family in ("RS", "PS", "ES") for bits in DIGESTS), "EdDSA"]


def encode(octets):
    """Base64url without padding."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def number(value, size=None):
    return encode(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


@cache
def private_key(algorithm, which=0, bits=2048):
    """A key for an algorithm; `which` makes another one. RSA keys are slow to make, so all algorithms share them."""
    if algorithm[:2] in ("RS", "PS"):
        return _rsa(which, bits)
    if algorithm == "EdDSA":
        return (ed448.Ed448PrivateKey if which == "Ed448" else ed25519.Ed25519PrivateKey).generate()
    return ec.generate_private_key(CURVES[algorithm][0])


@cache
def _rsa(which, bits):
    return rsa.generate_private_key(65537, bits)


def public(algorithm, which=0, bits=2048, **more):
    """The key as a JSON Web Key."""
    key = private_key(algorithm, which, bits).public_key()
    if algorithm[:2] in ("RS", "PS"):
        numbers = key.public_numbers()
        found = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
    elif algorithm == "EdDSA":
        found = {"kty": "OKP", "crv": type(key).__name__.removesuffix("PublicKey"), "x": encode(key.public_bytes_raw())}
    else:
        numbers, size = key.public_numbers(), (key.curve.key_size + 7) // 8
        found = {"kty": "EC", "crv": CURVES[algorithm][1], "x": number(numbers.x, size), "y": number(numbers.y, size)}
    return found | more


def sign(algorithm, data, which=0, bits=2048):
    """The signature as RFC 7518 and RFC 8037 want it."""
    key = private_key(algorithm, which, bits)
    if algorithm == "EdDSA":
        return key.sign(data)
    digest = DIGESTS[algorithm[2:]]
    if algorithm.startswith("RS"):
        return key.sign(data, padding.PKCS1v15(), digest)
    if algorithm.startswith("PS"):
        return key.sign(data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
    size = (key.curve.key_size + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def token(algorithm="ES256", which=0, header=(), **claims):
    """A signed token; issuer and subject unless given. `header` adds to its header; a claim of None is left out."""
    claims = {"iss": "https://issuer.test", "sub": "alice", "exp": NOW + 600} | claims
    fields = {"alg": algorithm} | dict(header)
    return compact(fields, {name: value for name, value in claims.items() if value is not None}, algorithm, which)


def compact(header, payload, algorithm="ES256", which=0):
    """Whatever header and payload (objects, or octets as they are), signed by that algorithm."""
    parts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in (header, payload)]
    signed = ".".join(encode(each) for each in parts)
    return f"{signed}.{encode(sign(algorithm, signed.encode(), which))}"


def key_set(*keys):
    """A key set as text; without keys, that of the issuer `token` signs for."""
    return json.dumps({"keys": list(keys) or [public("ES256")]})
