"""Asking an admin API: where it is, and what is said when it is not."""

import pytest
from support.worlds import proxy_of

from meshd.cli.admin_page import AdminUnreachable, admin_address, ask_admin
from meshd.config.address import Address


def test_what_is_given_comes_before_what_the_document_says():
    assert admin_address("unix:/run/a", proxy_of()) == Address("/run/a", is_unix=True)
    assert admin_address(None, proxy_of()) == Address("127.0.0.1", 15000)


@pytest.mark.parametrize(
    ("given", "proxy", "told"),
    [
        ("nowhere", None, "got 'nowhere', expected host:port"),
        (None, None, "name the running sidecar with --admin ADDRESS"),
        (None, proxy_of(admin=None), "this sidecar has no admin API"),
        (None, proxy_of(admin={"listen": "127.0.0.1:0"}), "name the one it took with --admin"),
    ],
)
def test_no_address(given, proxy, told):
    with pytest.raises(AdminUnreachable, match=told):
        admin_address(given, proxy)


def test_nobody_is_there(tmp_path):
    with pytest.raises(AdminUnreachable, match="nobody answers at unix:"):
        ask_admin(Address(str(tmp_path / "none"), is_unix=True), "/records", {})
