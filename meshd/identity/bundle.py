"""Trust bundles: which roots vouch for which trust domain, and what they have revoked.

Source: the SPIFFE Trust Domain and Bundle standard, section 4: a peer is verified with the bundle of the trust domain
that it claims to be from, never with "any root I hold".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from cryptography import x509

from meshd.identity.crl import Revocations, read_crls
from meshd.identity.errors import IdentityError
from meshd.identity.path import Path, check_dates, trust_domain_of_root
from meshd.identity.peer import PeerIdentity
from meshd.identity.svid import check_signer, decode

MAX_REMEMBERED: Final = 1024  # peers whose path is kept
_PEM_BEGIN: Final = b"-----BEGIN "


@dataclass(frozen=True, slots=True)
class BundleStatistics:
    """What a bundle holds."""

    trust_domains: tuple[str, ...]
    roots: int
    intermediates: int
    revoked: int
    remembered: int


class BundleError(ValueError):
    """A file of roots or revocation lists that can not be trusted. `file` is "ca.crt" or "crl.pem"."""

    def __init__(self, file: str, text: str) -> None:
        super().__init__(text)
        self.file = file


class TrustBundle:
    """Roots by trust domain with their revocation lists. It does not change; what it remembers only saves signatures.

    A root belongs to the trust domain of its SPIFFE ID, or to `trust_domain`, our own, when it has none.
    """

    __slots__ = ("_peers", "domains", "intermediates", "revocations", "roots", "trust_domain")

    def __init__(
        self, trust_domain: str, certificates: Sequence[x509.Certificate], revocations: Revocations | None = None
    ) -> None:
        roots = tuple(cert for cert in certificates if cert.issuer == cert.subject)
        if not roots:
            raise BundleError("ca.crt", "no root certificate in it; an empty bundle would trust nobody")
        self.trust_domain = trust_domain
        self.roots = roots
        self.intermediates = tuple(cert for cert in certificates if cert not in roots)
        self.revocations = revocations or Revocations()
        domains: dict[str, tuple[x509.Certificate, ...]] = {}
        try:
            for certificate in certificates:
                check_signer(certificate)
            for root in roots:
                name = trust_domain_of_root(root, trust_domain)
                domains[name] = (*domains.get(name, ()), root)
        except IdentityError as error:
            raise BundleError("ca.crt", f"not a certificate to trust: {error.text} ({error.code})") from error
        self.domains = MappingProxyType(domains)
        self._peers: dict[str, PeerIdentity] = {}

    @classmethod
    def read(
        cls, trust_domain: str, ca_pem: bytes, crl_pem: bytes | None = None, *, require_crl: bool = False
    ) -> "TrustBundle":
        """From the content of ca.crt and crl.pem; raises `BundleError`. With a crl.pem, revocation is checked."""
        try:
            certificates = read_certificates(ca_pem)
        except ValueError as error:
            raise BundleError("ca.crt", str(error)) from error
        try:
            crls = () if crl_pem is None else read_crls(crl_pem)
        except ValueError as error:
            raise BundleError("crl.pem", str(error)) from error
        return cls(trust_domain, certificates, Revocations(crls, required=require_crl))

    def without_revocation(self) -> "TrustBundle":
        """The same roots, asking for no revocation lists."""
        return TrustBundle(self.trust_domain, (*self.roots, *self.intermediates))

    def roots_of(self, trust_domain: str) -> tuple[x509.Certificate, ...]:
        """The roots that may vouch for a trust domain; empty for one we have no bundle of."""
        return self.domains.get(trust_domain, ())

    def check_again(self, peer: PeerIdentity, now: float) -> None:
        """Raises `IdentityError` unless the peer, verified before, perhaps by an older bundle, is good here and now.

        Makes no new signature check: dates, the root's place in this bundle, and revocation.
        """
        if peer.root not in self.roots_of(peer.spiffe_id.trust_domain):
            raise IdentityError("issuer-unknown", f"the root that vouched for {peer.uri} is no longer trusted")
        self.check_path(peer.path, now)

    def check_path(self, path: Path, now: float) -> None:
        """Raises `IdentityError` for what time and revocation lists can change about a path."""
        check_dates(path, now)
        self.revocations.check(path, now)

    def remember(self, peer: PeerIdentity) -> None:
        """Keep a verified peer, so that its next connection costs no signature."""
        peers = self._peers
        peers.pop(peer.fingerprint, None)
        if len(peers) >= MAX_REMEMBERED:
            del peers[next(iter(peers))]  # the oldest: dicts keep their order
        peers[peer.fingerprint] = peer

    def recall(self, fingerprint: str) -> PeerIdentity | None:
        """A peer that this bundle has verified; dates and revocation are to be checked again."""
        return self._peers.get(fingerprint)

    def statistics(self) -> BundleStatistics:
        """What is in it."""
        return BundleStatistics(
            tuple(sorted(self.domains)),
            len(self.roots),
            len(self.intermediates),
            sum(len(crl.serials) for crl in self.revocations.crls),
            len(self._peers),
        )

    def __repr__(self) -> str:
        domains = " ".join(f"{name}:{len(roots)}" for name, roots in sorted(self.domains.items()))
        return f"<TrustBundle {domains} {self.revocations!r}>"


def read_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """All certificates of a PEM file, at least one; raises ValueError also for a file that is cut short."""
    if pem.count(_PEM_BEGIN + b"CERTIFICATE-----") != pem.count(b"-----END CERTIFICATE-----"):
        raise ValueError("cut short in the middle of a certificate")
    if not pem.strip():
        raise ValueError("it is empty")
    try:
        return tuple(decode(certificate) for certificate in x509.load_pem_x509_certificates(pem))
    except (ValueError, x509.InvalidVersion) as error:
        raise ValueError(f"no readable PEM certificates in it: {error}") from error
