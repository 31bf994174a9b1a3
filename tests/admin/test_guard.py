import pytest

from meshd.admin.guard import is_local, is_safe_host, refusal
from meshd.core.head import RequestHead


def head(authority=b"127.0.0.1:15000", *fields):
    return RequestHead(b"POST", b"/drain", authority, list(fields))


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "10.1.2.3", "[::1]", "::1"])
def test_addresses_and_localhost_are_safe(host):
    assert is_safe_host(host)


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "1.2.3", "0x7f000001"]
)
def test_names_are_not(host):
    assert not is_safe_host(host)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_this_machine(address):
    assert is_local(address)


@pytest.mark.parametrize("address", ["10.0.0.1", "::ffff:10.0.0.1", "fe80::1", "", "localhost"])
def test_other_machines(address):
    assert not is_local(address)


def test_a_name_that_was_made_to_resolve_to_us_is_refused():
    found = refusal(head(b"evil.example:15000"), unix=False)
    assert found.status == 403
    assert b"'evil.example'" in found.body
    assert refusal(head(b"evil.example"), unix=True) is None


@pytest.mark.parametrize(
    "field",
    [
        (b"origin", b"http://evil.example"),
        (b"origin", b"null"),
        (b"origin", b"https://127.0.0.1:15000"),
        (b"sec-fetch-site", b"cross-site"),
        (b"sec-fetch-site", b"same-site"),
    ],
)
def test_requests_of_other_pages_are_refused(field):
    assert refusal(head(b"127.0.0.1:15000", field), unix=False).status == 403


@pytest.mark.parametrize("fields", [(), [(b"origin", b"http://127.0.0.1:15000"), (b"sec-fetch-site", b"same-origin")]])
def test_our_own_page_and_command_lines_are_served(fields):
    assert refusal(head(b"127.0.0.1:15000", *fields), unix=False) is None
