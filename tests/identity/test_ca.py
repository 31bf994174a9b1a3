import os
import stat
import threading

import pytest
from support.ca import MeshCA
from support.svid import NOW

from meshd.identity.bundle import TrustBundle
from meshd.identity.ca import CRL_TTL, DAY, Authority, CaError, Order, Setup
from meshd.identity.certificate import verify_svid
from meshd.identity.credentials import CredentialError
from meshd.identity.errors import IdentityError
from meshd.identity.spiffe import SpiffeId


@pytest.fixture(params=[False, True], ids=["root", "intermediate"])
def mesh(request, tmp_path):
    return MeshCA(tmp_path, now=NOW, intermediate=request.param)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_ca_is_private(mesh):
    assert mode(mesh.folder) == 0o700
    for path in mesh.folder.iterdir():
        if path.suffix == ".key" or path.name == "index.json":
            assert mode(path) == 0o600, path
    assert (mesh.folder / ".gitignore").read_text() == "*\n"
    assert {"ca.crt", "ca.key", "index.json", "crl.pem"} <= {path.name for path in mesh.folder.iterdir()}


def test_a_ca_is_not_replaced_unless_forced(mesh):
    key = (mesh.folder / "ca.key").read_bytes()
    with pytest.raises(CaError, match="--force replaces it"):
        Authority.create(mesh.folder, "cluster.local", NOW)
    assert (mesh.folder / "ca.key").read_bytes() == key
    with Authority.create(mesh.folder, "mesh.test", NOW, setup=Setup(force=True)) as authority:
        assert authority.index.trust_domain == "mesh.test"
    assert sorted(path.name for path in mesh.folder.glob("*.key")) == ["ca.key"]
    assert (mesh.folder / "ca.key").read_bytes() != key


def test_a_key_that_lies_there_is_not_overwritten(tmp_path):
    (tmp_path / "ca.key").write_text("mine")
    with pytest.raises(CaError, match="exists already; --force"):
        Authority.create(tmp_path, "cluster.local", NOW)
    assert (tmp_path / "ca.key").read_text() == "mine"


def test_an_impossible_trust_domain_makes_no_folder(tmp_path):
    with pytest.raises(CaError, match="lower-case"):
        Authority.create(tmp_path / "ca", "Not A Domain", NOW)
    assert not (tmp_path / "ca").exists()


def test_a_folder_without_a_ca_is_named(tmp_path):
    with pytest.raises(CaError, match="has no CA"):
        Authority.open(tmp_path)
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(CaError, match="not an index"):
        Authority.open(tmp_path)


def test_a_leaf_folder_has_four_files_and_a_private_key(mesh):
    folder = mesh.issue("orders", dns=("orders.default",))
    assert sorted(path.name for path in folder.iterdir()) == ["ca.crt", "crl.pem", "tls.crt", "tls.key"]
    assert mode(folder / "tls.key") == 0o600
    with mesh.open() as authority:
        record = authority.record(folder)
    assert (record.spiffe_id, record.dns) == ("spiffe://cluster.local/ns/default/sa/orders", ("orders.default",))
    assert (record.folder, record.not_after) == ("../orders", NOW + DAY)


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt", "crl.pem"])
def test_nothing_in_a_leaf_folder_is_overwritten_unless_forced(mesh, name):
    folder = mesh.home / "orders"
    folder.mkdir()
    (folder / name).write_text("mine")
    with pytest.raises(CaError, match=f"{name} exists already"):
        mesh.issue("orders")
    assert [path.read_text() for path in folder.iterdir()] == ["mine"]
    with mesh.open() as authority:
        authority.issue(Order(mesh.id("orders"), folder), NOW, force=True)
    assert mesh.load(folder)


def test_a_leaf_of_another_trust_domain_is_not_issued(mesh):
    with mesh.open() as authority, pytest.raises(CaError, match="not of trust domain cluster"):
        authority.issue(Order(SpiffeId.parse("spiffe://other.test/x"), mesh.home / "x"), NOW)


def test_a_leaf_is_not_issued_into_the_folder_of_the_ca(mesh):
    with pytest.raises(CaError, match="folder of the CA"):
        mesh.issue("ca", folder=mesh.folder)


def test_a_leaf_can_not_outlive_its_issuer(mesh):
    with pytest.raises(CaError, match="rotate-root start"):
        mesh.issue("orders", ttl=3651 * DAY)
    assert not (mesh.home / "orders").exists()


def test_renewal_keeps_the_identity_and_changes_everything_else(mesh):
    folder = mesh.issue("orders", dns=("orders.default",), ttl=3600)
    old, old_key = mesh.load(folder), (folder / "tls.key").read_bytes()
    mesh.now += 1800
    mesh.renew(folder)
    new = mesh.load(folder)
    assert new.spiffe_id == old.spiffe_id
    assert new.not_after == mesh.now + 3600
    assert new.serial != old.serial
    assert (folder / "tls.key").read_bytes() != old_key
    assert mode(folder / "tls.key") == 0o600
    assert verify_svid(new.leaf, new.chain, old.bundle, mesh.now).dns_names == ("orders.default",)


def test_renewal_can_change_the_life(mesh):
    folder = mesh.issue("orders")
    mesh.renew(folder, ttl=60)
    assert mesh.load(folder).not_after == NOW + 60
    mesh.renew(folder)
    assert mesh.load(folder).not_after == NOW + 60


