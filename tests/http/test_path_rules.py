"""What goes on of a path, and what is judged, by each rule that a listener may have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.path_readings import PIECES

from meshd.core.errors import ProtocolError
from meshd.core.head import RequestHead
from meshd.core.path_forms import written
from meshd.http.path_rules import AS_THEY_COME, PathRules
from meshd.http.target import ABOVE_THE_ROOT, read_path

PATHS = st.lists(st.sampled_from(PIECES), max_size=6).map(lambda parts: b"/" + b"".join(parts))
ISTIO = ("BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES")


def settle(path, rules=AS_THEY_COME):
    """The head as it goes on, or None and why it does not."""
    head = RequestHead(b"GET", b"", b"a.test")
    read_path(head, path)
    fault = rules.apply(head)
    return (None if fault else head), fault


@given(PATHS, st.booleans())
def test_a_path_goes_on_byte_for_byte(path, inbound):
    try:
        head, fault = settle(path, PathRules(inbound=inbound))
    except ProtocolError:
        return
    assert not fault
    segments = {each.replace(b"%2e", b".").replace(b"%2E", b".") for each in path.split(b"/")}
    if not inbound or not segments & {b".", b".."}:
        assert head.forwarded_path == path
    assert head.received_path == path
    if head.readings:
        assert written(head.forwarded_path) in head.readings


@pytest.mark.parametrize(
    ("path", "inbound", "outbound"),
    [
        (b"/a/../b", b"/b", b"/a/../b"),
        (b"/a/%2e%2E/b%2F%61", b"/b%2F%61", b"/a/%2e%2E/b%2F%61"),
        (b"/wiki/Topic://Sub", b"/wiki/Topic://Sub", b"/wiki/Topic://Sub"),
        (b'/items[0]|{x}^`"<>', b'/items[0]|{x}^`"<>', b'/items[0]|{x}^`"<>'),
        (b"/group%2Fproject", b"/group%2Fproject", b"/group%2Fproject"),
        (b"/share/a\\b%5Cc", b"/share/a\\b%5Cc", b"/share/a\\b%5Cc"),
        (b"/100%", b"/100%", b"/100%"),
    ],
)
def test_only_toward_the_app_are_dot_segments_resolved(path, inbound, outbound):
    assert settle(path, PathRules(inbound=True))[0].target == inbound
    assert settle(path)[0].target == outbound


@pytest.mark.parametrize(
    ("normalization", "forwarded"),
    [
        ("NONE", b"/a//./b%2F%2e%2e\\c"),
        ("BASE", b"/a//b%2F../c"),
        ("MERGE_SLASHES", b"/a/b%2F../c"),
        ("DECODE_AND_MERGE_SLASHES", b"/a/c"),
    ],
)
def test_what_is_normalized_goes_on_and_is_judged(normalization, forwarded):
    head, _ = settle(b"/a//./b%2F%2e%2e\\c", PathRules(normalization, inbound=True))
    assert head.forwarded_path == forwarded
    assert head.readings[0] == written(forwarded)
    assert head.received_path == b"/a//./b%2F%2e%2e\\c"


@given(PATHS, st.sampled_from(ISTIO))
def test_a_normalized_path_is_normalized_by_once(path, normalization):
    try:
        head, fault = settle(path, PathRules(normalization))
        if fault:
            return
        again, fault = settle(head.forwarded_path, PathRules(normalization))
    except ProtocolError:
        return
    if normalization != "DECODE_AND_MERGE_SLASHES" or b"%25" not in path:
        assert (again.forwarded_path, again.path) == (head.forwarded_path, head.path)


@pytest.mark.parametrize("path", [b"/a%2fb", b"/a%5Cb", b"/a\\b", b"/%", b"/%zz", b'/"', b"/a[0]", b"/a|b", b"/{a}"])
def test_strict_paths_are_read_in_one_way_or_refused(path):
    assert settle(path)[0] is not None
    assert settle(path, PathRules(strict=True))[1].startswith("path_normalization_failed: ")


def test_strict_paths_go_on_in_their_normal_form():
    head, _ = settle(b"/x//%61/./b/../c;v=1", PathRules(strict=True))
    assert (head.forwarded_path, head.path) == (b"/x/a/c;v=1", b"/x/a/c;v=1")


def test_a_path_that_leaves_the_root_when_slashes_are_decoded_is_refused():
    assert settle(b"/%2F..%2F..", PathRules("DECODE_AND_MERGE_SLASHES"))[1] == ABOVE_THE_ROOT
    assert settle(b"/%2F..%2F..", PathRules("BASE"))[0] is not None


def test_a_plain_path_has_nothing_to_settle():
    head, fault = settle(b"/a/b.c", PathRules("MERGE_SLASHES"))
    assert (head.forms, head.readings, fault) == (None, (b"/a/b.c",), "")
    assert [str(PathRules("BASE")), str(PathRules(strict=True))] == ["BASE", "strict"]
