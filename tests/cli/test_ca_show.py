import pytest
from support.ca import MeshCA
from support.svid import NOW, make, root

from meshd.cli.ca_show import show_authority, show_certificates, utc
from meshd.identity.ca import CaError
from meshd.identity.minting import certificate_pem


def test_a_moment_is_written_as_people_and_programs_read_it():
    assert utc(NOW) == "2027-01-15T08:00:00Z"


def test_a_ca_shows_its_roots_and_the_state_of_each_leaf(tmp_path):
    mesh = MeshCA(tmp_path, now=NOW)
    for name in ("live", "expired", "revoked"):
        mesh.issue(name, ttl=60 if name == "expired" else 3600)
    mesh.revoke(tmp_path / "revoked")
    with mesh.open() as authority:
        shown = show_authority(authority, NOW + 61)
    assert [row["state"] for row in shown.document["issued"]] == ["live", "expired", "revoked"]
    assert shown.text.startswith(
        "trust domain cluster.local\nroot ca: issuing by itself, until 2037-01-12T08:00:00Z\nlive "
    )


def test_a_folder_shows_its_leaf_and_a_file_all_of_its_certificates(tmp_path):
    mesh = MeshCA(tmp_path, now=NOW, intermediate=True)
    folder = mesh.issue("orders", dns=("orders.default",))
    leaf, between = show_certificates(folder, NOW).document["certificates"]
    assert (leaf["spiffeId"], leaf["dns"]) == ("spiffe://cluster.local/ns/default/sa/orders", ["orders.default"])
    assert (leaf["ca"], between["ca"], leaf["valid"]) == (False, True, True)
    assert not show_certificates(folder, NOW + 2 * 86400).document["certificates"][0]["valid"]
    assert "meshd root" in show_certificates(folder / "ca.crt", NOW).text


def test_a_certificate_that_is_no_svid_is_shown_with_the_reason(tmp_path):
    bad = make(root(), uris=("spiffe://mesh.test/a\x1b[31m",))
    (tmp_path / "bad.crt").write_bytes(certificate_pem(bad.certificate))
    shown = show_certificates(tmp_path / "bad.crt", NOW)
    assert "invalid-spiffe-id" in shown.text
    assert "\x1b" not in shown.text


def test_what_is_no_certificate_is_named(tmp_path):
    (tmp_path / "x.crt").write_text("hello")
    with pytest.raises(CaError, match=r"x\.crt: no readable PEM certificates"):
        show_certificates(tmp_path / "x.crt", NOW)
