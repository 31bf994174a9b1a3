"""A stream without a socket: what it receives is written down beforehand, what is sent is kept."""

from meshd.core.errors import StreamBroken


class FakeStream:
    """`incoming` is received piece by piece: bytes, b"" for the peer's end, or an exception. Past its end the stream
    is broken. Send number `fails_at` (from 0) raises; `unsent` says whether before its first octet."""

    def __init__(self, *incoming, fails_at=None, unsent=False):
        self.incoming = list(incoming)
        self.fails_at = fails_at
        self.unsent = unsent
        self.sent = []
        self.read = 0
        self.fd = 3
        self.quick_ack = False
        self.alert = ""
        self.stale = self.quiet = self.gone = False
        self.aborted = ""
        self.acknowledged = []  # after how many reads

    def acknowledge(self):
        self.acknowledged.append(self.read)

    async def receive(self):
        piece = self.incoming.pop(0) if self.incoming else StreamBroken("connection reset")
        if isinstance(piece, Exception):
            raise piece
        self.read += 1
        return piece

    async def send(self, data):
        if self.fails_at == len(self.sent):
            raise StreamBroken("broken pipe", unsent=self.unsent)
        self.sent.append(bytes(data))

    def is_gone(self):
        return self.gone

    def has_news(self):
        return self.gone

    def is_stale(self):
        return self.stale

    def is_quiet(self):
        return self.quiet

    def close(self):
        self.fd = -1

    def abort(self, reason):
        self.aborted = reason
        self.close()

    def __repr__(self):
        return "<FakeStream>"
