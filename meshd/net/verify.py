"""What OpenSSL asks about a peer's certificates, and our own judgement in the same place: within the handshake.

Theory of operation: OpenSSL judges the chain, certificate by certificate, and asks at each. At the leaf, when nothing
else is wrong, the checks that it leaves to us are made (`identity/certificate.py`). A refusal then ends the handshake
with the alert that says why; made after it, it could only close the connection, and the peer would learn nothing.
Rule 1: nothing is raised into the library; what crashes refuses.
"""

from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from OpenSSL._util import ffi, lib
from OpenSSL.crypto import X509

from meshd.identity.bundle import TrustBundle
from meshd.identity.certificate import IdentityError, PeerIdentity, verify_peer
from meshd.net import wait

# X509_V_ERR_* of openssl/x509_vfy.h, in the words of our log.
VERIFY_ERRORS: Final = {
    2: "issuer-unknown",
    3: "crl-missing",
    7: "bad-signature",
    9: "not-yet-valid",
    10: "expired",
    12: "crl-expired",
    18: "self-signed",
    19: "issuer-unknown",
    20: "issuer-unknown",
    21: "issuer-unknown",
    22: "chain-too-long",
    23: "revoked",
    24: "issuer-not-a-ca",
    25: "path-length",
    26: "wrong-purpose",
    34: "unknown-critical-extension",
    47: "outside-name-constraints",
    48: "inside-excluded-names",
    66: "key-too-small",
    68: "digest-too-weak",
    79: "issuer-not-a-ca",
}

# Our own codes as errors of OpenSSL, which it turns into alerts (RFC 8446 section 6.2): 10 certificate_expired, 23
# certificate_revoked, 20 unknown_ca, everything else (28) bad_certificate.
AS_OPENSSL: Final = {
    "expired": 10,
    "revoked": 23,
    "issuer-unknown": 20,
    "unknown-trust-domain": 20,
    "wrong-trust-domain": 20,
}
REJECTED: Final = 28
MAX_NAME: Final = 256  # characters of a name that nobody has vouched for


ALERTS: Final = {10: "unexpected_message", 40: "handshake_failure", 50: "decode_error", 70: "protocol_version"}


def alert_in(octets: bytes) -> str:
    """The unprotected alert that these octets are, from a server of TLS that was spoken to in something else; empty
    for what is none (RFC 8446 sections 5.1 and 6)."""
    if len(octets) < 7 or octets[0] != 21 or octets[1] != 3 or octets[3:5] != b"\x00\x02":
        return ""
    return ALERTS.get(octets[6], f"alert_{octets[6]}")


class Verification:
    """One handshake's: the application data of its connection."""

    __slots__ = ("bundle", "claimed", "crash", "failures", "identity", "refusal")

    def __init__(self, bundle: TrustBundle) -> None:
        self.bundle = bundle
        self.failures: list[str] = []  # of OpenSSL
        self.refusal: IdentityError | None = None  # ours
        self.identity: PeerIdentity | None = None
        self.claimed = ""  # the URI in the leaf of a peer that is refused; nobody has vouched for it
        self.crash: Exception | None = None

    def judge(self, error: int, depth: int, chain: list[x509.Certificate]) -> int:
        """The error to go on with: 0 for none."""
        if error:
            self.failures.append(f"{VERIFY_ERRORS.get(error, f'openssl-{error}')} at depth {depth}")
        elif depth == 0:
            try:
                ders = [each.public_bytes(Encoding.DER) for each in chain]
                self.identity = verify_peer(ders, self.bundle, wait.wall_clock())
            except IdentityError as refusal:
                self.refusal = refusal
                error = AS_OPENSSL.get(refusal.code, REJECTED)
        if error and chain and not self.claimed:
            self.claimed = claimed_by(chain[0])
        return error


@ffi.callback("int (*)(int, X509_STORE_CTX *)")  # type: ignore[untyped-decorator]  # cffi has no types
def on_verify(ok: int, store: object) -> int:
    """Called by OpenSSL; 1 to go on."""
    index = lib.SSL_get_ex_data_X509_STORE_CTX_idx()
    connection = SSL.Connection._reverse_mapping[lib.X509_STORE_CTX_get_ex_data(store, index)]  # noqa: SLF001
    verification: Verification = connection.get_app_data()
    depth = lib.X509_STORE_CTX_get_error_depth(store)
    error = 0 if ok else lib.X509_STORE_CTX_get_error(store) or REJECTED
    try:
        error = judge(verification, error, depth, _chain(store) if error or not depth else [])
    except Exception as crash:  # noqa: BLE001  # raised again by whoever shakes hands
        verification.crash = crash
        error = REJECTED
    lib.X509_STORE_CTX_set_error(store, error)
    return int(not error)


def judge(verification: Verification, error: int, depth: int, chain: list[x509.Certificate]) -> int:
    """The one call of the hook that may crash."""
    return verification.judge(error, depth, chain)


def _chain(store: object) -> list[x509.Certificate]:
    """From the leaf up, as far as OpenSSL got."""
    stack = lib.X509_STORE_CTX_get1_chain(store)
    if stack == ffi.NULL:
        return []
    try:
        found = [lib.sk_X509_value(stack, place) for place in range(lib.sk_X509_num(stack))]
        return [X509._from_raw_x509_ptr(each).to_cryptography() for each in found]  # noqa: SLF001  # it frees them
    finally:
        lib.sk_X509_free(stack)


def claimed_by(leaf: x509.Certificate) -> str:
    """The first URI that a certificate names, fit to be logged."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, x509.ExtensionNotFound):
        return ""
    return "".join(each for each in found[0] if each.isprintable())[:MAX_NAME] if found else ""
