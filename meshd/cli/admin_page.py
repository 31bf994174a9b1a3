"""A running sidecar's admin API, asked from the command line. Bounded in time and size."""

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from meshd.config.address import Address
from meshd.config.proxy import Proxy
from meshd.telemetry.describe import Json

TIMEOUT: Final = 5.0  # seconds
MOST: Final = 16 * 1024 * 1024  # octets of an answer


class AdminUnreachable(Exception):
    """Nobody answered, or not with what was asked for; the message says where and why."""


class _Connection(http.client.HTTPConnection):
    """Over TCP, or a unix socket."""

    def __init__(self, address: Address) -> None:
        super().__init__("localhost" if address.is_unix else address.host, address.port or None, timeout=TIMEOUT)
        self._path = address.host if address.is_unix else ""

    def connect(self) -> None:
        """Reach it."""
        if not self._path:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self._path)


def admin_address(given: str | None, proxy: Proxy | None) -> Address:
    """Where to ask: what was given, else what the bootstrap says. Raises AdminUnreachable."""
    if given is not None:
        address = Address.parse(given)
        if address is None:
            raise AdminUnreachable(f"--admin: got {given!r}, expected host:port or unix:/path")
        return address
    if proxy is None:
        raise AdminUnreachable("name the running sidecar with --admin ADDRESS, or its Proxy document with -f")
    if proxy.spec.admin is None:
        raise AdminUnreachable("this sidecar has no admin API: its document says 'admin: null'")
    if not proxy.spec.admin.listen.port and not proxy.spec.admin.listen.is_unix:
        raise AdminUnreachable("this sidecar takes a free port for its admin API: name the one it took with --admin")
    return proxy.spec.admin.listen


def ask_admin(address: Address, path: str, query: Mapping[str, str]) -> Json:
    """The JSON that a page answers with. Raises AdminUnreachable."""
    connection = _Connection(address)
    try:
        connection.request("GET", f"{path}?{urlencode(query)}")
        response = connection.getresponse()
        body = response.read(MOST + 1)
    except (OSError, http.client.HTTPException) as error:
        raise AdminUnreachable(f"nobody answers at {address}: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise AdminUnreachable(f"{address}{path} answered {response.status}: {body[:200].decode(errors='replace')}")
    if len(body) > MOST:
        raise AdminUnreachable(f"{address}{path} answered with more than {MOST} octets")
    try:
        found: Json = json.loads(body)
    except ValueError as error:
        raise AdminUnreachable(f"{address}{path} answered with what is not JSON") from error
    return found
