"""A stream of HTTP/2 as bare octets: its own end both ways, and no harm to its siblings."""

import pytest
from support.background import settled
from support.http2 import LIBRARIES, data, frames, headers
from support.lanes import OK, begin, linked, said

from meshd.core.errors import StreamBroken
from meshd.http.h2_frames import Kind
from meshd.upstream.lane_stream import LaneStream

libraries = pytest.mark.parametrize("library", LIBRARIES, ids=repr)


@libraries
async def test_as_a_stream_it_has_its_own_end_both_ways(library):
    async with linked(library) as (link, stream, _):
        bare = LaneStream(lane := begin(link))
        stream.say(headers(1, OK) + data(1, b"in"))
        await lane.next()
        await bare.send(memoryview(b"out"))
        assert await bare.receive() == b"in"
        await bare.send_eof()
        await settled()
        assert [payload for kind, _, _, payload in frames(stream.take_written()) if kind == Kind.DATA] == [b"out", b""]
        assert not bare.is_gone()
        assert not bare.has_news()
        assert not bare.has_left()
        stream.say(data(1, b"", end=True))
        assert await bare.receive() == b""


@libraries
@pytest.mark.parametrize("how", [LaneStream.abort, LaneStream.interrupt], ids=["abort", "interrupt"])
async def test_a_stream_that_is_given_up_leaves_the_connection_alone(library, how):
    async with linked(library) as (link, stream, _):
        bare, other = LaneStream(begin(link)), begin(link)
        how(bare, "the other side broke")
        assert bare.is_gone()
        assert bare.has_news()
        assert bare.has_left()
        with pytest.raises(StreamBroken, match="the other side broke"):
            await bare.receive()
        with pytest.raises(StreamBroken):
            await bare.send(b"x")
        await settled()
        assert said(stream, Kind.RST_STREAM) == [(1, b"\0\0\0\x08")]
        assert other.broken is None
        bare.close()
        assert (bare.is_stale(), bare.is_quiet()) == (True, False)  # nobody keeps it
        assert repr(bare) == "<LaneStream <Lane 1 broken>>"
