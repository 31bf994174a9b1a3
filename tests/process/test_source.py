"""What is accepted, what is refused and why, and how a set is renewed."""

import pickle

import pytest

from meshd.config.documents import Documents
from meshd.config.errors import ConfigError, Problem
from meshd.process.source import renewed


def test_a_set_is_read_checked_and_compiled_once(folder):
    accepted = folder.accepted()
    assert accepted.proxy.name == "orders"
    assert len(accepted.documents) == 2
    assert accepted.credentials is None
    assert (accepted.generation, folder.compiled) == (1, [1])


def test_flags_override_and_the_process_has_variables_of_its_own(folder, monkeypatch):
    monkeypatch.setenv("MESHD_LOG_LEVEL", "debug")
    monkeypatch.setenv("MESHD_DRAIN", "7s")
    loaded = folder.source(**{"spec.workers": "3"}).read_proxy()
    assert (loaded.proxy.spec.workers, loaded.proxy.spec.drain) == (3, 7.0)
    assert loaded.problems == ()


def test_everything_wrong_is_told_together(folder):
    folder.bootstrap("  identity: {certificates: nowhere}\n")
    folder.policy("bad", "kind: HTTPRoute\n")
    with pytest.raises(ConfigError) as caught:
        folder.accepted()
    told = str(caught.value)
    assert "spec.identity.certificates" in told
    assert "bad.yaml:1" in told
    assert folder.compiled == []


def test_a_set_that_does_not_compile_is_refused(folder):
    folder.refuse = ConfigError([Problem("error", "value", "route.yaml", 3, expected="expected sense")])
    with pytest.raises(ConfigError, match="expected sense"):
        folder.accepted()


def test_a_certificate_of_somebody_else_is_refused(folder):
    folder.certify("payments")
    with pytest.raises(ConfigError, match=r"sa/orders; this one is for spiffe://cluster.local/ns/default/sa/payments"):
        folder.accepted()


def test_new_documents_come_with_the_message(folder):
    accepted = folder.accepted()
    fresh = Documents(digest="fresh")
    after = renewed(accepted, 5, pickle.dumps(fresh), None)
    assert (after.generation, after.documents.digest) == (5, "fresh")
    assert after.loaded is accepted.loaded


def test_new_certificates_are_read_again_and_the_stamp_with_them(folder):
    folder.certify()
    accepted, source = folder.accepted(), folder.source()
    assert source.credentials_stamp(accepted.loaded) == accepted.credentials_stamp
    folder.certify()
    after = renewed(accepted, 2, b"", source)
    assert after.credentials.serial != accepted.credentials.serial
    assert after.credentials_stamp == source.credentials_stamp(accepted.loaded) != accepted.credentials_stamp
    assert after.documents is accepted.documents


def test_garbage_in_the_folder_does_not_hold_up_documents(folder):
    folder.certify()
    accepted, source = folder.accepted(), folder.source()
    (folder.path / "certs" / "tls.crt").write_text("garbage")
    with pytest.raises(ConfigError, match="not usable"):
        renewed(accepted, 2, b"", source)
    after = renewed(accepted, 2, pickle.dumps(Documents(digest="fresh")), source)
    assert (after.documents.digest, after.credentials) == ("fresh", accepted.credentials)


def test_stamps_change_with_the_files(folder):
    accepted, source = folder.accepted(), folder.source()
    assert source.documents_stamp(accepted.loaded) == accepted.documents_stamp
    assert source.credentials_stamp(accepted.loaded) is None
    folder.policy("more", "")
    assert source.documents_stamp(accepted.loaded) != accepted.documents_stamp
