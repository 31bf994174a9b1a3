"""Facts of a connection and of a call in the conventions' words; `test_spans.py` shows them in their spans."""

import pytest
from support.conventions import wrong
from support.exchanges import SESSION, make_call, make_exchange, make_record

from meshd.telemetry.span_facts import method_of, rpc_of, split_host, tls_of, told


def test_what_has_no_value_is_not_told():
    assert told({"a": "", "b": None, "c": 0, "d": "x", "e": 1}) == {"d": "x", "e": 1}


@pytest.mark.parametrize("side", ["client", "server"])
def test_the_handshake_is_told_of_the_side_that_proved_something(side):
    found = tls_of(SESSION, side)
    assert not wrong(found)
    assert found[f"tls.{side}.issuer"] == "CN=ca"
    assert f"tls.{side}.subject" not in found  # this leaf has none
    assert found["meshd.peer"] == SESSION[5]


def test_a_handshake_without_a_certificate_tells_of_none():
    anonymous = (*SESSION[:5], "", "", "", "", 0.0, 0.0)
    found = tls_of(anonymous, "server")
    assert (found["tls.protocol.version"], found["tls.established"]) == ("1.3", True)
    assert not any("server" in name or name == "meshd.peer" for name in found)


def test_no_tls_is_nothing():
    assert tls_of(None, "client") == {}


def test_methods_are_few():
    assert method_of(make_record()) == {"http.request.method": "GET"}
    assert method_of(make_record(make_exchange(method=b"BREW")))["http.request.method"] == "_OTHER"


@pytest.mark.parametrize(("path", "name"), [(b"/a.B/C", "a.B/C"), (b"/x", None), (b"*", None)])
def test_a_call_has_the_method_that_its_path_names(path, name):
    assert rpc_of(make_record(make_call(path=path))).get("rpc.method") == name


@pytest.mark.parametrize(
    ("authority", "scheme", "wanted"),
    [
        ("a", "http", ("a", 80)),
        ("a", "https", ("a", 443)),
        ("a", "", ("a", None)),
        ("u:p@a:8080", "http", ("a", 8080)),
        ("[::1]:9", "http", ("::1", 9)),
        ("a:" + "9" * 5000, "http", ("a:" + "9" * 5000, None)),
    ],
)
def test_host_and_port(authority, scheme, wanted):
    assert split_host(authority, scheme) == wanted
