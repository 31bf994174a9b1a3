"""Peers, by certificates alone and behind real handshakes of the TLS library, over every row of the shared cases that
certificates decide."""

import importlib.util
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import X509
from support import der
from support.shared import cases, shared_folder
from support.svid import LIFE, NOW, SIGNER, bundle, ders, intermediate, make, root

from meshd.identity.bundle import TrustBundle, read_certificates
from meshd.identity.certificate import MAX_CHAIN, MAX_OCTETS, IdentityError, verify_again, verify_peer, verify_svid
from meshd.identity.minting import Life, make_crl

# The tool that builds the certificates of a row leaves its files to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

TOP = root()

# Decided by the handshake or by whoever asked for this one peer, not by what the certificates say.
BY_HANDSHAKE = {"mtls-badpop"}
BY_EXPECTATION = {"mtls-srv-wrong-id", "mtls-srv-dns-match-only"}
BY_HAND = {"mtls-reversed-dates": der.with_reversed_dates, "mtls-sha1": der.with_sha1, "mtls-v1cert": der.as_version_1}

CODES = {
    "mtls-none": "no-certificate",
    "mtls-self-signed": "self-signed",
    "mtls-wrong-ca": "issuer-unknown",
    "mtls-wrong-ca-same-name": "bad-signature",
    "mtls-wrong-ca-same-ski": "bad-signature",
    "mtls-cross-td": "wrong-trust-domain",
    "mtls-missing-intermediate": "issuer-unknown",
    "mtls-expired-1s": "expired",
    "mtls-expired-inter": "expired",
    "mtls-expired-root": "expired",
    "mtls-not-yet": "not-yet-valid",
    "mtls-badsig": "bad-signature",
    "mtls-rsa1024": "key-too-small",
    "mtls-crit-unknown": "unknown-critical-extension",
    "mtls-leaf-ca": "leaf-is-ca",
    "mtls-leaf-certsign": "leaf-may-sign",
    "mtls-leaf-no-ku": "no-key-usage",
    "mtls-pathlen": "path-length",
    "mtls-chain-12": "chain-too-long",
    "mtls-nc-uri-bad": "outside-name-constraints",
    "mtls-nc-uri-excl": "inside-excluded-names",
    "mtls-eku-server-only": "wrong-purpose",
    "mtls-san-none": "no-spiffe-id",
    "mtls-san-two": "several-uris",
    "mtls-san-crlf": "invalid-spiffe-id",
    "mtls-id-bad-00": "unknown-trust-domain",
    "mtls-id-bad-03": "spiffe-id-without-path",
    "mtls-revoked": "revoked",
    "mtls-revoked-inter": "revoked",
    "mtls-crl-missing": "crl-missing",
    "mtls-crl-wrong-signer": "crl-bad-signature",
}


