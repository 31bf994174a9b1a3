"""What the kernel knows of the other end of a connection: that it has reset, has closed, or has only ended its own
direction.

Theory of operation: the last two look the same on the wire, a FIN (RFC 9293 section 3.6); who has closed answers the
first octet it gets with RST, and nothing sooner. But where the peer is on this machine the kernel knows its socket too:
sock_diag(7) tells the inode of its file, and a socket that no process holds any more has none. A peer elsewhere is
found out by writing to it, or by keep-alive probes once its kernel has forgotten it (about a minute).
"""

import errno
import ipaddress
import os
import select
import socket
import struct
from typing import Final

SOCK_DIAG: Final = 4  # NETLINK_SOCK_DIAG
BY_FAMILY: Final = 20  # SOCK_DIAG_BY_FAMILY
REQUEST: Final = 1  # NLM_F_REQUEST
ERROR: Final = 2  # NLMSG_ERROR
HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
QUESTION: Final = struct.Struct("=BBBBI")  # inet_diag_req_v2 up to the addresses: family, protocol, extensions, states
NO_COOKIE: Final = b"\0" * 4 + b"\xff" * 8  # any interface, and no particular life of the socket
INODE: Final = HEADER.size + 68  # where inet_diag_msg has it


def has_hung_up(fd: int) -> bool:
    """Whether the other end sent FIN or RST."""
    return bool(look(fd, select.POLLRDHUP))


def look(fd: int, mask: int) -> int:
    """What of `mask` holds for a descriptor, errors and hang-ups besides. One cheap system call."""
    if fd < 0:
        return select.POLLNVAL
    poll = select.poll()
    poll.register(fd, mask)
    found = poll.poll(0)
    return found[0][1] if found else 0


def is_orphan(sock: socket.socket) -> bool:
    """Whether the peer of a connection is on this machine and has closed it. False when that cannot be told."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    try:
        peer, own = sock.getpeername(), sock.getsockname()
        if peer[0] != own[0] and not ipaddress.ip_address(peer[0].partition("%")[0]).is_loopback:
            return False
        return _inode(sock.family, peer, own) == 0
    except OSError:
        return False  # no such facility here


def _inode(family: int, peer: tuple[str, int], own: tuple[str, int]) -> int:
    """Of the file of the socket at `peer` that is connected to `own`; 0 for a socket without one, or none at all."""
    ends = struct.pack(">HH", peer[1], own[1]) + _packed(peer[0]) + _packed(own[0])
    question = QUESTION.pack(family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + ends + NO_COOKIE
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, SOCK_DIAG
    ) as asked:
        asked.send(HEADER.pack(HEADER.size + len(question), BY_FAMILY, REQUEST, 1, 0) + question)
        answer = asked.recv(4096)  # the kernel has answered before `send` returned
    _, kind, *_ = HEADER.unpack_from(answer)
    if kind == ERROR:
        (code,) = struct.unpack_from("=i", answer, HEADER.size)
        if -code == errno.ENOENT:
            return 0
        raise OSError(-code, os.strerror(-code))
    (inode,) = struct.unpack_from("=I", answer, INODE)
    return int(inode)


def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address.partition("%")[0]).packed.ljust(16, b"\0")
