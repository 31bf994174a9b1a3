"""The forms of a request target, the grammar of an authority, the normal form of a path beside what came."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshd.core.errors import ProtocolError
from meshd.core.head import RequestHead
from meshd.http.target import authority, normalise, read_target

PIECES = [
    "/",
    "//",
    ".",
    "..",
    "a",
    "B7",
    "~",
    "%41",
    "%7e",
    "%2E",
    "%2e%2e",
    "%20",
    "%25",
    "%252e",
    ";v=1",
    "%3b",
    "@",
]
paths = st.lists(st.sampled_from(PIECES), max_size=8).map(lambda parts: ("/" + "".join(parts)).encode())


def read(target, host=b"a.test", method=b"GET"):
    head = RequestHead(method, b"", b"")
    read_target(head, target, host)
    return head


def segments_by_the_book(path):
    """RFC 3986 section 5.2.4 over single octets that need no escape."""
    kept = []
    for segment in path.split(b"/"):
        if segment == b"..":
            kept.pop()
        elif segment not in (b"", b"."):
            kept.append(segment)
    return kept


@given(paths)
@example(b"/.")
@example(b"/a/..")
@example(b"//")
@example(b"/a/%2e%2e/b/")
def test_a_normal_form_is_its_own_normal_form(path):
    try:
        normal = normalise(path)
    except ProtocolError:
        return
    assert normal.startswith(b"/")
    assert normalise(normal) == normal
    assert read(normal).path == normal  # by the short way too
    assert b"//" not in normal
    assert not {b".", b".."} & set(normal.split(b"/"))


@given(paths, st.sampled_from([None, b"", b"q=%2e%2e//", b"a?b"]))
def test_a_target_goes_on_as_it_came_and_is_matched_in_its_normal_form(path, query):
    target = path if query is None else path + b"?" + query
    try:
        head = read(target)
    except ProtocolError:
        return
    assert head.target == target
    assert (head.path, head.query, head.received_path) == (normalise(path), query, path)
    assert (head.forms is None) <= (head.readings == (path,))


@given(st.lists(st.sampled_from([b"a", b"b.c", b".", b"..", b""]), max_size=8))
def test_dot_segments_go_as_the_standard_says(segments):
    path = b"/" + b"/".join(segments)
    try:
        wanted = segments_by_the_book(path)
    except IndexError:
        with pytest.raises(ProtocolError, match="above the root"):
            normalise(path)
        return
    assert [segment for segment in normalise(path).split(b"/") if segment] == wanted


@given(st.binary(max_size=40))
def test_any_target_gives_a_head_or_a_refusal(target):
    try:
        head = read(target)
    except ProtocolError:
        return
    assert head.path.startswith(b"/")
    assert not set(head.target) - set(range(0x21, 0x7F))
    assert b"#" not in head.target


def test_a_long_segment_before_a_bad_octet_took_time_without_end():
    assert read(b"/" + b"a" * 8000 + b"%41").path == b"/" + b"a" * 8000 + b"A"
    assert read(b"/" + b"a" * 8000 + b"\\").path == b"/" + b"a" * 8000 + b"%5C"
    with pytest.raises(ProtocolError):
        read(b"/" + b"a" * 8000 + b"\x7f")


@pytest.mark.parametrize(
    "path",
    [
        b"/a%00",
        b"/%u0061dmin",
        b"/..;/admin",
        b"/.;x/a",
        b"/..",
        b"/a/%2e%2e/..",
        b"/a#b",
        b"/a b",
        b"/a\x7f",
        b"/\xc3\xa4",
    ],
)
def test_a_path_without_a_safe_form_is_refused(path):
    with pytest.raises(ProtocolError, match="path_normalization_failed"):
        read(path)


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        (b"/a%2fb", b"/a%2Fb"),
        (b"/a%5Cb", b"/a%5Cb"),
        (b"/a\\b", b"/a%5Cb"),
        (b"/%", b"/%"),
        (b"/%4", b"/%4"),
        (b"/%zz", b"/%zz"),
        (b'/"', b"/%22"),
        (b"/items[0]|{x}^`<>", b"/items%5B0%5D%7C%7Bx%7D%5E%60%3C%3E"),
        (b"/wiki/Topic://Sub", b"/wiki/Topic:/Sub"),
    ],
)
def test_a_path_that_apps_have_and_proxies_dislike_was_refused_or_rewritten(path, normal):
    """GitLab, npm, RabbitMQ, object stores and the URL standard of browsers name things so."""
    head = read(path)
    assert (head.target, head.path) == (path, normal)


@pytest.mark.parametrize("query", [b"a#b", b"a b", b"\x00", b"\xff"])
def test_a_query_of_other_octets_is_refused(query):
    with pytest.raises(ProtocolError, match="malformed_query"):
        read(b"/?" + query)


def test_the_absolute_form_overrules_the_host_field():
    head = read(b"HTTPS://B.Test:8443?q", host=b"a.test")
    assert (head.scheme, head.authority, head.target) == (b"https", b"b.test:8443", b"/?q")


@pytest.mark.parametrize("target", [b"ftp://a/", b"http:/a", b"a.test:80", b"", b"*", b"http://u@a/", b"http:///x"])
def test_other_forms_are_refused(target):
    with pytest.raises(ProtocolError):
        read(target)


def test_the_asterisk_is_for_options():
    assert read(b"*", method=b"OPTIONS").target == b"*"


def test_connect_names_a_port_and_has_no_path():
    head = read(b"A.test:443", method=b"CONNECT")
    assert (head.authority, head.path) == (b"a.test:443", b"")
    assert read(b"[::1]:443", method=b"CONNECT").authority == b"[::1]:443"


@pytest.mark.parametrize("target", [b"a.test", b"a.test:", b"[::1]", b"[::1]:", b":443", b"/", b"http://a:1/"])
def test_connect_to_nothing_in_particular_is_refused(target):
    with pytest.raises(ProtocolError):
        read(target, method=b"CONNECT")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [(b"A.Test", b"a.test"), (b"a:80", b"a:80"), (b"a:", b"a"), (b"[::1]", b"[::1]"), (b"[FE80::1]:0", b"[fe80::1]:0")],
)
def test_authorities(text, wanted):
    assert authority(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b":80",
        b"a:65536",
        b"a:x",
        b"a:-1",
        b"a:1:2",
        b"a b",
        b"u@a",
        b"a/b",
        b"[::1",
        b"[::1]x",
        b"[::1]:x",
        b"[a]",
        b"[fe80::1%25eth0]",
        b"[\xff]",
        b"\xe4",
        b"a" * 256,
        b"a\x00",
        b"a,b:80:",
    ],
)
def test_no_authorities(text):
    with pytest.raises(ProtocolError, match="invalid_host"):
        authority(text)


@given(st.binary(max_size=20) | st.text("aA1.-[]:%", max_size=12).map(str.encode))
def test_an_authority_is_its_own_normal_form(text):
    try:
        named = authority(text)
    except ProtocolError:
        return
    assert authority(named) == named == named.lower()


def test_names_heard_are_remembered_within_a_bound():
    from meshd.http import target

    for number in range(2000):
        authority(b"host-%d.test" % number)
    assert len(target._KNOWN) <= 1024
    assert authority(b"Late.test") == b"late.test"
