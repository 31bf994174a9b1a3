import os
import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from support.ca import MeshCA
from support.svid import NOW, certificates, intermediate, make, root

from meshd.identity.certificate import verify_peer
from meshd.identity.credentials import CredentialError, credentials_fingerprint, load_credentials
from meshd.identity.minting import certificate_pem, key_pem


@pytest.fixture
def mesh(tmp_path):
    return MeshCA(tmp_path, now=NOW)


def refusal(mesh, folder):
    with pytest.raises(CredentialError) as caught:
        mesh.load(folder)
    return caught.value.code, caught.value.path.name


def test_what_was_issued_is_loaded(mesh):
    found = mesh.load(mesh.issue("orders", namespace="web"), generation=7)
    assert str(found.spiffe_id) == "spiffe://cluster.local/ns/web/sa/orders"
    assert (found.generation, found.chain) == (7, ())
    assert found.serial == f"{found.leaf.serial_number:x}"
    assert len(found.fingerprint) == 64
    assert found.bundle.revocations.required
    assert found.key.public_key() == found.leaf.public_key()


def test_loaded_credentials_convince_a_peer(mesh):
    one, other = mesh.load(mesh.issue("orders")), mesh.load(mesh.issue("reviews"))
    chain = [certificate.public_bytes(Encoding.DER) for certificate in (one.leaf, *one.chain)]
    assert verify_peer(chain, other.bundle, NOW).uri == "spiffe://cluster.local/ns/default/sa/orders"


def test_intermediates_are_sent_and_roots_are_not(tmp_path):
    mesh = MeshCA(tmp_path, intermediate=True)
    folder = mesh.issue("orders")
    with (folder / "tls.crt").open("ab") as file:
        file.write((folder / "ca.crt").read_bytes())
    found = mesh.load(folder)
    assert len(found.chain) == 1
    assert found.chain[0] not in found.bundle.roots


def test_no_key_is_ever_printed(mesh):
    assert "key" not in repr(mesh.load(mesh.issue("orders")))


def test_time_left_and_time_to_renew(mesh):
    found = mesh.load(mesh.issue("orders", ttl=1000))
    assert found.remaining(NOW) == 1000
    assert [found.is_due(NOW + passed) for passed in (0, 449, 451)] == [False, False, True]
    assert not found.is_due(NOW + 451, share=0.9)


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt"])
def test_a_missing_file_is_named(mesh, name):
    folder = mesh.issue("orders")
    (folder / name).unlink()
    assert refusal(mesh, folder) == ("missing-file", name)


