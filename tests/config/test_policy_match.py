"""What a policy of requests attaches to and matches."""

import pytest

from meshd.config.policy_match import Attachment, PolicyMatch


@pytest.mark.parametrize(
    ("written", "places"),
    [
        ({}, []),
        ({"selector": {}}, []),
        ({"selector": {}, "targetRefs": [{"name": "a"}]}, [("targetRefs",)]),
        ({"targetRefs": [{"name": "a"}, {"name": "a"}]}, [("targetRefs", 1)]),
    ],
)
def test_one_way_to_attach(written, places):
    assert [fault.at for fault in Attachment.model_validate(written).faults()] == places


def test_headers_are_matched_once():
    twice = [{"name": "a", "value": "b"}, {"name": "a", "value": "c"}]
    assert [fault.at for fault in PolicyMatch.model_validate({"headers": twice}).faults()] == [("headers", 1, "name")]
