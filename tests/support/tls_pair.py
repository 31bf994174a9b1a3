"""Two ends of one TLS connection over a socket pair, with a throw-away certificate: for what is above the handshake."""

import datetime
import functools
import socket

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from meshd.net.stream import TlsStream
from meshd.net.tls import MODES


@functools.cache
def _material():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - datetime.timedelta(hours=1))
    return builder.not_valid_after(now + datetime.timedelta(hours=1)).sign(key, hashes.SHA256()), key


def _context() -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_mode(MODES)
    certificate, key = _material()
    context.use_certificate(certificate)
    context.use_privatekey(key)
    return context


async def _shake(connection: SSL.Connection, sock: socket.socket) -> None:
    while True:
        try:
            connection.do_handshake()
            return
        except SSL.WantReadError:
            await trio.lowlevel.wait_readable(sock)


async def tls_pair() -> tuple[TlsStream, TlsStream]:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    client, server = SSL.Connection(_context(), left), SSL.Connection(_context(), right)
    client.set_connect_state()
    server.set_accept_state()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_shake, client, left)
        nursery.start_soon(_shake, server, right)
    ends = TlsStream(left, client), TlsStream(right, server)
    assert not ends[0].is_stale()  # reads the session tickets: closing with unread octets would reset the connection
    return ends
