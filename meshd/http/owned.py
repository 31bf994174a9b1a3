"""Fields that are the sidecar's to say: what somebody else says in their names is taken out, in every spelling.

Theory of operation: a name is looked at once and what it is remembered, so that a request costs one look-up a field.
A name of ours that is spelled as we spell it is managed, believed of who may say it, or a claim that nobody may make.
Any other spelling of it has no honest use and goes, whoever sent it. Other names, underscores or not, are not touched.
"""

from collections.abc import Iterable
from typing import Final

from meshd.core.spelling import fold, fold_all

ORDINARY: Final = 0  # not ours
MANAGED: Final = 1  # taken out, read, and written anew by `forwarding`
INTERNAL: Final = 2  # believed of our own app, of mesh peers and of trusted proxies
CLAIM: Final = 3  # believed of nobody

# Claims about who is calling: never believed from anybody, for the handshake tells.
CLAIMS: Final = frozenset((b"x-forwarded-client-cert", b"l5d-client-id", b"x-meshd-peer"))
MANAGED_FIELDS: Final = frozenset((b"via", b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id", b"traceparent"))
# What proxies tell each other of a request (Envoy, RFC 7239, nginx).
INTERNAL_FIELDS: Final = frozenset((b"forwarded", b"x-real-ip"))
# What the codec takes out and writes anew. `Transfer_Encoding` says to some frameworks what `Transfer-Encoding` does.
FRAMING_FIELDS: Final = frozenset(
    (b"content-length", b"transfer-encoding", b"keep-alive", b"proxy-connection", b"http2-settings")
)
FAMILIES: Final = (b"x-envoy-", b"x-forwarded-")
MAX_REMEMBERED: Final = 1024  # names, of at most MAX_NAME bytes each
MAX_NAME: Final = 64


class OwnedFields(dict[bytes, int]):
    """What a lower-case name is. `written` are the names that policies of this listener write, with a `*` at one end
    for all that begin or end so: those are for who writes them to take out, but in no other spelling do they pass."""

    __slots__ = ("_ends", "_folded", "_starts", "_written", "ordinary")

    def __init__(self, written: Iterable[str] = ()) -> None:
        super().__init__()
        self.ordinary: set[bytes] = set()  # those that were met, for the quickest look
        names = [name.lower().encode() for name in written if name.strip("*")]
        self._written = frozenset(name for name in names if b"*" not in name)
        self._starts = tuple(name[:-1] for name in names if name.endswith(b"*"))
        self._ends = tuple(name[1:] for name in names if name.startswith(b"*"))
        self._folded = fold_all(self._written | CLAIMS | MANAGED_FIELDS | INTERNAL_FIELDS | FRAMING_FIELDS)

    def __missing__(self, name: bytes) -> int:
        kind = self._classify(name)
        if len(self) < MAX_REMEMBERED and len(name) <= MAX_NAME:
            self[name] = kind
            if kind == ORDINARY:
                self.ordinary.add(name)
        return kind

    def _classify(self, name: bytes) -> int:
        if name in CLAIMS:
            return CLAIM
        if name in MANAGED_FIELDS:
            return MANAGED
        folded = fold(name)
        if name in INTERNAL_FIELDS or folded.startswith(FAMILIES):
            return INTERNAL if name == folded else CLAIM
        if name in self._written:
            return ORDINARY
        return CLAIM if folded in self._folded or self._is_disguised(name, folded) else ORDINARY

    def _is_disguised(self, name: bytes, folded: bytes) -> bool:
        """Whether it is like the names of a pattern and is none of them."""
        starts = not name.startswith(self._starts) and folded.startswith(tuple(map(fold, self._starts)))
        ends = not name.endswith(self._ends) and folded.endswith(tuple(map(fold, self._ends)))
        return starts or ends

    def may_trail(self, name: bytes) -> bool:
        """Whether a trailer of this lower-case name may reach an app, which may take it for a field of the head."""
        return self[name] == ORDINARY and name not in self._written and not self._is_a_pattern(name)

    def _is_a_pattern(self, name: bytes) -> bool:
        return name.startswith(self._starts) or name.endswith(self._ends)

    def __repr__(self) -> str:
        return f"<OwnedFields, {len(self._written)} of policies, {len(self)} names known>"
