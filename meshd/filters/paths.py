"""The path modifier that redirects and rewrites share (Gateway API HTTPPathModifier)."""

from meshd.config.route_filters import PathModifier


def replace_path(modifier: PathModifier, path: bytes, matched: bytes) -> bytes:
    """The new path: whole, or in the place of the matched prefix (without its trailing slash). `*`, which stands for
    the server as a whole, is no path and stays."""
    if not path.startswith(b"/"):
        return path
    if modifier.replace_full_path is not None:
        return modifier.replace_full_path.encode() or b"/"
    prefix = (modifier.replace_prefix_match or "").encode().rstrip(b"/")
    return prefix + path[len(matched) :] or b"/"
