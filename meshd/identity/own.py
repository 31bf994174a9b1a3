"""What is wrong with our own certificate: the first thing to look at when a peer refuses us."""

from datetime import UTC, datetime

from cryptography.hazmat.primitives.serialization import Encoding

from meshd.identity.certificate import verify_peer
from meshd.identity.credentials import Credentials
from meshd.identity.errors import IdentityError


def own_fault(credentials: Credentials, now: float) -> str:
    """As our peers would see it, by our own bundle and revocation list; empty when it is good."""
    if credentials.remaining(now) <= 0:
        ended = datetime.fromtimestamp(credentials.not_after, UTC)
        return f"expired at {ended:%Y-%m-%d %H:%M:%S} UTC"
    chain = [each.public_bytes(Encoding.DER) for each in (credentials.leaf, *credentials.chain)]
    try:
        verify_peer(chain, credentials.bundle, now)
    except IdentityError as error:
        return f"is {error.code}: {error.text}"
    return ""
