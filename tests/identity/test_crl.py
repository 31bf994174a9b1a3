import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from support.svid import NOW, SIGNER, certificates, common_name, intermediate, make, root, usage

from meshd.identity.crl import Crl, Revocations, read_crls
from meshd.identity.errors import IdentityError
from meshd.identity.minting import Life, make_crl, moment

TOP = root()
LEAF = make(TOP)
PATH = tuple(certificates([LEAF, TOP]))
WEEK = Life(NOW - 60, NOW + 7 * 86400)


def crl(signer, *revoked, life=WEEK):
    return Crl.read(make_crl(signer, {leaf.certificate.serial_number: NOW - 1 for leaf in revoked}, 1, life))


def verdict(revocations, path=PATH, now=NOW):
    try:
        revocations.check(path, now)
    except IdentityError as error:
        return error.code
    return "good"


def pem(*lists):
    return b"".join(found.source.public_bytes(Encoding.PEM) for found in lists)


def test_without_lists_nothing_is_revoked_unless_they_are_required():
    assert verdict(Revocations()) == "good"
    assert verdict(Revocations(required=True)) == "crl-missing"


def test_a_listed_certificate_is_revoked_and_another_is_not():
    assert verdict(Revocations([crl(TOP, LEAF)])) == "revoked"
    assert verdict(Revocations([crl(TOP, make(TOP))])) == "good"


def test_one_list_makes_lists_required_of_every_issuer():
    signer = intermediate(TOP)
    leaf = make(signer)
    path = tuple(certificates([leaf, signer, TOP]))
    assert verdict(Revocations([crl(TOP)]), path) == "crl-missing"
    assert verdict(Revocations([crl(signer)]), path) == "crl-missing"
    assert verdict(Revocations([crl(TOP), crl(signer)]), path) == "good"
    assert verdict(Revocations([crl(TOP, signer), crl(signer)]), path) == "revoked"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (WEEK.not_before - 1, "crl-not-yet-valid"),
        (WEEK.not_before, "good"),
        (WEEK.not_after, "good"),
        (WEEK.not_after + 1, "crl-expired"),
    ],
)
def test_only_a_current_list_clears_a_certificate(now, expected):
    assert verdict(Revocations([crl(TOP)]), now=now) == expected


def test_a_list_out_of_date_still_revokes():
    assert verdict(Revocations([crl(TOP, LEAF)]), now=WEEK.not_after + 1) == "revoked"


def test_the_newest_list_counts():
    old = crl(TOP, LEAF, life=Life(NOW - 1000, WEEK.not_after))
    new = crl(TOP)
    assert verdict(Revocations([old, new])) == verdict(Revocations([new, old])) == "good"


def test_a_list_that_its_issuer_has_not_signed_is_worth_nothing():
    forger = make(TOP, SIGNER, subject=TOP.certificate.subject)
    forged = crl(forger)
    assert verdict(Revocations([forged])) == "crl-bad-signature"
    assert verdict(Revocations([forged, crl(TOP, LEAF)])) == "revoked"


def test_an_issuer_that_may_not_sign_lists_has_signed_none():
    signer = make(TOP, SIGNER, subject=common_name("s"), usage=usage("key_cert_sign"))
    path = tuple(certificates([make(signer), signer, TOP]))
    assert verdict(Revocations([crl(TOP), crl(signer)]), path) == "crl-bad-signature"


def test_signatures_of_lists_are_remembered_without_limit_to_our_memory():
    revocations = Revocations([crl(TOP)])
    for number in range(300):
        signer = make(TOP, SIGNER, subject=TOP.certificate.subject) if number % 100 == 0 else TOP
        verdict(revocations, tuple(certificates([LEAF, signer])))
    assert verdict(revocations) == "good"


def test_lists_are_read_from_one_file():
    signer = intermediate(TOP)
    read = read_crls(b"a comment\n" + pem(crl(TOP, LEAF), crl(signer)))
    assert [found.serials for found in read] == [{LEAF.certificate.serial_number}, set()]


@pytest.mark.parametrize("broken", [b"", b"no list", pem(crl(TOP))[:-40], pem(crl(TOP)) + pem(crl(TOP))[:90]])
def test_a_broken_file_is_refused_whole(broken):
    with pytest.raises(ValueError, match="revocation list"):
        read_crls(broken)


def test_a_list_with_garbage_inside_is_refused():
    with pytest.raises(ValueError, match=r".+"):
        read_crls(b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")


def test_a_partial_list_is_refused():
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(TOP.certificate.subject)
        .last_update(moment(NOW))
        .next_update(moment(NOW + 60))
        .add_extension(x509.DeltaCRLIndicator(1), critical=True)
    )
    with pytest.raises(ValueError, match="critical extension"):
        Crl.read(builder.sign(TOP.key, hashes.SHA256()))


def test_revocations_say_how_many_they_hold():
    assert repr(Revocations([crl(TOP, LEAF)])) == "<Revocations 1 lists, 1 revoked, required>"
    assert repr(Revocations()) == "<Revocations 0 lists, 0 revoked>"
