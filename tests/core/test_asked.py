"""What policies ask of the forwarder: nothing, until one does."""

from meshd.core.asked import Asked


def test_bodies_have_no_limit_until_a_policy_sets_one():
    asked = Asked()
    assert (asked.max_request, asked.max_response) == (float("inf"), float("inf"))
    asked.max_request = 1024
    assert repr(asked) == "<Asked bodies of at most 1024 and inf octets>"
