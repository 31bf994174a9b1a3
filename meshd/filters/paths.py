"""The path modifier that redirects and rewrites share (Gateway API HTTPPathModifier)."""

from meshd.config.route_filters import PathModifier
from meshd.core.head import RequestHead
from meshd.core.path_forms import resolve


def replaced_path(modifier: PathModifier, head: RequestHead, matched: bytes) -> tuple[bytes, bytes]:
    """The new path: its normal form, and as it is to be written. What stands behind a matched prefix stays byte for
    byte as it came, unless the prefix came in another spelling, or something behind would take it away."""
    normal, written = replace_path(modifier, head.path, matched), head.forwarded_path
    spelled = written.startswith(matched) and written[len(matched) : len(matched) + 1] in (b"", b"/")
    if not spelled or resolve(written)[0] != written:
        return normal, normal
    return normal, replace_path(modifier, written, matched)


def replace_path(modifier: PathModifier, path: bytes, matched: bytes) -> bytes:
    """The new path: whole, or in the place of the matched prefix (without its trailing slash). `*`, which stands for
    the server as a whole, is no path and stays."""
    if not path.startswith(b"/"):
        return path
    if modifier.replace_full_path is not None:
        return modifier.replace_full_path.encode() or b"/"
    prefix = (modifier.replace_prefix_match or "").encode().rstrip(b"/")
    return prefix + path[len(matched) :] or b"/"
