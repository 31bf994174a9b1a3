import shutil

import pytest
from support.ca import MeshCA
from support.svid import NOW

from meshd.identity import rotation
from meshd.identity.ca import DAY, CaError
from meshd.identity.mutual import find_distrust


@pytest.fixture(params=[False, True], ids=["root", "intermediate"])
def mesh(request, tmp_path):
    return MeshCA(tmp_path, now=NOW, intermediate=request.param)


def test_after_each_step_everybody_accepts_everybody(mesh):
    """Members read their folders late: each one may still be a step behind the others."""
    folders = [mesh.issue(name) for name in ("orders", "reviews", "web")]

    def renew():
        for folder in folders:
            mesh.renew(folder)

    steps = [lambda: mesh.rotate("start"), lambda: mesh.rotate("finish"), renew, lambda: mesh.rotate("retire")]
    before = [(folder, mesh.load(folder)) for folder in folders]
    old_root = before[0][1].bundle.roots
    for step in steps:
        step()
        after = [(folder, mesh.load(folder)) for folder in folders]
        assert find_distrust(after, NOW) == ()
        assert find_distrust([before[0], *after[1:]], NOW) == ()
        before = after
    assert not set(old_root) & set(before[0][1].bundle.roots)


def test_a_member_is_accepted_while_leaves_are_renewed_one_by_one(mesh):
    folders = [mesh.issue(name) for name in ("orders", "reviews")]
    mesh.rotate("start")
    mesh.rotate("finish")
    for folder in folders:
        mesh.renew(folder)
        assert find_distrust([(each, mesh.load(each)) for each in folders], NOW) == ()


def test_after_retirement_the_old_root_convinces_nobody(mesh, tmp_path):
    folder = mesh.issue("orders")
    kept = shutil.copytree(folder, tmp_path / "kept")
    old = mesh.load(kept)
    mesh.rotate("start")
    mesh.rotate("finish")
    mesh.renew(folder)
    mesh.rotate("retire")
    found = find_distrust([(folder, mesh.load(folder)), (kept, old)], NOW)
    assert {item.code for item in found} == {"issuer-unknown"}
    assert sorted(path.name for path in mesh.folder.glob("ca.key")) == []


def test_the_old_root_still_revokes_after_it_stopped_issuing(mesh):
    bad, good = mesh.issue("orders"), mesh.issue("reviews")
    mesh.rotate("start")
    mesh.rotate("finish")
    mesh.revoke(bad)
    found = find_distrust([(bad, mesh.load(bad)), (good, mesh.load(good))], NOW)
    assert {(item.refuses, item.code) for item in found} == {(bad, "revoked")}


@pytest.mark.parametrize(
    ("done", "step", "reason"),
    [
        ((), "finish", "begin with rotate-root start"),
        ((), "retire", "next step of a rotation is rotate-root start"),
        (("start",), "start", "go on with rotate-root finish"),
        (("start",), "retire", "next step of a rotation is rotate-root finish"),
        (("start", "finish"), "start", "rotate-root retire first"),
        (("start", "finish"), "finish", "begin with rotate-root start"),
    ],
)
def test_a_step_out_of_turn_says_which_is_next(mesh, done, step, reason):
    for name in done:
        mesh.rotate(name)
    with pytest.raises(CaError, match=reason):
        mesh.rotate(step)


def test_finish_waits_for_folders_that_do_not_trust_the_new_root(mesh):
    folder = mesh.issue("orders")
    old = (folder / "ca.crt").read_bytes()
    mesh.rotate("start")
    (folder / "ca.crt").write_bytes(old)
    with pytest.raises(CaError, match=r"orders; bring them up to date"):
        mesh.rotate("finish")
    (folder / "ca.crt").unlink()
    with pytest.raises(CaError, match=r"orders; bring them up to date"):
        mesh.rotate("finish")
    with mesh.open() as authority:
        authority.publish(NOW)
    mesh.rotate("finish")


def test_retire_waits_for_leaves_of_the_old_root(mesh):
    folders = [mesh.issue(f"app-{number}") for number in range(7)]
    mesh.rotate("start")
    mesh.rotate("finish")
    with pytest.raises(CaError, match=r"and 2 more; renew them first"):
        mesh.rotate("retire")
    for folder in folders[1:]:
        mesh.renew(folder)
    with pytest.raises(CaError, match="app-0"):
        mesh.rotate("retire")
    mesh.rotate("retire", force=True)
    with mesh.open() as authority:
        assert len(authority.index.roots) == 1


def test_a_folder_that_is_gone_may_live_on_elsewhere(mesh):
    folder = mesh.issue("orders")
    shutil.rmtree(folder)
    mesh.rotate("start")
    mesh.rotate("finish")
    with pytest.raises(CaError, match="orders"):
        mesh.rotate("retire")
    mesh.now += 2 * DAY
    mesh.rotate("retire")


def test_revoked_leaves_do_not_hold_a_rotation_up(mesh):
    folder = mesh.issue("orders")
    mesh.revoke(folder)
    for step in ("start", "finish", "retire"):
        mesh.rotate(step)


def test_a_second_rotation_follows_the_first(mesh):
    folder = mesh.issue("orders")
    for _ in range(2):
        for step in ("start", "finish"):
            mesh.rotate(step)
        mesh.renew(folder)
        mesh.rotate("retire")
    assert mesh.load(folder)
    with mesh.open() as authority:
        assert [root.role.value for root in authority.index.roots] == ["issuing"]


def test_each_step_says_whom_it_told(mesh):
    folder = mesh.issue("orders")
    with mesh.open() as authority:
        assert rotation.start(authority, NOW) == (folder,)
        assert rotation.finish(authority, NOW) == (folder,)
        authority.renew(folder, NOW)
        assert rotation.retire(authority, NOW) == (folder,)
