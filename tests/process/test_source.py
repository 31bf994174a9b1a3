"""What is accepted, what is refused and why, and how a set is renewed."""

import pytest

from meshd.config.documents import Documents
from meshd.config.errors import ConfigError, Problem
from meshd.core.steps import run
from meshd.process.delta import Delta, head_of
from meshd.process.source import folding, renewed


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


def delta(generation=2, digest="", since=1):
    head = head_of(Documents(digest=digest)) if digest else b""
    return Delta(generation, since, {}, head, reread=False)


def test_new_documents_come_with_the_delta(folder):
    accepted = folder.accepted()
    after = run(folding(renewed(accepted, delta(5, "fresh"), None)))
    assert (after.generation, after.documents.digest) == (5, "fresh")
    assert after.loaded is accepted.loaded
    assert len(after.documents) == 2  # what the delta does not name stays
    assert run(folding(after)) is after


def test_deltas_that_nobody_took_are_laid_over_each_other(folder):
    both = renewed(renewed(folder.accepted(), delta(2, "a"), None), delta(3, "b", since=2), None)
    assert (both.generation, both.delta.since, run(folding(both)).documents.digest) == (3, 1, "b")


def test_new_certificates_are_read_again_and_the_stamp_with_them(folder):
    folder.certify()
    accepted, source = folder.accepted(), folder.source()
    assert source.credentials_stamp(accepted.loaded) == accepted.credentials_stamp
    folder.certify()
    after = renewed(accepted, delta(), source)
    assert after.credentials.serial != accepted.credentials.serial
    assert after.credentials_stamp == source.credentials_stamp(accepted.loaded) != accepted.credentials_stamp
    assert after.documents is accepted.documents
    assert after.delta is None


def test_documents_after_certificates_after_documents_ended_the_supervisor(folder):
    folder.certify()
    accepted = renewed(folder.accepted(), delta(2, "a"), None)
    accepted = renewed(accepted, delta(3, since=2), folder.source())
    accepted = renewed(accepted, delta(4, "b", since=3), None)
    assert (accepted.generation, accepted.delta.since, accepted.delta.generation) == (4, 1, 4)
    assert run(folding(accepted)).documents.digest == "b"


def test_garbage_in_the_folder_does_not_hold_up_documents(folder):
    folder.certify()
    accepted, source = folder.accepted(), folder.source()
    (folder.path / "certs" / "tls.crt").write_text("garbage")
    with pytest.raises(ConfigError, match="not usable"):
        renewed(accepted, delta(), source)
    after = renewed(accepted, delta(digest="fresh"), source)
    assert (run(folding(after)).documents.digest, after.credentials) == ("fresh", accepted.credentials)


def test_a_revocation_list_that_is_gone_is_missed(folder):
    """At the start there may be none; what was served with one is not replaced by a set without."""
    folder.certify()
    accepted, source = folder.accepted(), folder.source()
    crl = folder.path / "certs" / "crl.pem"
    content = crl.read_bytes()
    crl.unlink()
    with pytest.raises(ConfigError, match=r"crl.pem is gone, and what it revoked would be let in"):
        source.read_credentials(accepted.loaded, 2, accepted.credentials)
    with pytest.raises(ConfigError, match=r"crl.pem is gone"):
        source.read_all(accepted.loaded, 2, accepted)
    assert not source.read_credentials(accepted.loaded, 1).bundle.revocations.crls
    for spoilt in (b"", content[:100]):
        crl.write_bytes(spoilt)
        with pytest.raises(ConfigError, match="not usable"):
            source.read_credentials(accepted.loaded, 2, accepted.credentials)
    crl.write_bytes(content)
    assert source.read_credentials(accepted.loaded, 2, accepted.credentials).bundle.revocations.crls


def test_stamps_change_with_the_files(folder):
    accepted, source = folder.accepted(), folder.source()
    assert source.documents_stamp(accepted.loaded) == accepted.documents_stamp
    assert source.credentials_stamp(accepted.loaded) is None
    folder.policy("more", "")
    assert source.documents_stamp(accepted.loaded) != accepted.documents_stamp
