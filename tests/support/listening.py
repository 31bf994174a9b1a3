"""Sockets that listen on addresses of loopback, and some that answer nobody."""

import socket


def listening(address="127.0.0.1", port=0, backlog=8):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen(backlog)
    return sock


def full(address, port):
    """A listener that answers nobody any more: its queue is full, so the system drops what else comes."""
    listener = listening(address, port, backlog=0)
    callers = []
    for _ in range(3):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex((address, port))
        callers.append(sock)
    return [listener, *callers]


def close(socks):
    for sock in socks:
        sock.close()
