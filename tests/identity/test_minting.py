import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from support.svid import LIFE, NOW, bundle, ders

from meshd.identity.certificate import verify_peer
from meshd.identity.minting import BACKDATE, Life, key_pem, make_crl, make_intermediate, make_leaf, make_root
from meshd.identity.spiffe import SpiffeId

ORDERS = SpiffeId.of_workload("mesh.test", "default", "orders")


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def test_a_leaf_is_what_the_standard_asks_for():
    leaf = make_leaf(make_root("mesh.test", LIFE), ORDERS, ["orders.default"], LIFE).certificate
    names = extension(leaf, x509.SubjectAlternativeName)
    assert names.critical  # the subject is empty
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [str(ORDERS)]
    assert names.value.get_values_for_type(x509.DNSName) == ["orders.default"]
    usage = extension(leaf, x509.KeyUsage)
    assert usage.critical
    assert (usage.value.digital_signature, usage.value.key_cert_sign, usage.value.crl_sign) == (True, False, False)
    assert not extension(leaf, x509.BasicConstraints).value.ca
    assert len(list(extension(leaf, x509.ExtendedKeyUsage).value)) == 2
    assert not list(leaf.subject)


def test_a_root_says_its_trust_domain_and_nothing_below_it_may_be_a_ca():
    root = make_root("mesh.test", LIFE).certificate
    assert extension(root, x509.BasicConstraints).value == x509.BasicConstraints(ca=True, path_length=0)
    uris = extension(root, x509.SubjectAlternativeName).value.get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == ["spiffe://mesh.test"]


def test_a_leaf_below_an_intermediate_verifies():
    root = make_root("mesh.test", LIFE, path_length=1)
    signer = make_intermediate(root, "mesh.test", LIFE)
    leaf = make_leaf(signer, ORDERS, (), LIFE)
    assert verify_peer(ders(leaf, signer), bundle(root), NOW).uri == str(ORDERS)


def test_no_two_serials_or_names_of_authorities_are_alike():
    roots = [make_root("mesh.test", LIFE).certificate for _ in range(5)]
    assert len({root.serial_number for root in roots}) == len({root.subject for root in roots}) == 5
    assert all(root.serial_number.bit_length() > 64 for root in roots)


def test_the_longest_trust_domain_still_makes_a_certificate():
    domain = "a" * 255
    leaf = make_leaf(make_root(domain, LIFE), SpiffeId(domain, "/x"), (), LIFE)
    assert leaf.certificate.serial_number


def test_a_list_has_serials_dates_and_a_number():
    root = make_root("mesh.test", LIFE)
    crl = make_crl(root, {5: NOW, 7: NOW}, 3, LIFE)
    assert [entry.serial_number for entry in crl] == [5, 7]
    assert extension(crl, x509.CRLNumber).value.crl_number == 3
    assert crl.is_signature_valid(root.certificate.public_key())


@pytest.mark.parametrize(("ttl", "before"), [(86400, BACKDATE), (10, 1)])
def test_a_life_begins_a_little_early_but_less_so_a_short_one(ttl, before):
    assert Life.from_now(NOW, ttl) == Life(NOW - before, NOW + ttl)


def test_a_key_is_written_so_that_it_can_be_read():
    root = make_root("mesh.test", LIFE)
    assert load_pem_private_key(key_pem(root.key), None).public_key() == root.key.public_key()
    assert "PRIVATE" not in repr(root)
