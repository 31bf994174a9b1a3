"""Addresses as documents write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.config.address import Address, ip_version, is_block, is_host


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        ("[::1]:0", Address("::1", 0)),
        ("a-b.c_d:65535", Address("a-b.c_d", 65535)),
        ("unix:/run/a.sock", Address("/run/a.sock", is_unix=True)),
        ("unix:///run/a.sock", Address("/run/a.sock", is_unix=True)),
        ("unix:@name", Address("@name", is_unix=True)),
    ],
)
def test_addresses(text, address):
    assert Address.parse(text) == address
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ":80",
            "a",
            "a:",
            "a:b",
            "a:65536",
            "a:-1",
            "a:\u0661",
            "::1:80",
            "[::1%lo]:80",
            "[127.0.0.1]:1",
            "a b:1",
            "a/b:1",
        ),
        *("unix:", "unix:/", "unix:run", "unix:/" + "x" * 107, "unix:/a\0b", "http://a:80", "a:000080"),
    ],
)
def test_what_is_no_address(text):
    assert Address.parse(text) is None


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("127.0.0.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/a", True),
        ("0.0.0.0:1", False),
        ("a:1", False),
    ],
)
def test_loopback(text, local):
    assert Address.parse(text).is_loopback is local


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_ip_address_reads_back(ip, port):
    assert Address.parse(str(Address(str(ip), port))) == Address(str(ip), port)
    assert ip_version(str(ip)) == ip.version


@pytest.mark.parametrize("text", ["10.0.0.0/8", "10.1.2.3/8", "1.2.3.4", "::/0", "2001:db8::1/64"])
def test_blocks(text):
    assert is_block(text)


@pytest.mark.parametrize(
    "text", ["", "10.0.0.0/33", "10.0.0/8", "1.2.3.4/", "10.0.0.0/255.0.0.0", "fe80::1%lo", "a", "/8", "010.0.0.1"]
)
def test_what_is_no_block(text):
    assert not is_block(text)


@pytest.mark.parametrize("text", ["a", "a.b", "a.b.", "10.0.0.1", "_x.a-b", "a" * 63, ".".join(["a" * 49] * 5)])
def test_hosts(text):
    assert is_host(text)
    assert text.encode("idna")


@pytest.mark.parametrize(
    "text", ["", ".", "a..b", ".a", "-a", "a-", "a b", "*.a", "a" * 64, ".".join(["a" * 50] * 5), "\u00e4"]
)
def test_what_is_no_host(text):
    assert not is_host(text)
