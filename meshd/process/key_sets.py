"""Keys of issuers that are fetched: the controller asks for them, workers get them with the documents.

Theory of operation: every `jwksUri` is fetched at once, then every REFRESH seconds, sooner after a failure. Only a set
that can verify something takes the place of the one before; a failure leaves the last good one, so an issuer that is
away takes nothing from those who have a token. It is fetched from this host's own network, not through the mesh.
"""

import http.client
import logging
import ssl
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

import trio

from meshd.config.documents import Documents
from meshd.filters.jwks import MAX_SET, InvalidKey, read_key_set

REFRESH: Final = 1200.0  # seconds, as in Istio
AGAIN: Final = 1.0  # seconds after the first failure, doubling
AGAIN_AT_MOST: Final = 60.0
TIMEOUT: Final = 5.0  # seconds that connecting and each read may take, unless the document says otherwise
MAX_SETS: Final = 64

log = logging.getLogger(__name__)


class FetchError(Exception):
    """Why keys could not be had."""


class Fetched:
    """One key set: what was had last, and when it is due again."""

    __slots__ = ("due", "failures", "text")

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.due = float("-inf")
        self.failures = 0

    def succeed(self, text: str, now: float) -> bool:
        """Keep a good set; whether it is another than before."""
        changed, self.text = text != self.text, text
        self.failures = 0
        self.due = now + REFRESH
        return changed

    def fail(self, now: float) -> None:
        """Keep the last one, and come back sooner."""
        self.due = now + min(AGAIN * 2 ** min(self.failures, 16), AGAIN_AT_MOST)
        self.failures += 1

    def __repr__(self) -> str:
        return f"<Fetched {len(self.text)} octets, {self.failures} failures in a row>"


class KeySets:
    """Every key set that the documents name by a URI, and no other."""

    __slots__ = ("_sets",)

    def __init__(self, known: Mapping[str, str]) -> None:
        self._sets = {uri: Fetched(text) for uri, text in known.items()}

    def texts(self) -> dict[str, str]:
        """What there is, by URI."""
        return {uri: each.text for uri, each in self._sets.items() if each.text}

    async def refresh(self, documents: Documents) -> bool:
        """Fetch what is due, at the same time; whether anything is another than before."""
        wanted = dict(list(sources(documents))[:MAX_SETS])
        for uri in self._sets.keys() - wanted.keys():
            del self._sets[uri]
        changed = []

        async def one(uri: str, seconds: float) -> None:
            if await self._renew(uri, seconds):
                changed.append(uri)

        async with trio.open_nursery() as nursery:
            for uri, seconds in wanted.items():
                if self._sets.setdefault(uri, Fetched()).due <= trio.current_time():
                    nursery.start_soon(one, uri, seconds)
        return bool(changed)

    async def _renew(self, uri: str, seconds: float) -> bool:
        known = self._sets[uri]
        try:
            with trio.fail_after(2 * seconds):
                text = await trio.to_thread.run_sync(fetch, uri, seconds, abandon_on_cancel=True)
        except (FetchError, trio.TooSlowError) as error:
            known.fail(trio.current_time())
            kept = "the last ones stay" if known.text else "its tokens are refused"
            log.warning("keys of %s: %s; %s", uri, str(error) or "took too long", kept)
            return False
        return known.succeed(text, trio.current_time())

    def __repr__(self) -> str:
        return f"<KeySets of {len(self._sets)} issuers>"


def sources(documents: Documents) -> Iterator[tuple[str, float]]:
    """The URIs of key sets, and how long each may take."""
    for document in documents.request_authentications:
        for rule in document.model.spec.jwt_rules:
            if rule.keys_uri:
                yield rule.keys_uri, rule.timeout or TIMEOUT


def fetch(uri: str, timeout: float) -> str:
    """The key set at a URI, seen to be one. Blocks. Follows no redirect. Raises FetchError."""
    parts = urlsplit(uri)
    host, target = parts.hostname or "", parts.path or "/"
    target = f"{target}?{parts.query}" if parts.query else target
    connection = (
        http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=timeout)
    )
    try:
        connection.request("GET", target, headers={"accept": "application/json", "user-agent": "meshd"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise FetchError(f"status {answer.status}")
        text = answer.read(MAX_SET + 1).decode("utf-8")
        read_key_set(text)
    except (OSError, http.client.HTTPException, UnicodeDecodeError, InvalidKey) as error:
        raise FetchError(str(error) or type(error).__name__) from error
    finally:
        connection.close()
    return text
