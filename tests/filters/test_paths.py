"""A new path in the place of the old: the table of HTTPPathModifier, and its law."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.config.http_route import HTTPMatch
from meshd.config.route_filters import PathModifier
from meshd.filters.paths import replace_path
from meshd.routing.matcher import compile_match

segments = st.lists(st.sampled_from(["a", "bc", "d.e"]), max_size=3)
slash = st.sampled_from(["", "/"])


def prefix_replaced(path, prefix, replacement):
    modifier = PathModifier.model_validate({"type": "ReplacePrefixMatch", "replacePrefixMatch": replacement})
    matched = compile_match(HTTPMatch.model_validate({"path": {"value": prefix}})).path
    return replace_path(modifier, path.encode(), matched).decode()


@pytest.mark.parametrize(  # the table in httproute_types.go
    ("path", "prefix", "replacement", "expected"),
    [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        ("/foo", "/", "/xyz", "/xyz/foo"),
        ("/", "/", "/xyz", "/xyz/"),
    ],
)
def test_the_table_of_the_standard(path, prefix, replacement, expected):
    assert prefix_replaced(path, prefix, replacement) == expected


@given(segments, segments, segments, st.tuples(slash, slash, slash))
def test_segments_of_the_prefix_give_way_and_the_rest_stays(prefix, rest, new, ends):
    def spell(parts, end):
        return ("/" + "/".join(parts) + (end if parts else "")) or "/"

    found = prefix_replaced(spell(prefix + rest, ends[0]), spell(prefix, ends[1]), spell(new, ends[2]))
    assert found.startswith("/")
    assert "//" not in found
    assert [part for part in found.split("/") if part] == new + rest


@pytest.mark.parametrize("kind", ["ReplaceFullPath", "ReplacePrefixMatch"])
def test_what_is_no_path_is_not_replaced(kind):
    modifier = PathModifier.model_validate({"type": kind, kind[0].lower() + kind[1:]: "/new"})
    assert replace_path(modifier, b"*", b"") == b"*"


@pytest.mark.parametrize(("replacement", "expected"), [("/new/path", b"/new/path"), ("", b"/")])
def test_a_full_replacement_keeps_nothing(replacement, expected):
    modifier = PathModifier.model_validate({"type": "ReplaceFullPath", "replaceFullPath": replacement})
    assert replace_path(modifier, b"/foo/bar", b"/foo") == expected
