"""One stream of a connection: whoever waits on it hears of its end, whichever way it ends."""

import pytest
import trio
import trio.testing

from meshd.core.errors import StreamBroken
from meshd.upstream.lane import Lane


class FullSession:
    """A connection's session that takes no octet until its stream is given up."""

    client = False

    def __init__(self):
        self.resets = []

    def send_data(self, stream, data, *, end):
        if self.resets:
            raise StreamBroken("the stream is over")
        return 0

    def reset(self, stream, code):
        self.resets.append(stream)


class Link:
    """The connection, as a lane sees it."""

    is_full = False

    def __init__(self):
        self.session = FullSession()
        self.starving = set()

    def sent(self, octets):
        pass

    def forget(self, lane):
        pass

    def open_gate(self):
        pass


@pytest.mark.parametrize("wait", [lambda lane: lane.next(), lambda lane: lane.send(b"x")])
async def test_an_upload_that_was_answered_early_waits_no_more(autojump_clock, wait):
    """Such a task was never woken, and so never forgotten: some 5 KB for each request that was answered before its
    body had ended."""
    lane, woken = Lane(Link(), 1), []

    async def upload():
        with pytest.raises(StreamBroken):
            await wait(lane)
        woken.append(lane.id)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload)
            await trio.testing.wait_all_tasks_blocked()
            assert woken == []
            lane.leave()
    assert woken == [1]
    assert (lane.link.session.resets, lane.link.starving) == ([1], set())
