"""Keys of issuers that are fetched: the controller asks for them, workers get them as they are.

Theory of operation: every `jwksUri` is fetched at once, then as often as its issuer says (Cache-Control, Expires)
within SOONEST and REFRESH, sooner after a failure. A worker that meets a token whose key is in no set refuses it and
says so; the set is then fetched again, at most every PAUSE seconds whatever strangers send: a token of a new key is
good a moment later. What an issuer left out of its set is good no longer. A failure, or an answer that is no key set,
leaves the last good one, so an issuer that is away takes nothing from those who have a token. SIGHUP fetches all.

Sets are fetched from this host's own network, not through the mesh.
"""

import http.client
import logging
import ssl
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import trio

from meshd.config.documents import Documents
from meshd.core.cells import Key
from meshd.filters.jwks import MAX_SET, InvalidKey, usable_keys
from meshd.http.freshness import freshness
from meshd.process.start import FetchedKeys
from meshd.telemetry.cutoff import Cutoff

REFRESH: Final = 1200.0  # seconds, as in Istio, for an issuer that says nothing, and at the most
SOONEST: Final = 5.0  # seconds that a set is kept at the least
UNKEPT: Final = 60.0  # seconds between fetches of a set that is not to be kept (no-store, no-cache, max-age=0)
PAUSE: Final = 5.0  # seconds between two fetches that unknown keys ask for
AGAIN: Final = 1.0  # seconds after the first failure, doubling
AGAIN_AT_MOST: Final = 60.0
TIMEOUT: Final = 5.0  # seconds that connecting and each read may take, unless the document says otherwise
MAX_SETS: Final = 64
LOOK: Final = 0.5  # seconds between looks at what is due

log = logging.getLogger(__name__)


class FetchError(Exception):
    """Why keys could not be had."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A key set as it came."""

    text: str
    lifetime: float | None  # seconds that its issuer says it may be kept; None when it says nothing


class Fetched:
    """One key set: what was had last, and when it is due again."""

    __slots__ = ("asked", "due", "failures", "is_under_way", "text")

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.asked = float("-inf")  # when it was fetched last
        self.due = float("-inf")
        self.failures = 0
        self.is_under_way = False

    def begin(self, now: float) -> None:
        """It is being fetched."""
        self.asked = now
        self.is_under_way = True

    def succeed(self, answer: Answer, now: float) -> bool:
        """Keep a good set; whether it is another than before."""
        changed, self.text = answer.text != self.text, answer.text
        self.failures = 0
        self.is_under_way = False
        self.due = now + kept_for(answer.lifetime)
        return changed

    def fail(self, now: float) -> None:
        """Keep the last one, and come back sooner."""
        self.due = now + min(AGAIN * 2 ** min(self.failures, 16), AGAIN_AT_MOST)
        self.failures += 1
        self.is_under_way = False

    def want(self) -> None:
        """A key was missing. An issuer that does not answer is asked again soon enough anyway."""
        if not self.failures:
            self.due = min(self.due, self.asked + PAUSE)

    def __repr__(self) -> str:
        return f"<Fetched {len(self.text)} octets, {self.failures} failures in a row>"


class KeySets:
    """Every key set that the documents name by a URI, and no other."""

    __slots__ = ("_asked", "_sets", "_threads", "failures", "fetches", "version")

    def __init__(self, known: FetchedKeys) -> None:
        self._sets = {uri: Fetched(text) for uri, text in known.texts.items()}
        self._asked = trio.Event()
        self._threads = trio.CapacityLimiter(MAX_SETS)  # of their own: those that hang keep nobody else from one
        self.fetches = self.failures = 0
        self.version = known.version  # greater by one with every change

    def fetched(self) -> FetchedKeys:
        """What there is."""
        return FetchedKeys(self.version, {uri: each.text for uri, each in self._sets.items() if each.text})

    def counters(self) -> Iterator[tuple[Key, float]]:
        """For `Metrics.watch`."""
        if self.fetches:
            yield ("meshd.jwks.fetches", ()), self.fetches
            yield ("meshd.jwks.failures", ()), self.failures

    async def watch(self, documents: Callable[[], Documents], changed: Callable[[], None]) -> None:
        """Fetch what is due, for ever, none waiting for another; `changed` is called after each change."""
        async with trio.open_nursery() as nursery:
            while True:
                for uri, seconds in self._take_due(documents()):
                    nursery.start_soon(self._renew, uri, seconds, changed)
                with trio.move_on_after(LOOK):
                    await self._asked.wait()
                    self._asked = trio.Event()

    def want(self, uris: Iterable[str]) -> None:
        """Tokens came that no key of these sets verifies."""
        for uri in uris:
            if uri in self._sets:
                self._sets[uri].want()
        self._asked.set()

    def renew(self) -> None:
        """Somebody asked for all of them to be fetched."""
        for each in self._sets.values():
            each.due = float("-inf")
        self._asked.set()

    def _take_due(self, documents: Documents) -> list[tuple[str, float]]:
        wanted = dict(list(sources(documents))[:MAX_SETS])
        for uri in self._sets.keys() - wanted.keys():
            del self._sets[uri]
        now, due = trio.current_time(), []
        for uri, seconds in wanted.items():
            each = self._sets.setdefault(uri, Fetched())
            if each.due <= now and not each.is_under_way:
                each.begin(now)
                due.append((uri, seconds))
        return due

    async def _renew(self, uri: str, seconds: float, changed: Callable[[], None]) -> None:
        known = self._sets[uri]
        self.fetches += 1
        try:
            with trio.fail_after(2 * seconds):
                answer = await trio.to_thread.run_sync(
                    fetch, uri, seconds, abandon_on_cancel=True, limiter=self._threads
                )
        except (FetchError, trio.TooSlowError) as error:
            self.failures += 1
            known.fail(trio.current_time())
            kept = "the last ones stay" if known.text else "its tokens are refused"
            log.warning("keys of %s: %s; %s", uri, str(error) or "took too long", kept, extra={"kind": uri})
            return
        if known.succeed(answer, trio.current_time()):
            count = len(usable_keys(answer.text))
            log.info("keys of %s: %s", uri, f"{count} of use" if count else "none of use; its tokens are refused")
            self.version += 1
            changed()

    def __repr__(self) -> str:
        return f"<KeySets of {len(self._sets)} issuers>"


def kept_for(lifetime: float | None) -> float:
    """Seconds until a set is fetched again, by what its issuer says."""
    if lifetime is None:
        return REFRESH
    return min(max(lifetime, SOONEST), REFRESH) if lifetime else UNKEPT


def sources(documents: Documents) -> Iterator[tuple[str, float]]:
    """The URIs of key sets, and how long each may take."""
    for document in documents.request_authentications:
        for rule in document.model.spec.jwt_rules:
            if rule.keys_uri:
                yield rule.keys_uri, rule.timeout or TIMEOUT


def fetch(uri: str, timeout: float) -> Answer:
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
        with Cutoff(2 * timeout) as cutoff:
            connection.connect()
            cutoff.watch(connection.sock)
            connection.request("GET", target, headers={"accept": "application/json", "user-agent": "meshd"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise FetchError(f"status {answer.status}")
            text = answer.read(MAX_SET + 1).decode("utf-8")
        usable_keys(text)
        return Answer(text, freshness({name.lower(): value for name, value in answer.getheaders()}))
    except (OSError, http.client.HTTPException, UnicodeDecodeError, InvalidKey) as error:
        raise FetchError(str(error) or type(error).__name__) from error
    finally:
        connection.close()
