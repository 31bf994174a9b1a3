"""One connection to an endpoint: whole exchanges, and for every failure how sure it is that nothing was executed."""

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from support.fake_stream import FakeStream
from support.requests import request
from support.tls_pair import tls_pair

from meshd.core import flags
from meshd.core.errors import Resend, Side, StreamBroken, UpstreamError
from meshd.http.events import End
from meshd.upstream.http1 import Http1Connection

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


def make_connection(*incoming, uses=0, **given):
    connection = Http1Connection(FakeStream(*incoming, **given), born=5.0)
    connection.uses = uses
    return connection


def post(length=None):
    head = request(method="POST")
    head.length = length
    return head


async def read_all(connection):
    body = b""
    while not isinstance(piece := await connection.read_body(), End):
        body += piece
    return body, piece


async def read_response(connection):
    while (await connection.read_head()).status < 200:
        pass
    await read_all(connection)


async def test_head_and_first_octets_leave_in_one_write():
    connection = make_connection(OK)
    await connection.send_request(post(4), b"body", end=True)
    assert len(connection.stream.sent) == 1
    assert connection.stream.sent[0].endswith(b"content-length: 4\r\n\r\nbody")
    response = await connection.read_head()
    assert response.status == 200
    body, end = connection.take_ready()
    assert (body, end.trailers) == (b"ok", [])
    assert connection.reusable


@given(st.integers(1, len(OK)))
def test_a_response_is_the_same_however_it_arrives(step):
    async def exchange():
        pieces = [OK[at : at + step] for at in range(0, len(OK), step)]
        connection = make_connection(*pieces)
        await connection.send_request(request(), b"", end=True)
        assert (await connection.read_head()).status == 200
        assert (await read_all(connection))[0] == b"ok"
        assert connection.reusable

    trio.run(exchange)


@pytest.mark.parametrize(
    ("pieces", "acknowledged"),
    [((OK,), []), ((OK[:10], OK[10:]), [1]), ((OK[:-2], b"o", b"k"), [1, 2])],
)
async def test_what_came_is_acknowledged_when_the_rest_of_the_response_is_waited_for(pieces, acknowledged):
    """An app that writes head and body separately holds the body until its head is acknowledged."""
    connection = make_connection(*pieces)
    await connection.send_request(request(), b"", end=True)
    await read_response(connection)
    assert connection.stream.acknowledged == acknowledged
    assert connection.reusable


