"""Upstream connections without sockets, and a dialler that does as told: for pools and clusters."""

import trio

from meshd.core import flags
from meshd.core.errors import Resend, UpstreamError


class FakeConnection:
    """What a pool needs of a connection. The peer ends it by `dead`; the event loop has heard of it unless `quiet`."""

    def __init__(self, born=0.0, streams=1):
        self.born = self.idle_since = born
        self.uses = 0
        self.streams = streams
        self.room = streams > 1
        self.granted = streams  # of those, by its peer
        self.refusal = None
        self.dead = False
        self.quiet = False
        self.closed = False
        self.asked = 0  # how often the kernel was asked

    def has_room(self, leases):
        return self.room and leases < self.granted

    def is_stale(self):
        assert not self.closed, "a closed connection is still looked at"
        self.asked += 1
        return self.dead

    def is_gone(self):
        return self.dead

    def is_quiet(self):
        return self.quiet

    def close(self):
        assert not self.closed, "closed twice"
        self.closed = True

    def __repr__(self):
        return f"<FakeConnection {self.born} {'closed' if self.closed else 'dead' if self.dead else 'live'}>"


class Dial:
    """One dial under way, to be ended by a test."""

    def __init__(self):
        self.event = trio.Event()
        self.error = None

    def succeed(self):
        self.event.set()

    def fail(self, error=None):
        self.error = error or refused()
        self.event.set()


class FakeDialler:
    """Called like a connector's `connect`. Dials succeed at once, fail at once while there are `errors` left, or with
    `by_hand` wait in `under_way` for what the test decides."""

    def __init__(self, *, by_hand=False, streams=1, seconds=0.0, granted=0):
        self.by_hand = by_hand
        self.streams = streams
        self.granted = granted or streams
        self.seconds = seconds  # that each dial takes
        self.errors = []
        self.under_way = []
        self.made = []
        self.begun = 0
        self.most = 0  # dials under way together

    async def __call__(self, endpoint=None):
        dial = Dial()
        self.begun += 1
        self.under_way.append(dial)
        self.most = max(self.most, len(self.under_way))
        try:
            if self.seconds:
                await trio.sleep(self.seconds)
            if self.by_hand:
                await dial.event.wait()
        finally:
            self.under_way.remove(dial)
        error = dial.error or (self.errors.pop(0) if self.errors else None)
        if error is not None:
            raise error
        connection = FakeConnection(trio.current_time(), self.streams)
        connection.granted = self.granted
        self.made.append(connection)
        return connection

    @property
    def open(self):
        """What was made and is not closed."""
        return [connection for connection in self.made if not connection.closed]


def refused():
    """What a dial to a closed port ends with."""
    return UpstreamError(502, flags.CONNECTION_FAILURE, "connection refused", retry=Resend.UNSENT)
