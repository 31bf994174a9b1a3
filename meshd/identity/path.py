"""From a leaf to a root: finding the path, and the checks that take more than one certificate.

Source: RFC 5280, section 6. The TLS library validates the same path in the handshake; this is done again, because the
roots that count are those of the peer's own trust domain and no others, because a resumed session has no path, and
because our own credentials are checked before any handshake.

Rule 1: a signature is verified before anything an issuer says is believed.
Rule 2: the search is bounded in length and in signatures, whatever certificates a peer sends.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from meshd.identity.errors import IdentityError
from meshd.identity.names import check_name_constraints
from meshd.identity.svid import check_signer, find_extension, read_names

Path: TypeAlias = tuple[x509.Certificate, ...]

MAX_INTERMEDIATES: Final = 5  # between leaf and root
MAX_SIGNATURES: Final = 24  # verified for one leaf, dead ends included


class PathSearch:
    """Looks for a path from a leaf over `signers`, which are only candidates, to one of `roots`, which are trusted."""

    __slots__ = ("_failure", "_now", "_roots", "_signers", "_trust_domain", "signatures")

    def __init__(
        self, roots: Sequence[x509.Certificate], signers: Sequence[x509.Certificate], trust_domain: str, now: float
    ) -> None:
        self._roots = roots
        self._signers = signers
        self._trust_domain = trust_domain
        self._now = now
        self.signatures = 0  # verified so far
        self._failure: IdentityError | None = None

    def find(self, leaf: x509.Certificate) -> Path:
        """The first path that holds; otherwise `IdentityError` with the first thing that spoke against one."""
        found = self._extend((leaf,))
        if found is not None:
            return found
        if self._failure is not None:
            raise self._failure
        if leaf.issuer == leaf.subject:
            raise IdentityError("self-signed", "the certificate is signed by itself and not trusted")
        raise IdentityError("issuer-unknown", f"no trusted issuer {ascii(leaf.issuer.rfc4514_string())[:120]}")

    def _extend(self, path: Path) -> Path | None:
        for root in self._roots:
            if root in path:
                continue
            if root.subject == path[-1].issuer and self._is_good((*path, root)):
                return (*path, root)
        if len(path) > MAX_INTERMEDIATES:
            self._note(IdentityError("chain-too-long", f"more than {MAX_INTERMEDIATES} certificates below the root"))
            return None
        for signer in self._signers:
            if signer in path or signer in self._roots or signer.subject != path[-1].issuer:
                continue
            if self._is_good((*path, signer)):
                found = self._extend((*path, signer))
                if found is not None:
                    return found
        return None

    def _is_good(self, path: Path) -> bool:
        try:
            self._check_signature(path[-2], path[-1])
            check_issuer(path, self._trust_domain)
            check_dates(path, self._now)
        except IdentityError as error:
            self._note(error)
            return False
        return True

    def _check_signature(self, certificate: x509.Certificate, issuer: x509.Certificate) -> None:
        if self.signatures >= MAX_SIGNATURES:
            raise IdentityError("chain-too-long", f"more than {MAX_SIGNATURES} signatures to verify for one leaf")
        self.signatures += 1
        try:
            certificate.verify_directly_issued_by(issuer)
        except InvalidSignature as error:
            raise IdentityError("bad-signature", "the signature is not that of the issuer it names") from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise IdentityError("bad-signature", f"the signature can not be verified: {error}") from error

    def _note(self, error: IdentityError) -> None:
        if self._failure is None:
            self._failure = error


def check_issuer(path: Path, trust_domain: str) -> None:
    """The last certificate of the path may have issued those before it, and does so for that trust domain."""
    issuer, below = path[-1], path[:-1]
    names = check_signer(issuer)
    if names.spiffe_id is not None and names.spiffe_id.trust_domain != trust_domain:
        raise IdentityError(
            "wrong-trust-domain",
            f"an authority of trust domain {names.spiffe_id.trust_domain} can not vouch for {trust_domain}",
        )
    basic = find_extension(issuer, x509.BasicConstraints)
    limit = None if basic is None else basic.value.path_length
    between = sum(1 for certificate in below[1:] if certificate.subject != certificate.issuer)
    if limit is not None and between > limit:
        raise IdentityError("path-length", f"an issuer allows {limit} certificates between itself and the leaf")
    check_name_constraints(issuer, below)


def check_dates(path: Path, now: float) -> None:
    """Every certificate of the path is valid at this second; there is no grace."""
    for position, certificate in enumerate(path):
        what = "the certificate" if position == 0 else "a signing certificate"
        if now < certificate.not_valid_before_utc.timestamp():
            raise IdentityError("not-yet-valid", f"{what} is not valid before {certificate.not_valid_before_utc}")
        if now > certificate.not_valid_after_utc.timestamp():
            raise IdentityError("expired", f"{what} expired at {certificate.not_valid_after_utc}")


def trust_domain_of_root(root: x509.Certificate, own: str) -> str:
    """The trust domain whose bundle a root belongs to: what it says itself, else our own."""
    names = read_names(root)
    return own if names.spiffe_id is None else names.spiffe_id.trust_domain
