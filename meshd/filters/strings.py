"""Istio's string match: exact, `prefix*`, `*suffix`, and `*` for "present and not empty"; and its path templates."""

import re
from collections.abc import Callable, Iterator

from meshd.core.path_forms import canonical_pattern

BytesTest = Callable[[bytes], bool]


def compile_string(pattern: str) -> BytesTest:
    """A test on an attribute, where empty means absent."""
    value = pattern.encode()
    if value == b"*":
        return bool
    if value.startswith(b"*"):
        return lambda given: given.endswith(value[1:])
    if value.endswith(b"*"):
        return lambda given: given.startswith(value[:-1])
    return lambda given: given == value


def compile_strings(patterns: tuple[str, ...]) -> BytesTest:
    """A test whether any pattern matches. Exact ones cost one look-up together."""
    exact = frozenset(pattern.encode() for pattern in patterns if "*" not in pattern)
    others = tuple(compile_string(pattern) for pattern in patterns if "*" in pattern)
    if len(patterns) == 1:
        return compile_string(patterns[0])
    if not others:
        return lambda given: given in exact
    return lambda given: given in exact or any(test(given) for test in others)


def compile_names(patterns: tuple[str, ...]) -> BytesTest:
    """As `compile_strings`, of a DNS name in lower case."""
    return compile_strings(tuple(pattern.lower() for pattern in patterns))


def compile_paths(patterns: tuple[str, ...]) -> BytesTest:
    """As `compile_strings`, and `{*}` stands for one segment, `{**}` for any number of them. Both pattern and path are
    written canonically."""
    patterns = tuple(map(canonical_pattern, patterns))
    plain = compile_strings(tuple(pattern for pattern in patterns if "{" not in pattern))
    templates = tuple(_template(pattern).fullmatch for pattern in patterns if "{" in pattern)
    if not templates:
        return plain
    return lambda given: plain(given) or any(fullmatch(given) is not None for fullmatch in templates)


def compile_targets(patterns: tuple[str, ...]) -> BytesTest:
    """As `compile_strings`, of a path and its query: the path of each pattern is written canonically."""
    return compile_strings(tuple(canonical_pattern(path) + mark + query for path, mark, query in _parted(patterns)))


def _parted(patterns: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    return (pattern.partition("?") for pattern in patterns)


def _template(pattern: str) -> re.Pattern[bytes]:
    """`{*}`: one or more octets of a path segment; `{**}`: any octets, also none (Envoy's URI template matcher)."""
    parts = re.split(r"(\{\*\*\}|\{\*\})", pattern)
    source = "".join({"{*}": "[^/]+", "{**}": ".*"}.get(part, re.escape(part)) for part in parts)
    return re.compile(source.encode(), re.DOTALL)


def compile_hosts(patterns: tuple[str, ...]) -> BytesTest:
    """Hosts compare like DNS names: without case, with or without the dot of the root, and one without a port means
    every port."""
    lowered = tuple(pattern.lower().removesuffix(".") for pattern in patterns)
    exact = frozenset(pattern.encode() for pattern in lowered if "*" not in pattern)
    others = tuple(compile_string(pattern) for pattern in lowered if "*" in pattern)

    def test(authority: bytes) -> bool:
        host, _, port = authority.lower().rpartition(b":")
        if not host or not port.isdigit():
            host, port = authority.lower(), b""
        host = host.removesuffix(b".")
        if host in exact or any(each(host) for each in others):
            return True
        if not port:
            return False
        whole = host + b":" + port
        return whole in exact or any(each(whole) for each in others)

    return test
