"""The certificates of the mTLS cases, made from their recipes by the tool that comes with them.

Every authority of a row bears the row's id in its name, so that one sidecar can trust the roots of all rows at once and
still no row's certificates are good by another row's root.
"""

import importlib.util
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from support.der import as_version_1, resign, with_reversed_dates, with_sha1
from support.shared import shared_folder

NO_EDIT = {"not_before", "not_after", "hash", "version"}  # of a leaf that is made good first and edited then
EDITS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], hashes.HashAlgorithm]] = {
    "mtls-reversed-dates": (with_reversed_dates, hashes.SHA256()),
    "mtls-sha1": (with_sha1, hashes.SHA1()),
    "mtls-v1cert": (as_version_1, hashes.SHA256()),
}


class _Closing:
    """What the tool opens and never closes."""

    def __init__(self, path: str, _mode: str) -> None:
        self._path = Path(path)

    def write(self, content: bytes) -> None:
        self._path.write_bytes(content)


def _tool():
    path = shared_folder("cases") / "tools" / "mtls_make.py"
    spec = importlib.util.spec_from_file_location("mtls_make", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.open = _Closing
    return module


@dataclass(frozen=True)
class Material:
    """What a peer shows, and what is trusted for its sake."""

    roots: bytes  # PEM
    crl: bytes  # PEM, empty without one
    certificate: Path | None  # with its chain; None for a peer that has none
    key: Path | None

    def show(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """The context, with this certificate. Weak ones are loaded too: to refuse them is the other side's business."""
        context.set_ciphers("ALL:@SECLEVEL=0")
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context


class Maker:
    """`make(row)` for rows of the cases, or rows of one's own in the same form."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tool = _tool()
        self._ca = self._tool.ca

    def make(self, row: dict) -> Material:
        """The material of a row, new with every call; times are relative to now."""
        signers: list[tuple[x509.Certificate, ec.EllipticCurvePrivateKey]] = []

        def ca(name: str, *rest, **more):
            made = self._ca(f"{name} {row['id']}", *rest, **more)
            signers.append(made)
            return made

        self._tool.ca = ca
        leaf = dict(row["leaf"])
        if row["id"] in EDITS:
            leaf = {key: value for key, value in leaf.items() if key not in NO_EDIT}
        stranger = leaf.pop("wrong_private_key", False)
        folder = self._folder / row["id"]
        paths = self._tool.make({**row, "leaf": leaf}, str(folder))
        material = Material(
            Path(paths["ca"]).read_bytes(),
            Path(paths["crl"]).read_bytes() if paths.get("crl") else b"",
            Path(paths["cert"]) if "cert" in paths else None,
            Path(paths["key"]) if "key" in paths else None,
        )
        if row["id"] in EDITS:
            _edit(material.certificate, signers[0][1], *EDITS[row["id"]])
        if stranger:
            _pretend(material.key)
        return material


def _edit(path: Path, issuer: ec.EllipticCurvePrivateKey, edit, digest) -> None:
    """The same certificate with something wrong that no builder makes, signed by its issuer."""
    good = x509.load_pem_x509_certificate(path.read_bytes())
    path.write_text(ssl.DER_cert_to_PEM_cert(resign(good, issuer, edit, digest)))


def _pretend(path: Path) -> None:
    """Another key that claims the public half of this one: libraries load it, signatures by it do not verify."""
    own = load_pem_private_key(path.read_bytes(), None)
    other = ec.generate_private_key(ec.SECP256R1())
    points = [key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for key in (other, own)]
    der = other.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    text = ssl.DER_cert_to_PEM_cert(der.replace(*points))
    path.write_text(text.replace("CERTIFICATE", "EC PRIVATE KEY"))
