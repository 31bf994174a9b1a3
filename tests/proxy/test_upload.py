"""A request body on its way up: all of it, in order, to every attempt; and never the half of one that is too large."""

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from support.requests import exchange_of

from meshd.core import flags
from meshd.core.errors import DownstreamError, Resend, UpstreamError
from meshd.http.events import END, End
from meshd.http.owned import OwnedFields
from meshd.net import wait
from meshd.proxy.cut import Cut
from meshd.proxy.flight import Flight
from meshd.proxy.upload import Upload

LIMIT = 65536


class Client:
    """Sends these pieces: the first `ready` of them together with the head."""

    def __init__(self, pieces, ready=0):
        self.pieces = list(pieces)
        self.ready = ready

    def body_nowait(self):
        if not self.ready:
            return None
        self.ready -= 1
        return self.pieces.pop(0)

    async def read_body(self):
        await trio.lowlevel.checkpoint()
        if not self.pieces:
            raise DownstreamError(0, flags.DOWNSTREAM_GONE, "left")
        return self.pieces.pop(0)


class Carrier:
    """Takes so many pieces, then breaks."""

    def __init__(self, breaks_after=1 << 30):
        self.left = breaks_after
        self.received = b""
        self.whole = False

    async def send(self, data):
        await trio.lowlevel.checkpoint()
        self.left -= 1
        if self.left < 0:
            raise UpstreamError(502, flags.CONNECTION_TERMINATION, "reset", retry=Resend.IF_SAFE)
        self.received += data

    async def finish(self, trailers):
        self.whole = True


class Watched(Flight):
    """Counts how often its idle clock starts again."""

    def touch(self, now):
        self.touched += 1


def make_upload(pieces, ready=0, limit=LIMIT):
    upload = Upload(Flight(exchange_of(method="POST"), Client(pieces, ready)), limit, OwnedFields())
    upload.take_ready()
    return upload


async def attempt(upload, carrier):
    """One try: the prefix with the head, then whatever comes."""
    prefix, whole = upload.prefix()
    carrier.received += prefix
    carrier.whole = whole
    if not whole:
        await upload.attach(carrier)
    await trio.testing.wait_all_tasks_blocked()


@given(
    st.lists(st.integers(1, 9), max_size=8), st.integers(0, 9), st.integers(0, 9), st.integers(0, 30), st.integers(0, 9)
)
def test_every_attempt_gets_all_of_it_or_there_is_no_other(sizes, ready, breaks_after, limit, seed):
    pieces = [bytes([65 + (seed + number) % 26]) * size for number, size in enumerate(sizes)]
    body = b"".join(pieces)

    async def run():
        upload = make_upload([*pieces, END], min(ready, len(pieces) + 1), limit)
        first, second = Carrier(breaks_after), Carrier()
        await attempt(upload, first)
        assert body.startswith(first.received)
        assert not first.whole or first.received == body
        if not first.whole:
            assert first.left < 0
            upload.detach()
        if upload.replayable:
            await attempt(upload, second)
            assert (second.received, second.whole) == (body, True)
        else:
            assert upload.size > limit
            with pytest.raises(AssertionError, match="not kept"):
                upload.prefix()
        upload._flight.exchange.ended = 1.0
        upload.release()
        await trio.testing.wait_all_tasks_blocked()
        assert upload.ended.is_set() or upload.end is not None  # no task waits for an attempt that never comes

    trio.run(wait.background.run, run)


@pytest.mark.parametrize(("size", "replayable"), [(LIMIT, True), (LIMIT + 1, False)])
async def test_64_kib_are_kept_and_not_an_octet_more(size, replayable):
    async def run():
        upload = make_upload([b"x" * (size - 10), b"y" * 10, END])
        carrier = Carrier()
        await attempt(upload, carrier)
        assert (len(carrier.received), carrier.whole) == (size, True)
        assert upload.replayable is replayable
        assert upload.size == upload._flight.exchange.bytes_received == size

    await wait.background.run(run)


async def test_a_body_that_came_with_the_head_needs_no_task():
    upload = make_upload([b"one", b"two", END], ready=3)
    assert upload.prefix() == (b"onetwo", True)
    assert repr(upload) == "<Upload 6 octets, whole, kept>"


async def test_a_client_that_leaves_ends_the_exchange():
    async def run():
        upload = make_upload([b"one"])
        await attempt(upload, Carrier())
        assert upload._flight.cause is Cut.GONE
        assert upload.failure.flag == flags.DOWNSTREAM_GONE
        assert upload.ended.is_set()

    await wait.background.run(run)


async def test_the_rest_of_a_body_never_reached_the_second_attempt():
    """The task had met the broken connection itself and was waiting for the next, when the attempt was ended too."""

    async def run():
        upload = make_upload([b"one", b"two", END])
        await attempt(upload, Carrier(breaks_after=0))
        upload.detach()
        second = Carrier()
        await attempt(upload, second)
        assert (second.received, second.whole) == (b"onetwo", True)
        assert upload.ended.is_set()

    await wait.background.run(run)


@given(st.sampled_from([b"x-user", b"x_user", b"x-forwarded-for", b"x_forwarded_for", b"x-kind", b"x_kind", b"x_sum"]))
def test_a_trailer_passed_for_a_field_that_policies_write(name):
    """An app that merges trailers into the head took what a client said there for what we had said."""
    exchange = exchange_of(method="POST", headers=[("x-kind", "checked")])
    upload = Upload(Flight(exchange, Client([End([(name, b"forged")])], 1)), LIMIT, OwnedFields(["x-user"]))
    upload.take_ready()
    assert upload.end.trailers == ([(name, b"forged")] if name == b"x_sum" else [])


@pytest.mark.parametrize(
    ("length", "piece", "touches"),
    [(None, 1, 40), (40, 1, 1), (40 * 512, 512, 20), (40 * 1024, 1024, 40), (40 * 4096, 4096, 40)],
)
async def test_an_octet_now_and_then_is_no_progress_of_a_body_whose_length_is_known(length, piece, touches):
    flight = Watched(exchange_of(method="POST"), Client([b"x" * piece for _ in range(40)] + [END]))
    flight.touched = 0
    flight.exchange.head.length = length
    upload = Upload(flight, LIMIT, OwnedFields())

    async def run():
        await attempt(upload, Carrier())
        await upload.ended.wait()

    await wait.background.run(run)
    assert touches <= flight.touched <= touches + 1  # its end is progress in any case
