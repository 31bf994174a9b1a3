import pytest
from cryptography import x509
from support.svid import LIFE, NOW, SIGNER, certificates, common_name, intermediate, make, root

from meshd.identity.errors import IdentityError
from meshd.identity.minting import Life
from meshd.identity.path import MAX_INTERMEDIATES, MAX_SIGNATURES, PathSearch, check_dates, trust_domain_of_root

TOP = root()
OLD = Life(NOW - 7200, NOW - 10)


def find(leaf, *signers, roots=(TOP,), now=NOW):
    return PathSearch(certificates(roots), certificates(signers), "mesh.test", now).find(leaf.certificate)


def refusal(leaf, *signers, **more):
    with pytest.raises(IdentityError) as caught:
        find(leaf, *signers, **more)
    return caught.value.code


def chain_of(length):
    signers = [TOP]
    for number in range(length):
        signers.append(intermediate(signers[-1], f"between {number}"))
    return make(signers[-1]), signers[1:]


def test_the_path_is_found_in_whatever_order_the_signers_come():
    leaf, signers = chain_of(3)
    expected = tuple(certificates([leaf, *reversed(signers), TOP]))
    assert find(leaf, *signers) == find(leaf, *reversed(signers)) == find(leaf, TOP, *signers, leaf) == expected


def test_the_longest_path_is_found_and_a_longer_one_is_not():
    leaf, signers = chain_of(MAX_INTERMEDIATES)
    assert len(find(leaf, *signers)) == MAX_INTERMEDIATES + 2
    leaf, signers = chain_of(MAX_INTERMEDIATES + 1)
    assert refusal(leaf, *signers) == "chain-too-long"


def test_without_its_issuer_a_leaf_is_unknown():
    leaf, signers = chain_of(2)
    assert refusal(leaf) == refusal(leaf, signers[0]) == "issuer-unknown"


def test_a_self_signed_leaf_is_called_that():
    own = make(TOP, SIGNER, subject=common_name("me"))
    again = make(own, key=own.key, subject=common_name("me"))
    assert refusal(again) == "self-signed"


def test_the_signature_decides_and_not_the_name():
    forger = make(TOP, SIGNER, subject=TOP.certificate.subject)
    assert refusal(make(forger)) == "bad-signature"


def test_a_leaf_is_no_issuer():
    workload = make(TOP, subject=common_name("workload"))
    assert refusal(make(workload), workload) == "issuer-not-a-ca"


def test_an_issuer_without_cert_sign_is_no_issuer():
    signer = intermediate(TOP, usage=None)
    assert refusal(make(signer), signer) == "issuer-may-not-sign"


@pytest.mark.parametrize(("limit", "length", "good"), [(0, 0, True), (0, 1, False), (1, 1, True), (1, 2, False)])
def test_path_lengths_are_kept(limit, length, good):
    top = root(path_length=limit)
    signers = [top]
    for number in range(length):
        signers.append(intermediate(signers[-1], f"between {number}"))
    leaf = make(signers[-1])
    if good:
        assert len(find(leaf, *signers, roots=[top])) == length + 2
    else:
        assert refusal(leaf, *signers, roots=[top]) == "path-length"


def test_a_certificate_that_links_two_keys_of_one_name_does_not_count():
    top = root(path_length=1)
    first = intermediate(top, path_length=0)
    second = make(first, SIGNER, subject=first.certificate.subject, path_length=0)
    assert len(find(make(second), first, second, roots=[top])) == 4


def test_an_authority_of_another_trust_domain_can_not_vouch():
    foreign = intermediate(TOP, uris=("spiffe://other.test",))
    assert refusal(make(foreign), foreign) == "wrong-trust-domain"


def test_constraints_of_an_issuer_hold_for_everything_below():
    only = x509.NameConstraints([x509.UniformResourceIdentifier("other.test")], None)
    signer = intermediate(TOP, uris=(), extra=((only, True),))
    below = intermediate(signer, "below", uris=())
    assert refusal(make(below), signer, below) == "outside-name-constraints"


def test_an_expired_issuer_breaks_the_path_unless_there_is_another():
    old = intermediate(TOP, life=OLD)
    leaf = make(old)
    assert refusal(leaf, old) == "expired"
    new = make(TOP, SIGNER, subject=old.certificate.subject, key=old.key)
    assert find(leaf, old, new)[1] == new.certificate


def test_an_expired_root_vouches_for_nobody():
    old = root(life=OLD)
    assert refusal(make(old), roots=[old]) == "expired"


def test_many_issuers_of_one_name_can_not_keep_us_busy():
    crowd = [make(TOP, SIGNER, subject=common_name("crowd")) for _ in range(MAX_SIGNATURES + 20)]
    leaf = make(make(TOP, SIGNER, subject=common_name("crowd")))
    search = PathSearch(certificates([TOP]), certificates(crowd), "mesh.test", NOW)
    with pytest.raises(IdentityError):
        search.find(leaf.certificate)
    assert search.signatures <= MAX_SIGNATURES


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (LIFE.not_before - 1, "not-yet-valid"),
        (LIFE.not_before, None),
        (LIFE.not_after, None),
        (LIFE.not_after + 0.5, "expired"),
        (LIFE.not_after + 1, "expired"),
    ],
)
def test_dates_are_kept_to_the_second(now, code):
    path = (make(TOP).certificate,)
    if code is None:
        check_dates(path, now)
        return
    with pytest.raises(IdentityError) as caught:
        check_dates(path, now)
    assert caught.value.code == code


def test_a_root_without_an_id_is_of_our_own_trust_domain():
    assert trust_domain_of_root(root("other.test").certificate, "mesh.test") == "other.test"
    assert trust_domain_of_root(intermediate(TOP, uris=()).certificate, "mesh.test") == "mesh.test"