async def test_a_streamed_body_with_trailers():
    connection = make_connection(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\na: b\r\n\r\n")
    await connection.send_request(post(), b"one", end=False)
    await connection.send(b"two")
    assert not connection.reusable
    await connection.finish([(b"x", b"y")])
    assert b"".join(connection.stream.sent).endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\nx: y\r\n\r\n")
    await connection.read_head()
    body, end = await read_all(connection)
    assert (body, end.trailers) == (b"ok", [(b"a", b"b")])


async def test_the_end_of_a_counted_body_needs_no_octet():
    connection = make_connection(OK, fails_at=2)
    await connection.send_request(post(3), b"", end=False)
    await connection.send(b"abc")
    await connection.finish([])
    assert len(connection.stream.sent) == 2


async def test_interim_responses_come_first():
    connection = make_connection(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    await connection.send_request(post(1), b"x", end=True)
    assert [(await connection.read_head()).status for _ in range(2)] == [100, 200]


@pytest.mark.parametrize(
    "response",
    [
        OK + b"!",  # an octet too many
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
)
async def test_what_may_not_carry_another_says_so(response):
    connection = make_connection(response)
    await connection.send_request(request(), b"", end=True)
    await connection.read_head()
    connection.take_ready()
    assert not connection.reusable


async def test_a_response_before_the_request_is_whole_ends_the_connection():
    connection = make_connection(OK)
    await connection.send_request(post(9), b"x", end=False)
    await connection.read_head()
    connection.take_ready()
    assert not connection.reusable


async def test_a_second_exchange_starts_afresh():
    connection = make_connection(OK, b"")
    await connection.send_request(request(), b"", end=True)
    await connection.read_head()
    connection.take_ready()
    connection.uses += 1
    await connection.send_request(request(), b"", end=True)
    with pytest.raises(UpstreamError) as caught:
        await connection.read_head()
    assert caught.value.retry is Resend.REUSED  # and not "it had begun to answer"


async def test_octets_behind_a_switch_belong_to_the_new_protocol():
    head = request()
    head.upgrade = b"websocket"
    connection = make_connection(SWITCH + b"frames")
    await connection.send_request(head, b"", end=True)
    assert (await connection.read_head()).status == 101
    assert connection.leftover() == b"frames"
    assert not connection.reusable


# -- failing -----------------------------------------------------------------------------------------------------------


async def fail(connection, write):
    """The error of an exchange whose write number `write` breaks, or whose response never comes."""
    try:
        await connection.send_request(post(), b"one", end=False)
        await connection.send(b"two")
        await connection.finish([])
        while True:
            await connection.read_head()
    except UpstreamError as error:
        return error


@given(st.sampled_from([0, 1, 2, None]), st.booleans(), st.integers(0, 3))
def test_only_a_head_of_which_nothing_was_written_is_unsent(write, unsent, uses):
    connection = make_connection(fails_at=write, unsent=unsent, uses=uses)
    error = trio.run(fail, connection, write)
    if write == 0 and unsent:
        assert error.retry is Resend.UNSENT
        assert connection.stream.sent == []
    else:
        assert error.retry is (Resend.REUSED if uses else Resend.IF_SAFE)
    assert (error.status, error.flag, error.side) == (502, flags.CONNECTION_TERMINATION, Side.UPSTREAM)
    assert error.details.startswith("upstream_reset_before_response_started{")


async def test_the_end_of_a_body_that_could_not_be_written_passed_for_a_request_never_sent():
    connection = make_connection(fails_at=1, unsent=True)
    await connection.send_request(post(), b"all of it", end=False)
    with pytest.raises(UpstreamError) as caught:
        await connection.finish([(b"checksum", b"1")])
    assert caught.value.retry is Resend.IF_SAFE


@pytest.mark.parametrize("end", [b"", StreamBroken("connection reset")])
@pytest.mark.parametrize(
    ("received", "retry", "flag"),
    [
        (b"", Resend.REUSED, flags.CONNECTION_TERMINATION),
        (b"HTTP/1.1 100 Continue\r\n\r\n", Resend.IF_SAFE, None),
        (b"HTTP/1.1 200 OK\r\n", Resend.IF_SAFE, None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", Resend.IF_SAFE, None),
    ],
)
async def test_once_an_octet_came_back_only_a_safe_request_may_be_repeated(received, retry, flag, end):
    connection = make_connection(*([received] if received else []), end, uses=3)
    await connection.send_request(request(), b"", end=True)
    with pytest.raises(UpstreamError) as caught:
        await read_response(connection)
    expected = flag or (flags.UPSTREAM_PROTOCOL if end == b"" else flags.CONNECTION_TERMINATION)
    assert (caught.value.retry, caught.value.flag) == (retry, expected)
    if flag is None and end != b"":
        assert caught.value.details.startswith("upstream_reset_after_response_started{")


@pytest.mark.parametrize("nonsense", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"])
async def test_nonsense_is_the_endpoints_fault(nonsense):
    connection = make_connection(nonsense)
    await connection.send_request(request(), b"", end=True)
    with pytest.raises(UpstreamError) as caught:
        await connection.read_head()
    assert (caught.value.status, caught.value.flag) == (502, flags.UPSTREAM_PROTOCOL)
    assert caught.value.retry is Resend.IF_SAFE


async def test_an_alert_in_clear_passed_for_a_request_that_nobody_has_read():
    """A POST whose app wrote seven octets of TLS would have been sent again."""
    connection = make_connection(b"\x15\x03\x03\x00\x02\x02\x0a")
    await connection.send_request(request(method="POST"), b"", end=True)
    with pytest.raises(UpstreamError) as caught:
        await connection.read_head()
    assert (caught.value.proxy_error, caught.value.alert) == ("tls_alert_received", "unexpected_message")
    assert caught.value.retry is Resend.IF_SAFE
    assert connection.refusal is not None  # a dial that has failed, for whoever asks what becomes of the endpoint


async def test_nonsense_in_a_body_too():
    connection = make_connection(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
    await connection.send_request(request(), b"", end=True)
    await connection.read_head()
    with pytest.raises(UpstreamError, match="chunk"):
        connection.take_ready()


def test_what_the_pool_asks_is_what_the_stream_says():
    connection = make_connection()
    assert (connection.streams, connection.has_room(1)) == (1, False)
    assert (connection.born, connection.idle_since, connection.uses) == (5.0, 5.0, 0)
    assert (connection.is_stale(), connection.is_quiet()) == (False, False)
    connection.stream.stale = connection.stream.quiet = True
    assert (connection.is_stale(), connection.is_quiet()) == (True, True)
    assert repr(connection) == "<Http1Connection <FakeStream> used 0 times>"
    connection.abort("deadline")
    assert (connection.stream.fd, connection.stream.aborted) == (-1, "deadline")
    other = make_connection()
    other.close()
    assert other.stream.fd == -1


@pytest.mark.parametrize("whole", [True, False])
async def test_one_exchange_at_a_time_is_carried_by_the_connection_itself(whole):
    connection = make_connection(OK)
    assert connection.open() is connection
    await connection.send_request(request(), b"", end=True)
    await connection.read_head()
    assert not connection.done(whole=whole)  # the body has not been read
    connection.take_ready()
    assert connection.done(whole=whole) is whole


# -- an answer before the request is out -----------------------------------------------------------------------------


async def test_nothing_is_written_to_a_peer_that_has_ended_so_that_its_answer_can_be_read():
    """TLS reads nothing more once a write has failed, and this one would."""
    connection = make_connection(OK)
    await connection.send_request(post(8), b"body", end=False)
    connection.stream.gone = True
    with pytest.raises(UpstreamError, match="the peer closed the connection"):
        await connection.send(b"rest")
    assert len(connection.stream.sent) == 1
    assert (await connection.read_head()).status == 200


async def test_who_reads_goes_first_when_something_has_come():
    left, right = await tls_pair()
    connection = Http1Connection(left, born=5.0)
    await connection.send_request(post(8), b"body", end=False)
    heard = []

    async def read():
        heard.append((await connection.read_head()).status)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await right.send(OK)
        await connection.send(b"rest")
    assert heard == [200]
    right.close()
    left.close()