def test_revocation_lists_may_be_missing(mesh):
    folder = mesh.issue("orders")
    (folder / "crl.pem").unlink()
    assert not mesh.load(folder).bundle.revocations.required
    assert load_credentials(folder, "cluster.local", NOW, require_crl=True).bundle.revocations.required


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("tls.crt", "bad-certificate"),
        ("tls.key", "bad-key"),
        ("ca.crt", "bad-bundle"),
        ("crl.pem", "bad-bundle"),
    ],
)
@pytest.mark.parametrize("content", ["half", "empty", "garbage"])
def test_a_file_cut_short_is_refused_and_named(mesh, name, code, content):
    path = mesh.issue("orders") / name
    whole = path.read_bytes()
    path.write_bytes({"half": whole[: len(whole) // 2], "empty": b"", "garbage": b"\0\xff not PEM"}[content])
    assert refusal(mesh, path.parent) == (code, name)


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt", "crl.pem"])
def test_what_is_no_file_is_refused_without_waiting(mesh, name):
    path = mesh.issue("orders") / name
    path.unlink()
    os.mkfifo(path)
    assert refusal(mesh, path.parent) == ("unreadable-file", name)
    path.unlink()
    path.mkdir()
    assert refusal(mesh, path.parent) == ("unreadable-file", name)


def test_a_file_too_large_is_refused(mesh, monkeypatch):
    folder = mesh.issue("orders")
    monkeypatch.setattr("meshd.identity.credentials.MAX_FILE", 10)
    assert refusal(mesh, folder) == ("unreadable-file", "tls.crt")


def test_key_first_rotation_is_refused_until_the_certificate_follows(mesh, tmp_path):
    folder = mesh.issue("orders")
    new = mesh.issue("orders", folder=tmp_path / "new")
    shutil.copy(new / "tls.key", folder)
    assert refusal(mesh, folder) == ("key-mismatch", "tls.key")
    shutil.copy(new / "tls.crt", folder)
    assert mesh.load(folder).serial == mesh.load(new).serial


def test_certificate_first_rotation_is_refused_until_the_key_follows(mesh, tmp_path):
    folder = mesh.issue("orders")
    new = mesh.issue("orders", folder=tmp_path / "new")
    shutil.copy(new / "tls.crt", folder)
    assert refusal(mesh, folder) == ("key-mismatch", "tls.key")
    shutil.copy(new / "tls.key", folder)
    assert mesh.load(folder).serial == mesh.load(new).serial


def test_an_expired_leaf_is_refused(mesh):
    folder = mesh.issue("orders", ttl=60)
    mesh.now += 61
    assert refusal(mesh, folder) == ("expired", "tls.crt")


def test_a_leaf_of_an_unknown_root_is_refused(mesh, tmp_path):
    folder = mesh.issue("orders")
    shutil.copy(MeshCA(tmp_path / "other", now=NOW).issue("orders") / "ca.crt", folder)
    assert refusal(mesh, folder) == ("issuer-unknown", "tls.crt")


def test_a_leaf_of_another_trust_domain_is_refused(mesh):
    folder = mesh.issue("orders")
    with pytest.raises(CredentialError, match="configured is mesh") as caught:
        load_credentials(folder, "mesh.test", NOW)
    assert caught.value.code == "wrong-trust-domain"


def test_an_impossible_trust_domain_is_refused(mesh):
    with pytest.raises(CredentialError, match="lower-case"):
        load_credentials(mesh.issue("orders"), "Mesh Test", NOW)


def test_our_own_revocation_is_for_the_peers_to_say(mesh):
    folder = mesh.issue("orders")
    mesh.revoke(folder)
    assert mesh.load(folder).leaf.serial_number in mesh.load(folder).bundle.revocations.crls[0].serials


def write(folder, leaf, signers, roots, key=b""):
    folder.mkdir()
    (folder / "tls.crt").write_bytes(certificate_pem(*certificates([leaf, *signers])))
    (folder / "tls.key").write_bytes(key or key_pem(leaf.key))
    (folder / "ca.crt").write_bytes(certificate_pem(*certificates(roots)))
    return folder


def load(folder):
    try:
        return load_credentials(folder, "mesh.test", NOW)
    except CredentialError as error:
        return error.code


def test_an_issuer_in_ca_crt_completes_a_chain_and_is_sent(tmp_path):
    top = root()
    signer = intermediate(top)
    found = load(write(tmp_path / "a", make(signer), [], [top, signer]))
    assert found.chain == (signer.certificate,)


def test_keys_of_other_kinds(tmp_path):
    top = root()
    rsa_key = rsa.generate_private_key(65537, 2048)
    assert load(write(tmp_path / "rsa", make(top, key=rsa_key), [], [top])).key.key_size == 2048
    strange = x25519.X25519PrivateKey.generate()
    assert load(write(tmp_path / "x", make(top), [], [top], key_pem(strange))) == "bad-key"


def test_a_key_with_a_password_is_refused(tmp_path):
    top = root()
    leaf = make(top, key=ec.generate_private_key(ec.SECP256R1()))
    locked = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    with pytest.raises(CredentialError, match="without a password"):
        load_credentials(write(tmp_path / "a", leaf, [], [top], locked), "mesh.test", NOW)


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt", "crl.pem"])
def test_the_fingerprint_changes_with_each_file(mesh, name):
    folder = mesh.issue("orders")
    before = credentials_fingerprint(folder)
    assert credentials_fingerprint(folder) == before
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    gone = credentials_fingerprint(folder)
    (folder / ".new").write_bytes(content)
    (folder / ".new").rename(folder / name)
    assert len({before, gone, credentials_fingerprint(folder)}) == 3


def test_the_fingerprint_sees_a_symlink_swapped(mesh, tmp_path):
    """As a Kubernetes volume does it: tls.crt -> ..data/tls.crt, ..data -> a folder that is exchanged."""
    versions = [mesh.issue("orders", folder=tmp_path / "v1"), mesh.issue("orders", folder=tmp_path / "v2")]
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "..data").symlink_to(versions[0])
    for name in ("tls.crt", "tls.key", "ca.crt", "crl.pem"):
        (volume / name).symlink_to(f"..data/{name}")
    before, old = credentials_fingerprint(volume), mesh.load(volume)
    (volume / "..new").symlink_to(versions[1])
    (volume / "..new").rename(volume / "..data")
    assert credentials_fingerprint(volume) != before
    assert mesh.load(volume).serial != old.serial


def test_a_folder_that_changes_while_it_is_read_is_refused(mesh, tmp_path, monkeypatch):
    folder, new = mesh.issue("orders"), mesh.issue("orders", folder=tmp_path / "new")
    old = mesh.load(folder).serial
    real = os.fstat
    reads = []

    def swap(fd):
        reads.append(fd)
        if len(reads) == 2:
            for name in ("tls.crt", "tls.key"):
                (new / name).replace(folder / name)
        return real(fd)

    monkeypatch.setattr(os, "fstat", swap)
    assert refusal(mesh, folder) == ("changing", "orders")
    monkeypatch.undo()
    assert mesh.load(folder).serial != old


def test_a_disk_that_fails_is_an_error_like_others(mesh, monkeypatch):
    folder = mesh.issue("orders")

    def fail(fd, size):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "read", fail)
    assert refusal(mesh, folder) == ("unreadable-file", "tls.crt")


def test_a_missing_folder_has_a_fingerprint_too(tmp_path):
    assert credentials_fingerprint(tmp_path / "nowhere") == (None,) * 4
