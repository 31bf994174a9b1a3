"""Session persistence and names of rules."""

import pytest

from meshd.config.route_parts import MAX_MATCHES, SessionCookie, SessionPersistence, rule_faults


@pytest.mark.parametrize(
    ("session", "places"),
    [
        ({"cookie": {}}, []),
        ({}, [("cookie",)]),
        ({"type": "Header", "header": {"name": "a"}}, []),
        ({"type": "Header", "cookie": {}}, [("cookie",), ("header",)]),
        ({"cookie": {"lifetimeType": "Permanent"}}, [("absoluteTimeout",)]),
        ({"cookie": {"lifetimeType": "Permanent"}, "absoluteTimeout": "1h"}, []),
        ({"sessionName": "a"}, []),
        ({"sessionName": "a", "type": "Header"}, []),
        ({"cookieConfig": {}}, []),
        ({"sessionName": "a", "cookieConfig": {"lifetimeType": "Permanent"}}, [("absoluteTimeout",)]),
        ({"sessionName": "a", "cookieConfig": {"lifetimeType": "Permanent"}, "absoluteTimeout": "1h"}, []),
        ({"sessionName": "a", "cookie": {}}, [("cookie",)]),
        ({"sessionName": "a", "type": "Header", "header": {"name": "b"}}, [("header",)]),
        ({"type": "Header", "cookieConfig": {}}, [("header",), ("cookieConfig",)]),
        ({"type": "Header", "sessionName": "a", "cookieConfig": {}}, [("cookieConfig",)]),
    ],
)
def test_session_persistence(session, places):
    assert [fault.at for fault in SessionPersistence.model_validate(session).faults()] == places


@pytest.mark.parametrize(
    ("path", "good"),
    [("", True), ("/", True), ("/a/b", True), ("a", False), ("/a; Secure", False), ("/a\r\nb: c", False)],
)
def test_paths_of_cookies(path, good):
    assert [fault.at for fault in SessionCookie(path=path).faults()] == ([] if good else [("path",)])


def test_names_of_rules_are_unique():
    assert [fault.at for fault in rule_faults(["a", None, "a", None, "b"], 0)] == [("rules", 2, "name")]


def test_matches_of_a_route_are_bounded():
    assert [*rule_faults([], MAX_MATCHES)] == []
    assert [fault.at for fault in rule_faults([], MAX_MATCHES + 1)] == [("rules",)]
