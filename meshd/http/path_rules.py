"""What one listener does with paths: Istio's pathNormalization, or ours.

By itself a path goes on byte for byte, and policies are asked about every reading of it. Only toward the app are dot
segments resolved, as clients do before they send (RFC 3986 section 5.2.4), while policies still see them. With a
normalization of Istio's the normalized path is what goes on and what is judged. Strict is for who trusts no app to read
a path in one way: what may be read otherwise is refused.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from meshd.core.head import RequestHead
from meshd.core.path_forms import PathForms, canonical, merge_slashes, resolve
from meshd.http.target import ABOVE_THE_ROOT

Normalization: TypeAlias = Literal["DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"]

_ENCODED_SLASH: Final = re.compile(rb"%(?:2[Ff]|5[Cc])")
_ENCODED_DOT: Final = re.compile(rb"%2[Ee]")
_DISPUTED: Final = re.compile(rb"%(?:2[Ff]|5[Cc])|%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~!$&'()*+,;=:@/%-]")
FAILED: Final = "path_normalization_failed: "


@dataclass(frozen=True, slots=True)
class PathRules:
    """Of one listener."""

    normalization: Normalization = "DEFAULT"
    strict: bool = False
    inbound: bool = False

    def apply(self, head: RequestHead) -> str:
        """Settle what goes on and what is judged of a path that is not plain. Returns why it is refused, if it is."""
        forms = head.forms
        if forms is None:
            return ""
        received = forms.received
        if self.strict:
            return self._refuse(head, received)
        if self.normalization == "NONE":
            head.path = canonical(received)
        elif self.normalization == "DEFAULT":
            if self.inbound and (b"/." in received or _ENCODED_DOT.search(received)):
                forwarded, below = resolve(received)
                head.forms = PathForms(received, forwarded, received)
                return "" if below else ABOVE_THE_ROOT
        else:
            return self._normalize(head, received)
        return ""

    def _normalize(self, head: RequestHead, received: bytes) -> str:
        """In Envoy's order: slashes that are written otherwise, dot segments, empty segments."""
        path = received
        if self.normalization == "DECODE_AND_MERGE_SLASHES":
            path = _ENCODED_SLASH.sub(b"/", path)
        path, below = resolve(path.replace(b"\\", b"/"))
        if self.normalization != "BASE":
            path = merge_slashes(path)
        head.path = path = canonical(path)
        head.forms = PathForms(received, path, path)
        return "" if below else ABOVE_THE_ROOT

    def _refuse(self, head: RequestHead, received: bytes) -> str:
        """Only the normal form goes on."""
        if found := _DISPUTED.search(received):
            return f"{FAILED}{received[found.start() : found.start() + 3].decode()!r} in a path, with strict paths"
        head.forms = PathForms(received, head.path, head.path)
        return ""

    def __str__(self) -> str:
        return "strict" if self.strict else self.normalization


AS_THEY_COME: Final = PathRules()
