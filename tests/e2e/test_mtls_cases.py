"""Every adversarial case about certificates and handshakes, against a running sidecar over a real TLS socket.

The peer shows the row's certificates, as a client to the inbound listener or as a server to the outbound one. Refused
means: not an octet of an answer, nothing at the app, and one more connection counted as refused for that reason. The
rows whose certificates change while the sidecar runs are in test_mtls_changes.py.
"""

import contextlib
import os
import re
import socket
import ssl
import subprocess
import warnings

import pytest
from support.mtls_rig import REQUEST, ROWS, Rig, is_server, refused, served
from support.processes import program, until
from support.tls_wire import KeyUpdates, ask_in_pieces, client_hello
from support.wire import RawClient

STALLED = 1000


@pytest.fixture(scope="module")
def rig(shared_mesh):
    with contextlib.ExitStack() as stack:
        yield Rig(shared_mesh, stack)


@pytest.fixture(scope="module", autouse=True)
def stalled(rig):
    """Connections that stop after their ClientHello, from before the first test on."""
    hello = client_hello(rig.context("mtls-half-handshake"))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(rig.server.address("inbound-0"))) for _ in range(STALLED)]
        for client in clients:
            client.send(hello)
        yield clients


# Why the certificates that a client shows are refused, where they are. Rows that leave a choice are here with ours.
REASONS = {
    "mtls-none": "no-certificate",
    "mtls-self-signed": "self-signed",
    "mtls-wrong-ca": "issuer-unknown",
    "mtls-wrong-ca-same-name": "bad-signature",
    "mtls-wrong-ca-same-ski": "bad-signature",
    "mtls-cross-td": "wrong-trust-domain",
    "mtls-missing-intermediate": "issuer-unknown",
    "mtls-expired": "expired",
    "mtls-not-yet": "not-yet-valid",
    "mtls-expired-1s": "expired",
    "mtls-expired-inter": "expired",
    "mtls-expired-root": "expired",
    "mtls-reversed-dates": "not-yet-valid",
    "mtls-badsig": "bad-signature",
    "mtls-badpop": "tls",  # OpenSSL's own word follows: the signature of the handshake does not verify
    "mtls-sha1": "digest-too-weak",
    "mtls-rsa1024": "key-too-small",
    "mtls-v1cert": "not-version-3",
    "mtls-crit-unknown": "unknown-critical-extension",
    "mtls-leaf-ca": "leaf-is-ca",
    "mtls-leaf-certsign": "leaf-may-sign",
    "mtls-leaf-crlsign": "leaf-may-sign",
    "mtls-leaf-no-ds": "wrong-purpose",
    "mtls-leaf-no-ku": "no-key-usage",
    "mtls-leaf-ku-notcrit": "key-usage-not-critical",
    "mtls-leaf-issued-by-leaf": "issuer-not-a-ca",
    "mtls-inter-no-certsign": "issuer-not-a-ca",
    "mtls-pathlen": "path-length",
    "mtls-chain-12": "chain-too-long",
    "mtls-signing-cert-as-peer": "wrong-purpose",
    "mtls-nc-uri-bad": "outside-name-constraints",
    "mtls-nc-uri-excl": "inside-excluded-names",
    "mtls-nc-dns": "outside-name-constraints",
    "mtls-eku-server-only": "wrong-purpose",
    "mtls-eku-client-only": "wrong-purpose",
    "mtls-eku-codesign": "wrong-purpose",
    "mtls-eku-any": "wrong-purpose",
    "mtls-san-none": "no-spiffe-id",
    "mtls-san-dns-only": "no-spiffe-id",
    "mtls-san-two": "several-uris",
    "mtls-san-two-rev": "several-uris",
    "mtls-san-two-same": "several-uris",
    "mtls-san-spiffe-plus-http": "several-uris",
    "mtls-san-in-cn": "no-spiffe-id",
    "mtls-san-nul": "invalid-spiffe-id",
    "mtls-san-nul-dns": "bad-dns-name",
    "mtls-san-crlf": "invalid-spiffe-id",
    "mtls-id-bad-00": "unknown-trust-domain",
    "mtls-id-bad-01": "unknown-trust-domain",
    "mtls-id-bad-02": "unknown-trust-domain",
    "mtls-id-bad-03": "spiffe-id-without-path",
    **{f"mtls-id-bad-{number:02}": "invalid-spiffe-id" for number in range(4, 22)},
    "mtls-id-2049": "invalid-spiffe-id",
    "mtls-id-td-256": "invalid-spiffe-id",
    "mtls-revoked": "revoked",
    "mtls-crl-expired": "crl-expired",
    "mtls-crl-missing": "crl-missing",
    "mtls-crl-wrong-signer": "crl-bad-signature",
    "mtls-revoked-inter": "revoked",
    "mtls-x509name-nul": "no-spiffe-id",
}
CERTIFICATES = [
    name
    for name, row in ROWS.items()
    if not row["tls"] and not is_server(row) and "action" not in row and row["mode"] == "strict"
]


