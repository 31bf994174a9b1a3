"""The identity that a peer proved."""

from dataclasses import dataclass, field

from cryptography import x509

from meshd.identity.spiffe import SpiffeId


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """Who a certificate speaks for, and what must be asked again for as long as its connection lives."""

    spiffe_id: SpiffeId
    uri: str  # `spiffe_id` as text
    fingerprint: str  # SHA-256 of the leaf, hex
    not_before: float  # seconds since the epoch
    not_after: float
    serial: int
    issuer: bytes  # the issuer's name, DER
    dns_names: tuple[str, ...]
    path: tuple[x509.Certificate, ...] = field(repr=False, compare=False)  # the leaf, its issuers, the root

    @property
    def root(self) -> x509.Certificate:
        """The trust anchor that it was verified by."""
        return self.path[-1]
