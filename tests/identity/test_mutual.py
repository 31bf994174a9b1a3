from support.ca import MeshCA

from meshd.identity.mutual import find_distrust


def test_members_of_one_mesh_accept_each_other(tmp_path):
    mesh = MeshCA(tmp_path)
    folders = [mesh.issue("orders"), mesh.issue("reviews")]
    assert find_distrust([(folder, mesh.load(folder)) for folder in folders], mesh.now) == ()


def test_each_refusal_says_who_and_why(tmp_path):
    one, other = MeshCA(tmp_path / "one"), MeshCA(tmp_path / "other")
    here, there = one.issue("orders"), other.issue("reviews")
    found = find_distrust([(here, one.load(here)), (there, other.load(there))], one.now)
    assert [(item.who, item.refuses) for item in found] == [(here, there), (there, here)]
    assert {item.code for item in found} == {"issuer-unknown"}
    assert str(found[0]).startswith(f"{here} refuses {there}: no trusted issuer")