@pytest.mark.parametrize("name", CERTIFICATES)
def test_certificates_of_a_client(rig, name):
    row = ROWS[name]
    sidecar = rig.checked if "crl" in row["chain"] else rig.server
    context = rig.context(name)
    if row["expect"] == "accept" or (row["expect"] == "either" and name not in REASONS):
        served(rig, rig.ask(sidecar, context))
    else:
        assert refused(rig, lambda: rig.ask(sidecar, context), sidecar) == REASONS[name], row["why"]


def test_an_identity_is_what_rules_match_and_not_what_looks_like_it(rig):
    request = b"GET /not-for-the-client HTTP/1.1\r\nHost: server\r\n\r\n"
    for name in ("mtls-ok", "mtls-id-case-scheme"):
        assert b" 403 " in rig.ask(rig.server, rig.context(name), request)
    served(rig, rig.ask(rig.server, rig.context("mtls-id-case-path"), request))


def test_who_has_no_certificate_has_no_identity_in_permissive_mode(rig):
    request = b"GET /not-for-anybody-with-a-name HTTP/1.1\r\nHost: server\r\n\r\n"
    assert b" 403 " in rig.ask(rig.server, rig.context("mtls-ok"), request, "inbound-1")
    assert rig.ask(rig.server, None, request, "inbound-1").endswith(b"\r\n\r\nok")
    (seen,) = rig.open_origin.take()
    assert seen.header("x-forwarded-client-cert") is None


SERVERS = {
    "mtls-srv-ok": "",
    "mtls-eku-client-only-as-server": "wrong-purpose",
    "mtls-srv-wrong-id": "wrong-identity",
    "mtls-srv-wrong-td": "issuer-unknown",
    "mtls-srv-expired": "expired",
    "mtls-srv-none": "plaintext",
    "mtls-srv-public-ca": "issuer-unknown",
    "mtls-srv-dns-match-only": "wrong-identity",
}


@pytest.mark.parametrize("name", SERVERS)
def test_certificates_of_a_server(rig, name):
    request = b"GET / HTTP/1.1\r\nHost: %s.test\r\n\r\n" % name.encode()
    got = rig.ask(rig.server, None, request, "outbound-0")
    if ROWS[name]["expect"] == "accept":
        assert got.endswith(b"\r\n\r\nok")
        assert rig.peers[name].heard.startswith(b"GET / ")
        return
    assert re.match(rb"HTTP/1\.1 50[23] ", got), got
    assert SERVERS[name].encode() in got
    assert b"GET " not in rig.peers[name].heard


def test_a_stream_that_ends_without_close_notify_is_not_a_whole_body(rig):
    request = b"GET / HTTP/1.1\r\nHost: mtls-close-no-notify.test\r\n\r\n"
    with RawClient(rig.server.address("outbound-0")) as client:
        client.send(request)
        assert client.read_until(lambda: client.closed, 10)
        assert client.received.startswith(b"HTTP/1.1 ")
        assert client.reset or not client.responses() or client.responses()[0][0] >= 500
    assert rig.peers["mtls-close-no-notify"].heard.startswith(b"GET / ")


# -- handshakes ------------------------------------------------------------------------------------------------------


def old_version(rig, newest, ciphers="ALL:@SECLEVEL=0") -> ssl.SSLContext:
    context = rig.context("mtls-tls12-only")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that these versions are old is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = newest
    context.set_ciphers(ciphers)
    return context


VERSIONS = {
    "mtls-tls12-only": (ssl.TLSVersion.TLSv1_2,),
    "mtls-tls11": (ssl.TLSVersion.TLSv1_1,),
    "mtls-tls10": (ssl.TLSVersion.TLSv1,),
    "mtls-reneg": (ssl.TLSVersion.TLSv1_2,),  # there is no TLS 1.2 in which to renegotiate
    "mtls-reneg-flood": (ssl.TLSVersion.TLSv1_2,),
    "mtls-null-cipher": (ssl.TLSVersion.TLSv1_2, "NULL:aNULL:@SECLEVEL=0"),
}


@pytest.mark.parametrize("name", VERSIONS)
def test_nothing_older_than_tls_1_3(rig, name):
    context = old_version(rig, *VERSIONS[name])
    assert refused(rig, lambda: rig.ask(rig.server, context)) == "tls"