def tool():
    path = shared_folder("cases") / "tools" / "mtls_make.py"
    spec = importlib.util.spec_from_file_location("mtls_make", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows():
    found = [row for row in cases("mtls.jsonl") if not row["tls"] and not row.get("action") and row["mode"] == "strict"]
    return [pytest.param(row, id=row["id"]) for row in found if row["id"] not in BY_HAND]


MAKE = tool().make


class Scene:
    """The files of one row, read."""

    def __init__(self, row, folder):
        files = MAKE(row, str(folder))
        crl = Path(files["crl"]).read_bytes() if files.get("crl") else None
        self.bundle = TrustBundle.read("mesh.test", Path(files["ca"]).read_bytes(), crl, require_crl="crl" in files)
        self.roots = self.bundle.roots
        self.chain = read_certificates(Path(files["cert"]).read_bytes()) if "cert" in files else ()
        self.key = load_pem_private_key(Path(files["key"]).read_bytes(), None) if "key" in files else None

    @property
    def ders(self):
        return [certificate.public_bytes(Encoding.DER) for certificate in self.chain]


def decide(chain, trusted, now=None):
    try:
        return "accept", verify_peer(chain, trusted, time.time() if now is None else now).uri
    except IdentityError as error:
        return "reject", error.code


@pytest.mark.parametrize("row", rows())
def test_certificates_alone_decide(row, tmp_path):
    scene = Scene(row, tmp_path)
    verdict, detail = decide(scene.ders, scene.bundle)
    if row["id"] in BY_HANDSHAKE:
        assert verdict == "accept"  # the certificate is good; that its key is at hand is what the handshake proves
    elif row["id"] in BY_EXPECTATION:
        assert (verdict, detail) == ("accept", "spiffe://mesh.test/ns/evil/sa/x")  # for the dialler to refuse
    else:
        assert verdict in (row["expect"], *(("accept", "reject") if row["expect"] == "either" else ()))
    assert CODES.get(row["id"], detail) == detail


@pytest.mark.parametrize("row", rows())
def test_the_library_and_our_checks_together_decide_alike(row, tmp_path):
    scene = Scene(row, tmp_path)
    chain = handshake(scene)
    if row.get("own_check_needed"):
        assert chain, "the library alone is known to accept this"
    verdict, detail = decide(chain, scene.bundle) if chain else ("reject", "handshake")
    if row["id"] in BY_EXPECTATION:
        assert detail == "spiffe://mesh.test/ns/evil/sa/x"
    elif row["expect"] != "either":
        assert verdict == row["expect"]


def handshake(scene):
    """What a server that trusts the roots gets to see of its client: the verified chain, or nothing."""
    own = make(TOP)
    server, client = SSL.Connection(context(own, scene.roots), None), SSL.Connection(client_context(scene), None)
    server.set_accept_state()
    client.set_connect_state()
    try:
        for _ in range(6):
            for here, there in ((client, server), (server, client)):
                shake(here)
                carry(here, there)
    except SSL.Error:
        return []
    return [found.public_bytes(Encoding.DER) for found in server.get_verified_chain(as_cryptography=True) or ()]


def shake(connection):
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        pass  # more of the other side is needed


def carry(here, there):
    try:
        there.bio_write(here.bio_read(1 << 17))
    except SSL.WantReadError:
        pass  # nothing to carry


def context(own, roots):
    made = SSL.Context(SSL.TLS_METHOD)
    made.set_min_proto_version(SSL.TLS1_3_VERSION)
    made.use_certificate(own.certificate)
    made.use_privatekey(own.key)
    for trusted in roots:
        made.get_cert_store().add_cert(X509.from_cryptography(trusted))
    made.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *seen: bool(seen[-1]))
    return made


def client_context(scene):
    made = SSL.Context(SSL.TLS_METHOD)
    if scene.chain:
        try:
            made.use_certificate(scene.chain[0])
            for certificate in scene.chain[1:]:
                made.add_extra_chain_cert(certificate)
            made.use_privatekey(scene.key)
        except SSL.Error:
            pass  # it will not even offer such a certificate, and the server sees none
    return made


@pytest.mark.parametrize("case", BY_HAND)
def test_certificates_no_builder_makes_are_refused(case):
    digest = der.hashes.SHA1() if case == "mtls-sha1" else None
    leaf = der.resign(make(TOP).certificate, TOP.key, BY_HAND[case], digest)
    assert decide([leaf, *ders(TOP)], bundle(TOP), NOW)[0] == "reject"


def test_every_row_about_certificates_is_covered():
    covered = {parameter.id for parameter in rows()} | set(BY_HAND)
    needed = {row["id"] for row in cases("mtls.jsonl") if row.get("own_check_needed")}
    assert needed <= covered
    assert len(covered) >= 85


def test_no_certificate_proves_nothing():
    assert decide([], bundle(TOP)) == ("reject", "no-certificate")


def test_a_peer_is_bound_to_its_certificate():
    leaf = make(TOP, dns=("client.a",))
    peer = verify_peer(ders(leaf, TOP), bundle(TOP), NOW)
    assert peer.uri == str(peer.spiffe_id) == "spiffe://mesh.test/ns/a/sa/client"
    assert peer.fingerprint == leaf.certificate.fingerprint(der.hashes.SHA256()).hex()
    assert (peer.serial, peer.dns_names) == (leaf.certificate.serial_number, ("client.a",))
    assert (peer.not_before, peer.not_after) == (LIFE.not_before, LIFE.not_after)
    assert peer.issuer == TOP.certificate.subject.public_bytes()


def test_the_uri_is_written_one_way():
    assert decide(ders(make(TOP, uris=("SPIFFE://Mesh.TEST/A",)), TOP), bundle(TOP), NOW)[1] == "spiffe://mesh.test/A"


