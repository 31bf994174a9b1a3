"""A reply is a value: equal when it says the same, and never changed on the way."""

from dataclasses import FrozenInstanceError, replace

import pytest

from meshd.core.reply import Reply


def test_an_ordinary_answer_blames_nobody():
    reply = Reply(302, headers=((b"location", b"/"),))
    assert (reply.flag, reply.error, reply.details, reply.body, reply.grpc_status) == ("", None, "", b"", None)
    assert reply.content_type == b"text/plain"


def test_equal_when_it_says_the_same():
    denied = Reply(403, "AD", "rbac_access_denied_matched_policy[none]", "http_request_denied")
    assert denied == replace(denied)
    assert denied != replace(denied, status=401)
    assert len({denied, replace(denied)}) == 1


def test_nobody_edits_a_shared_reply():
    with pytest.raises(FrozenInstanceError):
        Reply(403).status = 200
