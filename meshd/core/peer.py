"""Who is at the other end of a downstream connection. Resolved once a connection, read by every exchange on it."""

from dataclasses import dataclass

from meshd.core.tls_session import TlsSession


@dataclass(frozen=True, slots=True)
class Peer:
    """A client as the network and the handshake show it; never what it claims in a header.

    `principal` is `trust-domain/ns/x/sa/y` as AuthorizationPolicy writes it (the SPIFFE ID without its scheme), empty
    when the peer proved nothing.
    """

    address: str
    port: int = 0
    principal: bytes = b""
    namespace: bytes = b""
    service_account: bytes = b""
    trust_domain: bytes = b""
    fingerprint: str = ""  # SHA-256 of the leaf certificate, hex
    server_name: str = ""  # the SNI it asked for
    resumed: bool = False
    tls: str = ""  # "TLSv1.3", empty for plain text
    local_address: str = ""
    local_port: int = 0
    session: TlsSession | None = None  # all that the handshake showed

    @property
    def spiffe_id(self) -> str:
        """The URI of the certificate, empty when there is none."""
        return f"spiffe://{self.principal.decode()}" if self.principal else ""


NOBODY = Peer("")
