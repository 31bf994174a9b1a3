"""Istio's string matches, as a naive reading of its documentation has them."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.filters.strings import compile_hosts, compile_paths, compile_string, compile_strings

texts = st.text("ab*/", max_size=4)
patterns = st.text("ab*/", min_size=1, max_size=4)


def naive(pattern, given_text):
    """security/v1beta1: exact, prefix "abc*", suffix "*abc", presence "*"."""
    if pattern == "*":
        return given_text != ""
    if pattern.startswith("*"):
        return given_text.endswith(pattern[1:])
    if pattern.endswith("*"):
        return given_text.startswith(pattern[:-1])
    return given_text == pattern


@given(patterns, texts)
def test_one_pattern(pattern, text):
    assert compile_string(pattern)(text.encode()) == naive(pattern, text)


@given(st.lists(patterns, max_size=4), texts)
def test_any_of_several(several, text):
    expected = any(naive(each, text) for each in several)
    assert compile_strings(tuple(several))(text.encode()) == expected
    assert compile_paths(tuple(several))(text.encode()) == expected


@given(patterns)
def test_nothing_matches_what_is_absent(pattern):
    """Empty means absent."""
    assert not compile_string(pattern)(b"")
    assert not compile_strings((pattern,))(b"")


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("/users/{*}/admin", "/users/u/admin", True),
        ("/users/{*}/admin", "/users/u/v/admin", False),
        ("/users/{*}/admin", "/users//admin", False),
        ("/users/{*}/admin", "/users/u/admin/", False),
        ("/users/{*}/admin", "/x/users/u/admin", False),
        ("/users/{**}", "/users/", True),
        ("/users/{**}", "/users/u/v", True),
        ("/users/{**}", "/users", False),
        ("/users/{**}/admin", "/users/u/v/admin", True),
        ("/{*}/{*}", "/a/b", True),
        ("/{*}/{*}", "/a", False),
        ("/a.c/{*}", "/abc/d", False),
        ("/a+/{*}", "/a+/d", True),
    ],
)
def test_templates_of_segments(template, path, expected):
    assert compile_paths((template, "/other"))(path.encode()) is expected
    assert compile_paths((template, "/other"))(b"/other")


segments = st.lists(st.sampled_from(["a", "b.c", "{*}"]), min_size=1, max_size=3)


@given(segments, st.lists(st.sampled_from(["a", "b.c", "bxc", "{*}", ""]), min_size=1, max_size=3))
def test_a_star_is_one_segment_that_is_not_empty(template, path):
    expected = len(template) == len(path) and all(
        bool(is_) if wanted == "{*}" else wanted == is_ for wanted, is_ in zip(template, path, strict=True)
    )
    if "{*}" in template:
        assert compile_paths(("/" + "/".join(template),))(("/" + "/".join(path)).encode()) is expected


def naive_host(pattern, authority):
    host, port = re.fullmatch(r"(.*?)(:[0-9]+)?", authority).groups("")
    host = host.removesuffix(".")
    return any(naive(pattern.lower().removesuffix("."), each.lower()) for each in {host + port, host})


hosts = st.sampled_from(
    ["a.test", "a.test.", "*.test.", "A.Test", "*.test", "a.*", "*", "b.a.test", "a.test:80", "[::1]", "[::1]:80"]
)


@given(
    hosts,
    st.sampled_from(["a.test", "a.test.", "A.TEST", "b.a.test", "test", "a.testx", "[::1]", ""]),
    st.sampled_from(["", ":80", ":8080"]),
)
def test_hosts_compare_without_case_and_for_every_port(pattern, host, port):
    authority = host + port if host else ""
    assert compile_hosts((pattern,))(authority.encode()) == naive_host(pattern, authority)


def test_a_host_with_a_port_means_that_port():
    test = compile_hosts(("a.test:80",))
    assert test(b"a.test:80")
    assert not test(b"a.test:81")
    assert not test(b"a.test")


@pytest.mark.parametrize("template", ["/{*}/{**}/a/b", "/{*}/{*}/{*}/{**}", "/{**}/" + "a/" * 200 + "b"])
def test_no_path_makes_a_template_take_long(template):
    test = compile_paths((template,))
    began = time.perf_counter()
    for path in (b"/a" * 30_000, b"/" * 60_000, b"/" + b"a" * 60_000):
        test(path)
        test(path + b"/")
    assert time.perf_counter() - began < 5  # seconds, for what takes milliseconds
