import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID
from support import der
from support.svid import SIGNER, ders, intermediate, make, root, usage

from meshd.identity.errors import IdentityError
from meshd.identity.svid import check_leaf, check_signer, read_certificate, read_names

TOP = root()
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
POLICIES = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("2.5.29.32.0"), None)])


def refusal(check, certificate):
    with pytest.raises(IdentityError) as caught:
        check(certificate)
    return caught.value.code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ca": True}, "leaf-is-ca"),
        ({"usage": None}, "no-key-usage"),
        ({"usage_critical": False}, "key-usage-not-critical"),
        ({"usage": usage("key_encipherment")}, "no-digital-signature"),
        ({"usage": usage("digital_signature", "key_cert_sign")}, "leaf-may-sign"),
        ({"usage": usage("digital_signature", "crl_sign")}, "leaf-may-sign"),
        ({"purposes": (ExtendedKeyUsageOID.SERVER_AUTH,)}, "wrong-purpose"),
        ({"purposes": (ExtendedKeyUsageOID.CLIENT_AUTH,)}, "wrong-purpose"),
        ({"purposes": (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)}, "wrong-purpose"),
        ({"uris": ()}, "no-spiffe-id"),
        ({"uris": (), "dns": ("client.a",)}, "no-spiffe-id"),
        ({"uris": ("spiffe://mesh.test/a", "spiffe://mesh.test/a")}, "several-uris"),
        ({"uris": ("spiffe://mesh.test/a", "https://mesh.test/")}, "several-uris"),
        ({"uris": ("spiffe://mesh.test",)}, "spiffe-id-without-path"),
        ({"uris": ("spiffe://mesh.test/a\0.evil",)}, "invalid-spiffe-id"),
        ({"uris": ("spiffe://mesh.test/a\r\nX: 1",)}, "invalid-spiffe-id"),
        ({"dns": ("a.test\0.evil",)}, "bad-dns-name"),
        ({"dns": ("a.test\r\nX: 1",)}, "bad-dns-name"),
        ({"dns": tuple(f"n{number}.test" for number in range(64))}, "too-many-names"),
        ({"extra": ((UNKNOWN, True),)}, "unknown-critical-extension"),
        ({"key": rsa.generate_private_key(65537, 1024)}, "key-too-small"),
        ({"key": ec.generate_private_key(ec.SECP256K1())}, "unsupported-key"),
        ({"key": x25519.X25519PrivateKey.generate()}, "unsupported-key"),
    ],
)
def test_a_leaf_that_is_no_svid_is_refused(changes, code):
    assert refusal(check_leaf, make(TOP, **changes).certificate) == code


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"purposes": None},
        {"ca": None},
        {"dns": tuple(f"n{number}.test" for number in range(63))},
        {"extra": ((UNKNOWN, False),)},
        {"extra": ((POLICIES, True),)},
        {"key": rsa.generate_private_key(65537, 2048)},
        {"key": ed25519.Ed25519PrivateKey.generate()},
        {"key": ec.generate_private_key(ec.SECP384R1())},
    ],
)
def test_a_leaf_that_is_an_svid_is_accepted(changes):
    assert str(check_leaf(make(TOP, **changes).certificate).spiffe_id) == "spiffe://mesh.test/ns/a/sa/client"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ca": False}, "issuer-not-a-ca"),
        ({"ca": None}, "issuer-not-a-ca"),
        ({"usage": usage("crl_sign")}, "issuer-may-not-sign"),
        ({"usage": None}, "issuer-may-not-sign"),
        ({"uris": ("spiffe://mesh.test/ns/a/sa/client",)}, "issuer-has-path"),
        ({"extra": ((UNKNOWN, True),)}, "unknown-critical-extension"),
        ({"key": rsa.generate_private_key(65537, 1024)}, "key-too-small"),
    ],
)
def test_a_certificate_that_may_not_sign_is_refused(changes, code):
    assert refusal(check_signer, make(TOP, SIGNER, **changes).certificate) == code


def test_a_signer_need_not_have_an_id():
    assert check_signer(intermediate(TOP, uris=()).certificate).spiffe_id is None
    assert check_signer(TOP.certificate).spiffe_id.trust_domain == "mesh.test"


def test_the_subject_is_never_an_identity():
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "spiffe://mesh.test/ns/a/sa/client")])
    assert read_names(make(TOP, uris=(), subject=subject).certificate).spiffe_id is None


@pytest.mark.parametrize(
    ("edit", "digest", "code"),
    [
        (der.as_version_1, None, "not-version-3"),
        (der.with_sha1, der.hashes.SHA1(), "digest-too-weak"),
    ],
)
def test_old_certificates_are_refused(edit, digest, code):
    old = der.resign(make(TOP).certificate, TOP.key, edit, digest)
    assert refusal(check_leaf, read_certificate(old)) == code


@pytest.mark.parametrize("broken", [b"", b"\x30\x00", b"not a certificate", ders(make(TOP))[0][:-9]])
def test_what_can_not_be_read_is_malformed(broken):
    assert refusal(read_certificate, broken) == "malformed"


def test_a_certificate_that_ends_before_it_begins_is_malformed():
    assert refusal(read_certificate, der.resign(make(TOP).certificate, TOP.key, der.with_reversed_dates)) == "malformed"


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # one of the octets is its sign
def test_no_octet_turned_over_makes_anything_but_an_identity_error():
    good = ders(make(TOP, dns=("client.a",)))[0]
    refused = 0
    for position in range(0, len(good) - 72, 3):  # the signature is not read here
        broken = bytearray(good)
        broken[position] ^= 0xFF
        try:
            check_leaf(read_certificate(bytes(broken)))
        except IdentityError:
            refused += 1
    assert refused > 80  # of 120; what is left are octets of keys, names and serial numbers
