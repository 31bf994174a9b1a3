import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from support.svid import LIFE, NOW, SIGNER, bundle, common_name, ders, intermediate, make, root

from meshd.identity import bundle as bundle_module
from meshd.identity.bundle import BundleError, TrustBundle, read_certificates
from meshd.identity.certificate import verify_peer
from meshd.identity.errors import IdentityError
from meshd.identity.minting import Life, certificate_pem, make_crl

TOP, PARTNER = root(), root("partner.test")
LEAF = make(TOP)


def lists(*signers, revoked=()):
    serials = {leaf.certificate.serial_number: NOW - 1 for leaf in revoked}
    made = [make_crl(signer, serials, 1, Life(NOW - 60, NOW + 7200)) for signer in signers]
    return b"".join(found.public_bytes(Encoding.PEM) for found in made)


def again(peer, later, now=NOW):
    try:
        later.check_again(peer, now)
    except IdentityError as error:
        return error.code
    return "good"


def test_roots_go_to_the_trust_domain_they_name_and_the_nameless_to_ours():
    key_only = intermediate(TOP, "nameless")
    nameless = make(key_only, SIGNER, key_only.key, subject=common_name("nameless"), uris=())
    found = bundle(TOP, PARTNER, nameless)
    assert found.roots_of("mesh.test") == (TOP.certificate, nameless.certificate)
    assert found.roots_of("partner.test") == (PARTNER.certificate,)
    assert found.roots_of("other.test") == ()


def test_an_intermediate_in_the_file_is_no_root_but_helps_to_find_one():
    signer = intermediate(TOP)
    found = bundle(TOP, signer)
    assert found.roots == (TOP.certificate,)
    assert verify_peer(ders(make(signer)), found, NOW).path[1] == signer.certificate


@pytest.mark.parametrize("pem", [b"", b"   \n", b"no certificate", certificate_pem(TOP.certificate)[:-30]])
def test_an_empty_or_broken_file_is_refused(pem):
    with pytest.raises(BundleError) as caught:
        TrustBundle.read("mesh.test", pem)
    assert caught.value.file == "ca.crt"


@pytest.mark.parametrize(
    ("certificates", "reason"),
    [((LEAF,), "no root"), ((intermediate(TOP),), "no root"), ((TOP, LEAF), "leaf|not a CA|lacks")],
)
def test_only_authorities_are_trusted(certificates, reason):
    with pytest.raises(BundleError, match=reason):
        bundle(*certificates)


def test_a_broken_revocation_list_is_refused_and_named():
    with pytest.raises(BundleError) as caught:
        bundle(TOP, crl=lists(TOP)[:-40])
    assert caught.value.file == "crl.pem"


def test_a_peer_is_good_until_it_expires():
    peer = verify_peer(ders(LEAF, TOP), bundle(TOP), NOW)
    assert again(peer, bundle(TOP)) == "good"
    assert again(peer, bundle(TOP), LIFE.not_after + 1) == "expired"


def test_a_peer_is_good_until_a_new_list_names_it():
    peer = verify_peer(ders(LEAF, TOP), bundle(TOP, crl=lists(TOP)), NOW)
    assert again(peer, bundle(TOP, crl=lists(TOP))) == "good"
    assert again(peer, bundle(TOP, crl=lists(TOP, revoked=[LEAF]))) == "revoked"


def test_a_peer_is_good_until_its_root_is_no_longer_trusted():
    peer = verify_peer(ders(LEAF, TOP), bundle(TOP), NOW)
    assert again(peer, bundle(root(), TOP)) == "good"
    assert again(peer, bundle(root())) == "issuer-unknown"


def test_a_root_that_moved_to_another_trust_domain_vouches_no_more():
    peer = verify_peer(ders(LEAF, TOP), bundle(TOP), NOW)
    assert again(peer, bundle(PARTNER, trust_domain="partner.test")) == "issuer-unknown"


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(bundle_module, "MAX_REMEMBERED", 3)
    found = bundle(TOP)
    peers = [verify_peer(ders(make(TOP), TOP), found, NOW) for _ in range(5)]
    assert [found.recall(peer.fingerprint) is not None for peer in peers] == [False, False, True, True, True]
    assert found.statistics().remembered == 3


def test_a_bundle_without_revocation_asks_for_no_lists():
    found = bundle(TOP, require_crl=True)
    with pytest.raises(IdentityError):
        verify_peer(ders(LEAF, TOP), found, NOW)
    assert verify_peer(ders(LEAF, TOP), found.without_revocation(), NOW).root == TOP.certificate


def test_a_bundle_says_what_it_holds():
    found = bundle(TOP, PARTNER, intermediate(TOP), crl=lists(TOP, revoked=[LEAF]))
    numbers = found.statistics()
    assert (numbers.trust_domains, numbers.roots) == (("mesh.test", "partner.test"), 2)
    assert (numbers.intermediates, numbers.revoked) == (1, 1)
    assert repr(found) == "<TrustBundle mesh.test:1 partner.test:1 <Revocations 1 lists, 1 revoked, required>>"


def test_certificates_are_read_in_their_order():
    pem = b"first\n" + certificate_pem(LEAF.certificate, TOP.certificate)
    assert read_certificates(pem) == (LEAF.certificate, TOP.certificate)
