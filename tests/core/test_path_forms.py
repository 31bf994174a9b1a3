"""Every way to read a path, against an enumeration by other means; and one way to write it."""

import time
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.path_readings import PIECES, enumerate_readings

from meshd.core.path_forms import (
    MAX_READINGS,
    PathForms,
    canonical,
    canonical_pattern,
    readings,
    resolve,
    written,
)

PATHS = st.lists(st.sampled_from(PIECES), max_size=6).map(lambda parts: b"/" + b"".join(parts))


@given(PATHS | st.binary(max_size=12).map(lambda raw: b"/" + raw))
def test_canonical_writing_says_the_same_octets_in_one_way(path):
    written = canonical(path)
    assert canonical(written) == written
    assert not set(written) - set(range(0x21, 0x7F)) - set(b'"<>[]\\^`{|}')
    assert unquote_to_bytes(written) == unquote_to_bytes(path) or b"%%" in path or path.count(b"%") > 1


@pytest.mark.parametrize(
    ("path", "written"),
    [
        (b"/%61dmin%7e", b"/admin~"),
        (b"/a%2fb%5c", b"/a%2Fb%5C"),
        (b"/items[0]|{x}", b"/items%5B0%5D%7C%7Bx%7D"),
        (b"/a\\b", b"/a%5Cb"),
        (b"/100%", b"/100%"),
        (b"/100%25", b"/100%"),
        (b"/%zz", b"/%zz"),
        (b"/%2561dmin", b"/%2561dmin"),
        (b"/%252e%252E", b"/%252e%252E"),
        (b"/%%34%31", b"/%2541"),
    ],
)
def test_writing(path, written):
    assert canonical(path) == written


def test_a_pattern_is_written_as_readings_are_but_for_what_it_leaves_open():
    assert canonical_pattern("/items[0]/*") == "/items%5B0%5D/*"
    assert canonical_pattern("/{*}/%7euser/{**}/{id}") == "/{*}/~user/{**}/%7Bid%7D"
    assert canonical_pattern("/plain") == "/plain"
    assert canonical_pattern("/caf\u00e9") == "/caf%C3%A9"


@given(PATHS)
def test_no_way_to_read_a_path_is_missing(path):
    found = readings(path)
    if found:
        assert {written(each) for each in enumerate_readings(path)} <= set(found)
        assert found[0] == written(path)
        assert canonical(path) in found


@given(PATHS)
def test_what_an_app_makes_of_one_reading_is_a_reading(path):
    found = set(readings(path))
    assert all(set(readings(each)) <= found for each in found)


@pytest.mark.parametrize("path", [b"/", b"/a/b.c", b"/a%20b", b"/items[0]", b"/.well-known/x", b"/%2561", b"/%c3%a9"])
def test_a_path_that_all_apps_read_alike_has_one_reading(path):
    assert readings(path) == (canonical(path),)


def test_an_escape_that_is_not_needed_is_decoded_or_not():
    assert readings(b"/%61") == (b"/%61", b"/a")


def test_a_path_that_nobody_means_has_no_readings():
    assert 0 < len(readings(b"/a//b;v=1/c%2Fd/../e")) <= MAX_READINGS
    assert readings(b"/..//%2F%5C%3B%23%5C/%3F/..;.\\" * 3) == ()


def test_a_long_path_of_many_readings_costs_no_more_than_a_request():
    path = (b"/;.%2F%2e%2e//%5Cx%3B" * 500)[:8000]
    began = time.process_time()
    readings(path)
    assert time.process_time() - began < 1.0  # 5 ms by itself; without a bound minutes


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (b"/a/../b", (b"/b", True)),
        (b"/a/%2E%2e/b", (b"/b", True)),
        (b"/a/.", (b"/a/", True)),
        (b"/a//../b", (b"/a/b", True)),
        (b"/a%2Fb/..", (b"/", True)),
        (b"/a/..;/b", (b"/a/..;/b", True)),
        (b"/..", (b"/", False)),
        (b"/a/../../b", (b"/b", False)),
    ],
)
def test_dot_segments(path, wanted):
    assert resolve(path) == wanted


def test_readings_are_looked_for_once():
    forms = PathForms(b"/a//b", b"/a//b", b"/a//b")
    assert forms.readings is forms.readings
    assert forms == PathForms(b"/a//b", b"/a//b", b"/a//b")
    assert "/a//b" in repr(forms)
