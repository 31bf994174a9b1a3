"""Who is at the other end: from the certificates of a handshake to a `PeerIdentity`, or the reason why not.

Sources: the X509-SVID standard, section 5; RFC 5280, section 6. The signature that proves possession of the key is the
handshake's business; everything a certificate claims is checked here, whatever the TLS library has checked already.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshd.identity.bundle import TrustBundle
from meshd.identity.errors import IdentityError
from meshd.identity.path import PathSearch
from meshd.identity.peer import PeerIdentity
from meshd.identity.svid import check_leaf, read_certificate

__all__ = ["IdentityError", "PeerIdentity", "verify_again", "verify_peer", "verify_svid"]

MAX_CHAIN: Final = 8  # certificates that a peer may send
MAX_OCTETS: Final = 65536  # of all of them together


def verify_peer(chain_der: Sequence[bytes], bundle: TrustBundle, now: float) -> PeerIdentity:
    """The identity of a peer by the certificates of its handshake, leaf first; raises `IdentityError`.

    A leaf that this bundle has verified before costs no signature; dates and revocation are checked every time.
    """
    if not chain_der:
        raise IdentityError("no-certificate", "the peer has shown no certificate, or its session has no verified one")
    if len(chain_der) > MAX_CHAIN or sum(map(len, chain_der)) > MAX_OCTETS:
        raise IdentityError("chain-too-long", f"more than {MAX_CHAIN} certificates or {MAX_OCTETS} octets of them")
    known = bundle.recall(hashlib.sha256(chain_der[0]).hexdigest())
    if known is not None:
        try:
            bundle.check_path(known.path, now)
        except IdentityError:
            pass  # an issuer between may have been renewed since: look for a path over what is shown now
        else:
            return known
    return verify_svid(read_certificate(chain_der[0]), [read_certificate(der) for der in chain_der[1:]], bundle, now)


def verify_again(leaf_der: bytes, bundle: TrustBundle, now: float) -> PeerIdentity:
    """The same where only the leaf is at hand, as on a resumed session: its issuers must be known to the bundle."""
    return verify_peer((leaf_der,), bundle, now)


def verify_svid(
    leaf: x509.Certificate, chain: Sequence[x509.Certificate], bundle: TrustBundle, now: float
) -> PeerIdentity:
    """The identity that a leaf proves, over candidates for its issuers in any order; raises `IdentityError`."""
    names = check_leaf(leaf)
    if names.spiffe_id is None:
        raise AssertionError("a leaf without an ID passed its check")
    spiffe_id = names.spiffe_id
    roots = bundle.roots_of(spiffe_id.trust_domain)
    if not roots:
        raise IdentityError("unknown-trust-domain", f"no bundle for trust domain {spiffe_id.trust_domain}")
    signers = [*chain, *bundle.intermediates]
    try:
        path = PathSearch(roots, signers, spiffe_id.trust_domain, now).find(leaf)
    except IdentityError as error:
        raise _foreign_root(error, leaf, chain, bundle) from error
    bundle.check_path(path, now)
    peer = PeerIdentity(
        spiffe_id=spiffe_id,
        uri=str(spiffe_id),
        fingerprint=hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest(),
        not_before=leaf.not_valid_before_utc.timestamp(),
        not_after=leaf.not_valid_after_utc.timestamp(),
        serial=leaf.serial_number,
        issuer=leaf.issuer.public_bytes(),
        dns_names=names.dns,
        path=path,
    )
    bundle.remember(peer)
    return peer


def _foreign_root(
    error: IdentityError, leaf: x509.Certificate, chain: Sequence[x509.Certificate], bundle: TrustBundle
) -> IdentityError:
    """A better reason where the issuer is one that we trust, only not for this: the log must name such an attempt."""
    if error.code != "issuer-unknown":
        return error
    issuers = {certificate.issuer for certificate in (leaf, *chain)}
    for trust_domain, roots in bundle.domains.items():
        if any(root.subject in issuers for root in roots):
            return IdentityError(
                "wrong-trust-domain", f"{error.text}; that of trust domain {trust_domain} can not vouch for it"
            )
    return error
