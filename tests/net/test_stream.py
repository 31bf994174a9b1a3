"""Streams over real socket pairs, plain and TLS: the same promises."""

import os
import socket

import pytest
import trio
from support.tls_pair import tls_pair

from meshd.core.errors import StreamBroken
from meshd.net.stream import CHUNK, PlainStream, Stream, TlsStream


def plain_pair() -> tuple[PlainStream, PlainStream]:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    return PlainStream(left), PlainStream(right)


async def make_pair(kind: str) -> tuple[Stream, Stream]:
    return plain_pair() if kind == "plain" else await tls_pair()


both = pytest.mark.parametrize("kind", ["plain", "tls"])


@both
async def test_what_is_sent_arrives(kind):
    left, right = await make_pair(kind)
    await left.send(b"hello")
    assert await right.receive() == b"hello"
    left.close()
    assert await right.receive() == b""
    right.close()


@both
async def test_large_transfers_are_whole_and_bounded_by_the_reader(kind):
    left, right = await make_pair(kind)
    payload = os.urandom(1 << 20)
    got = bytearray()

    async def write():
        await left.send(payload)
        await left.send_eof()
        left.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        while data := await right.receive():
            assert len(data) <= CHUNK
            got += data
    assert bytes(got) == payload
    right.close()


@both
async def test_an_end_of_one_direction_leaves_the_other_open(kind):
    left, right = await make_pair(kind)
    await left.send_eof()
    assert await right.receive() == b""
    await right.send(b"still here")
    assert await left.receive() == b"still here"
    left.close()
    right.close()


@both
async def test_abort_wakes_the_reader_with_its_reason(kind):
    left, right = await make_pair(kind)
    caught = []

    async def read():
        try:
            await left.receive()
        except StreamBroken as error:
            caught.append(str(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        left.abort("overdue")
    assert caught == ["overdue"]
    right.close()


@both
async def test_abort_wakes_a_writer_the_peer_does_not_read(kind):
    left, right = await make_pair(kind)
    caught = []

    async def write():
        try:
            await left.send(bytes(1 << 24))
        except StreamBroken as error:
            caught.append(str(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        left.abort("stalled")
    assert caught == ["stalled"]
    right.close()


@both
async def test_interrupt_wakes_but_leaves_the_stream_usable(kind):
    left, right = await make_pair(kind)
    caught = []

    async def read():
        try:
            await left.receive()
        except StreamBroken as error:
            caught.append(str(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        left.interrupt("too slow")
    assert caught == ["too slow"]
    await left.send(b"last word")
    assert await right.receive() == b"last word"
    left.close()
    right.close()


@both
async def test_after_closing_every_use_says_broken(kind):
    left, right = await make_pair(kind)
    left.close()
    left.close()
    left.abort("again")
    with pytest.raises(StreamBroken):
        await left.receive()
    with pytest.raises(StreamBroken) as caught:
        await left.send(b"x")
    assert caught.value.unsent
    right.close()


@both
async def test_an_idle_stream_is_stale_once_the_peer_closed_or_spoke(kind):
    left, right = await make_pair(kind)
    assert not left.is_stale()
    assert not left.is_gone()
    await right.send(b"unasked")
    assert left.is_stale()
    left.close()
    right.close()
    left, right = await make_pair(kind)
    right.close()
    assert left.is_stale()
    assert left.is_gone()
    left.close()


@both
async def test_a_peer_that_ended_its_own_direction_has_not_left(kind):
    left, right = await make_pair(kind)
    assert not left.has_left()
    assert not left.has_news()
    await right.send_eof()
    right.sock.shutdown(socket.SHUT_WR)
    assert left.is_gone()
    assert left.has_news()
    assert not left.has_left()
    assert await left.receive() == b""
    assert not left.has_left()
    await left.send(b"answer")
    assert await right.receive() == b"answer"
    right.close()
    assert left.has_left()
    left.close()
    assert left.has_left()


async def test_octets_that_wait_in_front_of_the_end_are_looked_at_first():
    left, right = await tls_pair()
    await right.send(b"one more")
    right.sock.shutdown(socket.SHUT_WR)
    assert not left.has_left()
    assert await left.receive() == b"one more"
    assert left.has_left()  # nothing says that this was all: it broke off
    left.close()
    right.close()


async def test_a_tls_stream_cut_without_close_notify_is_broken_not_ended():
    left, right = await tls_pair()
    right.abort("cut")
    with pytest.raises(StreamBroken, match="close_notify"):
        await left.receive()
    assert isinstance(left, TlsStream)
    left.close()


async def test_a_reset_is_told_as_one():
    left, right = plain_tcp_pair()
    left.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    left.close()
    with pytest.raises(StreamBroken, match=r"[Rr]eset"):
        await right.receive()
    right.close()


def plain_tcp_pair() -> tuple[PlainStream, PlainStream]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = socket.create_connection(listener.getsockname())
        right, _ = listener.accept()
    left.setblocking(False)
    right.setblocking(False)
    return PlainStream(left), PlainStream(right)


async def test_a_unix_socket_has_nothing_to_acknowledge():
    left, right = plain_pair()
    left.quick_ack = True
    left.acknowledge()
    await right.send(b"on")
    assert await left.receive() == b"on"
    left.close()
    left.acknowledge()  # nor has one that is closed
    right.close()
