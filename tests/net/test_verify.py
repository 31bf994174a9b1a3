"""Alerts without protection, and names that nobody has vouched for."""

import pytest
from cryptography import x509

from meshd.net.verify import alert_in, claimed_by


@pytest.mark.parametrize(
    ("octets", "alert"),
    [
        (b"\x15\x03\x03\x00\x02\x02\x0a", "unexpected_message"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "protocol_version"),
        (b"\x15\x03\x03\x00\x02\x02\xfe", "alert_254"),
        (b"\x15\x03\x03\x00\x02\x02", ""),
        (b"\x16\x03\x03\x00\x02\x02\x0a", ""),
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"", ""),
    ],
)
def test_an_alert_is_known_by_its_record(octets, alert):
    assert alert_in(octets) == alert


class Leaf:
    """A certificate with these alternative names."""

    def __init__(self, *names):
        self.extensions = x509.Extensions(
            [x509.Extension(x509.SubjectAlternativeName.oid, critical=False, value=x509.SubjectAlternativeName(names))]
            if names
            else []
        )


def test_what_a_peer_claims_is_fit_for_a_log():
    uri = x509.UniformResourceIdentifier
    assert claimed_by(Leaf(x509.DNSName("a.test"), uri("spiffe://td/ns/a/sa/b"), uri("spiffe://td/c"))) == (
        "spiffe://td/ns/a/sa/b"
    )
    assert claimed_by(Leaf(uri("spiffe://td/a\r\nFORGED " + "x" * 999))) == ("spiffe://td/aFORGED " + "x" * 999)[:256]
    assert claimed_by(Leaf(x509.DNSName("a.test"))) == ""
    assert claimed_by(Leaf()) == ""
