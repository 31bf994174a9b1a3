"""How `meshd ca` shows a CA and certificates, to people and to programs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from meshd.identity.bundle import read_certificates
from meshd.identity.ca import Authority, CaError
from meshd.identity.ca_index import Issued
from meshd.identity.credentials import CERTIFICATE
from meshd.identity.errors import IdentityError
from meshd.identity.svid import find_extension, read_names


@dataclass(frozen=True, slots=True)
class Shown:
    """The same thing twice."""

    text: str
    document: Mapping[str, object]


def utc(seconds: float) -> str:
    """A moment as RFC 3339 writes it."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def show_issued(leaf: Issued, folder: Path, now: float) -> dict[str, object]:
    """One leaf of the index."""
    return {
        "spiffeId": leaf.spiffe_id,
        "serial": f"{leaf.serial:x}",
        "folder": str(folder),
        "dns": list(leaf.dns),
        "notBefore": utc(leaf.not_before),
        "notAfter": utc(leaf.not_after),
        "root": leaf.root,
        "state": _state(leaf, now),
    }


def show_authority(authority: Authority, now: float) -> Shown:
    """Roots, and leaves with their state."""
    index = authority.index
    lines = [f"trust domain {index.trust_domain}"]
    roots = []
    for root in index.roots:
        end = utc(root.certificate.not_valid_after_utc.timestamp())
        by = "with an intermediate" if root.intermediate is not None else "by itself"
        lines.append(f"root {root.name}: {root.role.value} {by}, until {end}")
        roots.append(
            {
                "name": root.name,
                "role": root.role.value,
                "intermediate": root.intermediate is not None,
                "fingerprint": root.certificate.fingerprint(hashes.SHA256()).hex(),
                "notAfter": end,
            }
        )
    rows = [show_issued(leaf, authority.home / leaf.folder, now) for leaf in index.issued]
    lines += [
        f"{_state(leaf, now):8} {utc(leaf.not_after)}  {leaf.spiffe_id}  {leaf.folder}  {leaf.serial:x}"
        for leaf in index.issued
    ]
    return Shown("\n".join(lines), {"trustDomain": index.trust_domain, "roots": roots, "issued": rows})


def show_certificates(target: Path, now: float) -> Shown:
    """What the certificates of a PEM file, or of a workload's folder, say of themselves; raises `CaError`."""
    path = target / CERTIFICATE if target.is_dir() else target
    try:
        certificates = read_certificates(path.read_bytes())
    except ValueError as error:
        raise CaError(f"{path}: {error}") from error
    rows = [_certificate(certificate, now) for certificate in certificates]
    text = "\n\n".join("\n".join(f"{name:12} {value}" for name, value in row.items()) for row in rows)
    return Shown(text, {"file": str(path), "certificates": rows})


def _certificate(certificate: x509.Certificate, now: float) -> dict[str, object]:
    basic = find_extension(certificate, x509.BasicConstraints)
    try:
        names = read_names(certificate)
        spiffe_id, dns = str(names.spiffe_id or ""), list(names.dns)
    except IdentityError as error:
        spiffe_id, dns = f"({error.code}: {error.text})", []
    start = certificate.not_valid_before_utc.timestamp()
    end = certificate.not_valid_after_utc.timestamp()
    return {
        "spiffeId": spiffe_id,
        "dns": dns,
        "ca": basic is not None and basic.value.ca,
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "notBefore": utc(start),
        "notAfter": utc(end),
        "valid": start <= now <= end,
        "fingerprint": certificate.fingerprint(hashes.SHA256()).hex(),
    }


def _state(leaf: Issued, now: float) -> str:
    if leaf.revoked:
        return "revoked"
    return "live" if leaf.is_live(now) else "expired"
