"""Names and their addresses: looked up off the loop, remembered for a while, and in which order they are tried.

Theory of operation: `addresses` waits for a name that nobody has asked for yet; whoever asks while it is looked up
waits for the same answer, also where it is that there is none, and nobody for longer than `LOOKUP_TIME`. A name that is
known is answered at once, and looked up again behind that once it is `REFRESH` old: the system's resolver tells no TTL,
so there is one interval for all, Envoy's. What cannot be looked up again stays as it was known. Rule 1: an address that
did not answer is tried last for a while, so that it costs its stagger once.
"""

import errno
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

import trio

from meshd.net import wait

REFRESH: Final = 5.0  # seconds
LOOPBACK: Final = ("::1", "127.0.0.1")
LOOKUP_TIME: Final = 5.0  # seconds: what the system's resolver gives one server to answer
AVOID: Final = 30.0  # seconds that an address is tried last after a failure

Lookup = Callable[[str], Awaitable[Sequence[str]]]


class UnderWay:
    """A look-up that others wait for."""

    __slots__ = ("done", "error")

    def __init__(self) -> None:
        self.done = wait.Event()
        self.error: OSError | None = None


class Resolver:
    """One a worker. `lookup` raises OSError."""

    __slots__ = ("_avoided", "_known", "_lookup", "_turns", "_under_way")

    def __init__(self, lookup: Lookup | None = None) -> None:
        self._lookup = lookup or system_lookup
        self._known: dict[str, tuple[tuple[str, ...], float]] = {}  # and when they were looked up
        self._under_way: dict[str, UnderWay] = {}
        self._avoided: dict[str, float] = {}  # addresses, until when
        self._turns: dict[str, int] = {}

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Every address of a host; of an address that itself. Raises OSError."""
        if family_of(host) is not None:
            return (host,)
        found = self.known(host)
        while not found and (begun := self._under_way.get(host)) is not None:
            await begun.done.wait()
            found = self.known(host)
            if not found and begun.error is not None:
                raise OSError(*begun.error.args) from begun.error
        return found or await self._look_up(host)

    def known(self, host: str) -> tuple[str, ...]:
        """What is known of a name, at once; empty for nothing. Old knowledge is renewed behind it."""
        found = self._known.get(host)
        if found is None:
            return ()
        addresses, at = found
        if wait.now() - at >= REFRESH and host not in self._under_way:
            self._under_way[host] = UnderWay()
            wait.spawn(self._renew, host)
        return addresses

    def order(self, host: str, addresses: Sequence[str], first: str = "") -> list[str]:
        """How they are tried: `first` or else each in turn, the families alternating, those that failed last."""
        now = wait.now()
        turn = self._turns[host] = self._turns.get(host, -1) + 1
        avoided = {address for address in addresses if self._avoided.get(address, 0.0) > now}
        return in_order(addresses, turn, first, avoided)

    def failed(self, address: str) -> None:
        """It did not answer, or another answered first."""
        now = wait.now()
        self._avoided = {each: until for each, until in self._avoided.items() if until > now}
        self._avoided[address] = now + AVOID

    def answered(self, address: str) -> None:
        """It is of use."""
        if self._avoided:
            self._avoided.pop(address, None)

    async def _look_up(self, host: str) -> tuple[str, ...]:
        begun = self._under_way.setdefault(host, UnderWay())
        try:
            found = tuple(dict.fromkeys(await wait.on_trio(self._look_up_in_time, host)))
            self._known[host] = found, wait.now()
        except OSError as error:
            begun.error = error
            raise
        finally:
            self._under_way.pop(host).done.set()
        return found

    async def _look_up_in_time(self, host: str) -> Sequence[str]:
        with trio.move_on_after(LOOKUP_TIME):
            return await self._lookup(host)
        raise OSError(errno.ETIMEDOUT, f"no answer from the name servers within {LOOKUP_TIME:.0f} s")

    async def _renew(self, host: str) -> None:
        try:
            await self._look_up(host)
        except OSError:
            addresses, _ = self._known[host]
            self._known[host] = addresses, wait.now()

    def __repr__(self) -> str:
        return f"<Resolver {len(self._known)} names>"


def in_order(addresses: Sequence[str], turn: int, first: str, avoided: Collection[str]) -> list[str]:
    """RFC 8305 section 4: IPv6 first, the families alternating. `turn` says who of a family begins."""
    families = [
        [each for each in addresses if (":" in each) is is_v6 and each not in avoided] for is_v6 in (True, False)
    ]
    turned = [each[turn % len(each) :] + each[: turn % len(each)] for each in families if each]
    mixed = [each[place] for place in range(max(map(len, turned), default=0)) for each in turned if place < len(each)]
    mixed += [each for each in addresses if each in avoided]
    if first in mixed and first not in avoided:
        mixed.remove(first)
        mixed.insert(0, first)
    return mixed


def family_of(host: str) -> socket.AddressFamily | None:
    """The family of an address; None for a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return family
    return None


async def system_lookup(host: str) -> list[str]:
    """As the system does it, hosts file included, in a thread. `localhost` is both loopback addresses, whatever a hosts
    file leaves out (RFC 6761 section 6.3): an app listens on one of them."""
    if host.lower().rstrip(".") == "localhost":
        return list(LOOPBACK)
    found = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]
