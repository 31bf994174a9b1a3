"""What the bundled CA knows: its roots and their part in a rotation, and every leaf it issued. Kept as index.json.

This one file is the truth: it is replaced atomically, and ca.crt and crl.pem are written from it.
"""

import json
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from cryptography import x509

from meshd.identity.minting import certificate_pem

VERSION: Final = 1
KEEP_EXPIRED: Final = 30 * 86400  # seconds that an expired leaf stays listed


class IndexCorrupt(ValueError):
    """The file is not an index of this version."""


class Role(Enum):
    """What a root is there for."""

    ISSUING = "issuing"
    NEXT = "next"  # trusted already, issues nothing yet
    PREVIOUS = "previous"  # still trusted, issues nothing any more


@dataclass(frozen=True, slots=True)
class Root:
    """A root, perhaps with an intermediate that issues in its place. Their keys are files named after it."""

    name: str
    role: Role
    certificate: x509.Certificate = field(repr=False)
    intermediate: x509.Certificate | None = field(default=None, repr=False)
    root_crl: str = field(default="", repr=False)  # PEM: made once with an intermediate, so that the key can be away


@dataclass(frozen=True, slots=True)
class Issued:
    """A leaf that was issued."""

    serial: int
    spiffe_id: str
    dns: tuple[str, ...]
    not_before: float
    not_after: float
    ttl: float  # seconds it was asked for; what a renewal asks for again
    root: str  # name
    folder: str  # relative to the folder of the CA, so that both can be moved together
    revoked: float = 0.0  # when; 0 when it is not

    def is_live(self, now: float) -> bool:
        """Neither expired nor revoked."""
        return not self.revoked and now <= self.not_after


@dataclass(frozen=True, slots=True)
class Index:
    """The whole of it, immutable: an operation makes a new one and saves that."""

    trust_domain: str
    roots: tuple[Root, ...]
    issued: tuple[Issued, ...] = ()
    crl_number: int = 0

    def root(self, role: Role) -> Root | None:
        """The root of that role, if there is one."""
        return next((root for root in self.roots if root.role is role), None)

    @property
    def issuing(self) -> Root:
        """The root that issues now."""
        return next(root for root in self.roots if root.role is Role.ISSUING)

    def find(self, serial: int) -> Issued | None:
        """The leaf with that serial number."""
        return next((leaf for leaf in self.issued if leaf.serial == serial), None)

    def with_roots(self, **roles: Role | None) -> "Index":
        """Roots by name in new roles; None drops one."""
        kept = [root for root in self.roots if roles.get(root.name, root.role) is not None]
        return replace(self, roots=tuple(replace(root, role=roles.get(root.name) or root.role) for root in kept))

    def without_old(self, now: float) -> "Index":
        """Without leaves that expired long ago: nobody can use them, so nobody needs to know of them."""
        return replace(self, issued=tuple(leaf for leaf in self.issued if leaf.not_after + KEEP_EXPIRED >= now))

    def to_json(self) -> str:
        """As index.json has it."""
        document = {
            "version": VERSION,
            "trustDomain": self.trust_domain,
            "crlNumber": self.crl_number,
            "roots": [_root_row(root) for root in self.roots],
            "issued": [_issued_row(leaf) for leaf in self.issued],
        }
        return json.dumps(document, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Index":
        """Raises `IndexCorrupt`."""
        try:
            document: object = json.loads(text)
        except ValueError as error:
            raise IndexCorrupt(f"not JSON: {error}") from error
        match document:
            case {
                "version": 1,
                "trustDomain": str(trust_domain),
                "crlNumber": int(number),
                "roots": list(roots),
                "issued": list(issued),
            }:
                index = cls(trust_domain, tuple(map(_root, roots)), tuple(map(_issued, issued)), number)
            case _:
                raise IndexCorrupt(f"not an index of version {VERSION}")
        if sum(root.role is Role.ISSUING for root in index.roots) != 1:
            raise IndexCorrupt("exactly one root must be issuing")
        return index


def _root_row(root: Root) -> dict[str, str | None]:
    return {
        "name": root.name,
        "role": root.role.value,
        "certificate": certificate_pem(root.certificate).decode(),
        "intermediate": None if root.intermediate is None else certificate_pem(root.intermediate).decode(),
        "rootCrl": root.root_crl,
    }


def _root(row: object) -> Root:
    match row:
        case {
            "name": str(name),
            "role": str(role),
            "certificate": str(pem),
            "intermediate": between,
            "rootCrl": str(crl),
        }:
            try:
                certificate = x509.load_pem_x509_certificate(pem.encode())
                intermediate = x509.load_pem_x509_certificate(between.encode()) if isinstance(between, str) else None
                return Root(name, Role(role), certificate, intermediate, crl)
            except ValueError as error:
                raise IndexCorrupt(f"root {name!r}: {error}") from error
        case _:
            raise IndexCorrupt("a root lacks a field or has one of a wrong type")


def _issued_row(leaf: Issued) -> dict[str, str | float | list[str]]:
    return {
        "serial": f"{leaf.serial:x}",
        "spiffeId": leaf.spiffe_id,
        "dns": list(leaf.dns),
        "notBefore": leaf.not_before,
        "notAfter": leaf.not_after,
        "ttl": leaf.ttl,
        "root": leaf.root,
        "folder": leaf.folder,
        "revoked": leaf.revoked,
    }


def _issued(row: object) -> Issued:
    match row:
        case {
            "serial": str(serial),
            "spiffeId": str(spiffe_id),
            "dns": list(dns),
            "notBefore": int() | float() as not_before,
            "notAfter": int() | float() as not_after,
            "ttl": int() | float() as ttl,
            "root": str(root),
            "folder": str(folder),
            "revoked": int() | float() as revoked,
        }:
            try:
                number = int(serial, 16)
            except ValueError as error:
                raise IndexCorrupt(f"serial {serial!r} is not hexadecimal") from error
            names = tuple(str(name) for name in dns)
            return Issued(number, spiffe_id, names, not_before, not_after, ttl, root, folder, revoked)
        case _:
            raise IndexCorrupt("an issued leaf lacks a field or has one of a wrong type")