def test_a_partner_is_held_to_its_own_bundle():
    partner = root("partner.test")
    trusted = bundle(TOP, partner)
    assert decide(ders(make(partner, uris=("spiffe://partner.test/x",))), trusted, NOW)[0] == "accept"
    assert decide(ders(make(partner)), trusted, NOW) == ("reject", "wrong-trust-domain")
    assert decide(ders(make(partner), partner), trusted, NOW) == ("reject", "wrong-trust-domain")
    assert decide(ders(make(TOP, uris=("spiffe://partner.test/x",))), trusted, NOW) == ("reject", "wrong-trust-domain")


@pytest.mark.parametrize("chain", [[b"x"] * (MAX_CHAIN + 1), [b"x" * MAX_OCTETS, b"x"]])
def test_a_flood_of_certificates_is_not_even_read(chain):
    assert decide(chain, bundle(TOP)) == ("reject", "chain-too-long")


def test_garbage_is_refused_wherever_it_stands():
    assert decide([b"x"], bundle(TOP)) == ("reject", "malformed")
    assert decide([*ders(make(TOP)), b"x"], bundle(TOP), NOW) == ("reject", "malformed")


def test_a_known_peer_is_still_held_to_its_dates_and_to_revocation():
    leaf = make(TOP)
    serials = {leaf.certificate.serial_number: NOW - 1}
    listed = make_crl(TOP, serials, 1, Life(NOW + 10, NOW + 99999)).public_bytes(Encoding.PEM)
    clean = make_crl(TOP, {}, 1, Life(NOW - 10, NOW + 99)).public_bytes(Encoding.PEM)
    trusted = bundle(TOP, crl=clean)
    assert decide(ders(leaf, TOP), trusted, NOW)[0] == "accept"
    assert decide(ders(leaf, TOP), trusted, NOW + 100) == ("reject", "crl-expired")
    assert decide(ders(leaf, TOP), trusted, LIFE.not_after + 1) == ("reject", "expired")
    assert decide(ders(leaf, TOP), bundle(TOP, crl=listed), NOW + 20) == ("reject", "revoked")
    assert decide(ders(leaf, TOP), trusted, NOW)[0] == "accept"


def test_a_known_peer_costs_no_signature():
    leaf, trusted = make(TOP), bundle(TOP)
    first = verify_peer(ders(leaf, TOP), trusted, NOW)
    assert verify_peer(ders(leaf), trusted, NOW) is first


def test_a_renewed_issuer_replaces_an_expired_one_on_a_known_path():
    old = intermediate(TOP, life=Life(NOW - 100, NOW + 10))
    leaf, trusted = make(old), bundle(TOP)
    new = make(TOP, SIGNER, old.key, subject=old.certificate.subject)
    assert decide(ders(leaf, old), trusted, NOW)[0] == "accept"
    assert decide(ders(leaf, old), trusted, NOW + 20) == ("reject", "expired")
    assert decide(ders(leaf, new), trusted, NOW + 20)[0] == "accept"


def test_a_resumed_session_shows_a_leaf_only():
    signer = intermediate(TOP)
    leaf = make(signer)
    trusted = bundle(TOP)
    with pytest.raises(IdentityError):
        verify_again(ders(leaf)[0], trusted, NOW)
    peer = verify_peer(ders(leaf, signer), trusted, NOW)
    assert verify_again(ders(leaf)[0], trusted, NOW) == peer
    assert verify_again(ders(leaf)[0], bundle(TOP, signer), NOW) == peer


def test_a_resumed_session_ends_with_the_bundle_that_began_it():
    leaf = make(TOP)
    verify_peer(ders(leaf, TOP), bundle(TOP), NOW)
    with pytest.raises(IdentityError) as caught:
        verify_again(ders(leaf)[0], bundle(root()), NOW)
    assert caught.value.code == "issuer-unknown"


def test_the_order_of_the_chain_does_not_matter():
    first = intermediate(TOP, "first")
    second = intermediate(first, "second")
    leaf = make(second).certificate
    found = verify_svid(leaf, [first.certificate, TOP.certificate, second.certificate], bundle(TOP), NOW)
    assert [part.subject for part in found.path[1:]] == [part.certificate.subject for part in (second, first, TOP)]
