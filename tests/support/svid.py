"""Certificates good and bad, in memory: every field of a leaf or a signer can be got wrong."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshd.identity.bundle import TrustBundle
from meshd.identity.minting import Life, Signer, certificate_pem, make_root, moment

NOW = 1_800_000_000.0
LIFE = Life(NOW - 3600, NOW + 3600)
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def usage(*names: str) -> x509.KeyUsage:
    """A key usage with exactly these bits."""
    bits = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    bits += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{bit: bit in names for bit in bits})


@dataclass(frozen=True)
class Recipe:
    """A leaf, good unless changed."""

    uris: tuple[str, ...] = ("spiffe://mesh.test/ns/a/sa/client",)
    dns: tuple[str, ...] = ()
    other_names: tuple[x509.GeneralName, ...] = ()
    subject: x509.Name = field(default_factory=lambda: x509.Name([]))
    life: Life = LIFE
    ca: bool | None = False  # None: no basic constraints
    path_length: int | None = None
    usage: x509.KeyUsage | None = field(default_factory=lambda: usage("digital_signature"))
    usage_critical: bool = True
    purposes: tuple[x509.ObjectIdentifier, ...] | None = BOTH
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()


GOOD = Recipe()
SIGNER = Recipe(("spiffe://mesh.test",), ca=True, usage=usage("key_cert_sign", "crl_sign"), purposes=None)


def make(by: Signer, recipe: Recipe = GOOD, key: object = None, **changes: object) -> Signer:
    """Bake the recipe, with changes."""
    recipe = replace(recipe, **changes)
    own = key or ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(recipe.subject)
        .issuer_name(by.certificate.subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment(recipe.life.not_before))
        .not_valid_after(moment(recipe.life.not_after))
    )
    if recipe.ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(recipe.ca, recipe.path_length), critical=True)
    if recipe.usage is not None:
        builder = builder.add_extension(recipe.usage, critical=recipe.usage_critical)
    if recipe.purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(recipe.purposes), critical=False)
    names = [*map(x509.UniformResourceIdentifier, recipe.uris), *map(x509.DNSName, recipe.dns), *recipe.other_names]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension, critical in recipe.extra:
        builder = builder.add_extension(extension, critical=critical)
    return Signer(builder.sign(by.key, hashes.SHA256()), own)


def common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def intermediate(by: Signer, name: str = "between", **changes: object) -> Signer:
    """A CA certificate below `by`."""
    return make(by, SIGNER, subject=common_name(name), **changes)


def root(trust_domain: str = "mesh.test", life: Life = LIFE, path_length: int = 9) -> Signer:
    return make_root(trust_domain, life, path_length=path_length)


def bundle(*roots: Signer, trust_domain: str = "mesh.test", crl: bytes | None = None, **more: bool) -> TrustBundle:
    pem = certificate_pem(*(root.certificate for root in roots))
    return TrustBundle.read(trust_domain, pem, crl, **more)


def ders(*signers: Signer) -> list[bytes]:
    return [signer.certificate.public_bytes(Encoding.DER) for signer in signers]


def certificates(signers: Iterable[Signer]) -> list[x509.Certificate]:
    return [signer.certificate for signer in signers]