def test_a_signature_with_sha_1(rig):
    material = rig.material["mtls-weak-sigalg"]
    argv = [program("openssl"), "s_client", "-connect", rig.server.address("inbound-0"), "-sigalgs", "RSA+SHA1"]
    argv += ["-cert", str(material.certificate), "-key", str(material.key), "-cipher", "ALL:@SECLEVEL=0", "-quiet"]

    def ask():
        return subprocess.run(argv, input=REQUEST, capture_output=True, timeout=20, check=False).stdout

    assert refused(rig, ask) == "tls"


def test_protocols_that_are_not_ours(rig):
    """Without a protocol that both speak it is HTTP/1.1; a client that agreed on HTTP/2 must speak it."""
    for protocols in ([], ["foo"], ["h2"]):
        context = rig.context("mtls-alpn-unknown")
        if protocols:
            context.set_alpn_protocols(protocols)
        rig.origin.take()
        with RawClient(rig.server.address("inbound-0"), context.wrap_socket) as client:
            agreed = client.sock.selected_alpn_protocol()
            client.send(REQUEST)
            client.read_until(lambda: client.closed or b"\r\n\r\nok" in client.received, 10)
        assert agreed in (None, "h2")
        if agreed == "h2":
            assert b"HTTP/1.1" not in client.received
            assert not rig.origin.take()
        else:
            served(rig, client.received)


def test_a_server_name_is_no_host(rig):
    """The name in the handshake decides nothing: the request goes to the app, under the host it names."""
    served(rig, rig.ask(rig.server, rig.context("mtls-sni-mismatch"), sni="other.test"))


def test_a_hello_octet_by_octet(rig):
    address = rig.server.address("inbound-0")
    served(rig, ask_in_pieces(address, rig.context("mtls-frag-clienthello-ok"), REQUEST, 1))
    nameless = rig.context("mtls-frag-clienthello")
    assert refused(rig, lambda: ask_in_pieces(address, nameless, REQUEST, 1)) == "no-certificate"


@pytest.mark.parametrize("name", ["mtls-plaintext-strict", "mtls-http-on-tls", "mtls-garbage-first"])
def test_octets_that_are_no_tls(rig, name):
    octets = os.urandom(1024) if name == "mtls-garbage-first" else REQUEST
    reason = refused(rig, lambda: rig.ask(rig.server, None, octets))
    assert reason in (("tls", "plaintext") if octets is not REQUEST else ("plaintext",))
    assert "Traceback" not in rig.server.log


def test_ten_thousand_key_updates(rig):
    """They cost both sides the same, and nobody else anything: a client beside it is served."""
    material = rig.material["mtls-keyupdate-flood"]
    host, _, port = rig.server.address("inbound-0").rpartition(":")
    with socket.create_connection((host, int(port)), 10) as sock:
        flood = KeyUpdates(sock, material.certificate, material.key)
        try:
            assert flood.ask(REQUEST).startswith(b"HTTP/1.1 200 ")
            sent = flood.update(10_000)
            served(rig, rig.ask(rig.server, rig.context("mtls-ok")))
            assert sent < 10_000 or flood.ask(REQUEST)[:13] in (b"", b"HTTP/1.1 200 ")
        finally:
            flood.close()


def test_a_thousand_halves_of_handshakes_keep_nobody_out(rig, stalled):
    served(rig, rig.ask(rig.server, rig.context("mtls-half-handshake-1000")))


def test_half_a_handshake_is_ended_in_time(rig, stalled):
    for client in stalled:
        assert client.read_until(lambda client=client: client.closed, 60)
    until(lambda: rig.refusals(rig.server)["timeout"] == STALLED, 120)
    served(rig, rig.ask(rig.server, rig.context("mtls-half-handshake")))


def test_every_row_is_judged():
    """Those with an action are in test_mtls_changes.py, which sees to it that it has all of them."""
    judged = {*CERTIFICATES, *SERVERS, *VERSIONS, "mtls-none-permissive", "mtls-close-no-notify", "mtls-weak-sigalg"}
    judged |= {"mtls-alpn-none", "mtls-alpn-unknown", "mtls-alpn-h2-speaks-h1", "mtls-sni-mismatch"}
    judged |= {"mtls-frag-clienthello", "mtls-frag-clienthello-ok", "mtls-keyupdate-flood"}
    judged |= {"mtls-plaintext-strict", "mtls-http-on-tls", "mtls-garbage-first"}
    judged |= {"mtls-half-handshake", "mtls-half-handshake-1000"}
    assert judged == {name for name, row in ROWS.items() if "action" not in row}
    assert {name for name in CERTIFICATES if ROWS[name]["expect"] == "reject"} <= REASONS.keys()