def test_only_own_and_unrevoked_leaves_are_renewed(mesh, tmp_path):
    stranger = MeshCA(tmp_path / "stranger", now=NOW).issue("orders")
    with pytest.raises(CaError, match="is not a certificate that"):
        mesh.renew(stranger)
    folder = mesh.issue("orders")
    mesh.revoke(folder)
    with pytest.raises(CaError, match="is revoked"):
        mesh.renew(folder)


def test_a_reader_between_any_two_renames_finds_a_set_or_an_error(mesh, monkeypatch):
    """Renewal under a reader that looks after each single rename: never a wrong set, at most one mismatch."""
    folder = mesh.issue("orders")
    seen = []
    real = os.replace

    def rename_and_look(draft, final):
        real(draft, final)
        if final.parent == folder:
            try:
                seen.append(mesh.load(folder).serial)
            except CredentialError as error:
                seen.append(error.code)

    old = mesh.load(folder).serial
    monkeypatch.setattr("meshd.identity.file_set.os.replace", rename_and_look)
    mesh.renew(folder)
    assert seen[:2] == [old, old]
    assert seen[2:] == ["key-mismatch", mesh.load(folder).serial]


def test_revocation_reaches_every_folder(mesh):
    bad, good = mesh.issue("orders"), mesh.issue("reviews")
    before = mesh.load(good)
    mesh.revoke(bad)
    victim = mesh.load(bad)
    assert verify_svid(victim.leaf, victim.chain, before.bundle, NOW)  # who has not read the new list can not know
    with pytest.raises(IdentityError) as caught:
        verify_svid(victim.leaf, victim.chain, mesh.load(good).bundle, NOW)
    assert caught.value.code == "revoked"
    assert verify_svid(mesh.load(good).leaf, mesh.load(good).chain, victim.bundle, NOW)


def test_revoking_twice_changes_nothing_and_revoking_nothing_is_an_error(mesh):
    folder = mesh.issue("orders")
    with mesh.open() as authority:
        serial = authority.record(folder).serial
        first = authority.revoke([serial], NOW)
        assert authority.revoke([serial], NOW + 10) == first
        for unknown in ([], [serial, 12345]):
            with pytest.raises(CaError, match="no such certificate"):
                authority.revoke(unknown, NOW)


@pytest.mark.parametrize("ttl", [3600, 90 * DAY])
def test_a_list_stays_current_for_as_long_as_the_leaf_beside_it(mesh, ttl):
    folder = mesh.issue("orders", ttl=ttl)
    found = mesh.load(folder)
    for crl in found.bundle.revocations.crls:
        assert crl.next_update >= max(NOW + CRL_TTL, found.not_after + DAY)
    verify_svid(found.leaf, found.chain, found.bundle, found.not_after)


def test_publishing_repairs_what_was_lost(mesh):
    folder = mesh.issue("orders")
    (folder / "ca.crt").unlink()
    (folder / "crl.pem").write_text("")
    with mesh.open() as authority:
        assert authority.publish(NOW) == (folder,)
    assert mesh.load(folder)


def test_folders_that_are_gone_or_taken_over_are_not_published_to(mesh, tmp_path):
    mine, taken, gone = mesh.issue("mine"), mesh.issue("taken"), mesh.issue("gone")
    stranger = MeshCA(tmp_path / "stranger", now=NOW).issue("x")
    (taken / "tls.crt").write_bytes((stranger / "tls.crt").read_bytes())
    (gone / "tls.crt").unlink()
    with mesh.open() as authority:
        assert authority.folders() == (mine,)


def test_the_root_key_is_not_needed_below_an_intermediate(tmp_path):
    mesh = MeshCA(tmp_path, now=NOW, intermediate=True)
    (mesh.folder / "ca.key").unlink()
    folder = mesh.issue("orders")
    mesh.renew(folder)
    mesh.revoke(folder)
    assert mesh.load(mesh.issue("reviews"))


@pytest.mark.parametrize(("content", "reason"), [(None, "needed to sign"), ("garbage", "no readable private key")])
def test_a_lost_key_is_named(tmp_path, content, reason):
    mesh = MeshCA(tmp_path, now=NOW)
    (mesh.folder / "ca.key").unlink()
    if content is not None:
        (mesh.folder / "ca.key").write_text(content)
    with pytest.raises(CaError, match=reason):
        mesh.issue("orders")


def test_the_bundle_of_a_ca_is_what_its_folders_have(mesh):
    folder = mesh.issue("orders")
    with mesh.open() as authority:
        assert authority.bundle(NOW).roots == mesh.load(folder).bundle.roots
    assert TrustBundle.read("cluster.local", (mesh.folder / "ca.crt").read_bytes())


def test_two_at_once_take_turns(mesh):
    threads = [threading.Thread(target=mesh.issue, args=(f"app-{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with mesh.open() as authority:
        assert len(authority.index.issued) == len(authority.folders()) == 8
        assert repr(authority).endswith("ca:issuing, 8 issued>")


def test_both_can_be_moved_together(tmp_path):
    mesh = MeshCA(tmp_path / "here", now=NOW)
    mesh.issue("orders")
    moved = mesh.home.rename(tmp_path / "moved")
    with Authority.open(moved / "ca") as authority:
        assert authority.folders() == (moved / "orders",)
