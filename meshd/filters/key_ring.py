"""The public keys of issuers that are fetched, as the data path has them: another set takes effect at once, and nothing
is compiled for it.

What is fetched and when is the controller's business (`process/key_sets.py`). A token whose key is in no set is
refused, and the ring remembers that its issuer is to be asked again: it may have begun to sign with another key.
"""

from collections.abc import Mapping

from meshd.filters.jwks import InvalidKey, Key, usable_keys

NO_KEYS: tuple[Key, ...] = ()


class KeyRing:
    """Keys by the URI of their set. The tuple of a set is another object exactly when its text is another."""

    __slots__ = ("_keys", "_texts", "_wanted")

    def __init__(self, texts: Mapping[str, str] | None = None) -> None:
        self._texts: dict[str, str] = {}
        self._keys: dict[str, tuple[Key, ...]] = {}
        self._wanted: set[str] = set()
        self.update(texts or {})

    def keys(self, uri: str) -> tuple[Key, ...]:
        """Those of a set; none while it could not be had."""
        return self._keys.get(uri, NO_KEYS)

    def update(self, texts: Mapping[str, str]) -> None:
        """These are the sets now, and no others: a key that is in none of them is good no longer."""
        for uri in self._texts.keys() - texts.keys():
            del self._texts[uri], self._keys[uri]
        for uri, text in texts.items():
            if self._texts.get(uri) != text:
                self._texts[uri] = text
                self._keys[uri] = _read(text)

    def want(self, uri: str) -> None:
        """A token was signed with a key that this set does not have."""
        self._wanted.add(uri)

    def take_wanted(self) -> list[str]:
        """The sets that are to be asked for again, once."""
        wanted = sorted(self._wanted)
        self._wanted.clear()
        return wanted

    def __repr__(self) -> str:
        return f"<KeyRing {sum(map(len, self._keys.values()))} keys of {len(self._keys)} issuers>"


def _read(text: str) -> tuple[Key, ...]:
    try:
        return usable_keys(text)
    except InvalidKey:
        return NO_KEYS  # what is no set is not handed on
