"""One rule of an AuthorizationPolicy as checks on an exchange.

Every field, with its not-twin, becomes one `Check`: a name for people, a test, and what the test looks at. A rule
holds when one of its sources, one of its operations and all of its conditions hold. A header that comes more than
once must not open a way around: in a DENY one bad value is enough, in an ALLOW every value must do.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from meshd.config.authorization import Condition, Operation, Rule, Source
from meshd.core.exchange import Exchange
from meshd.filters.attributes import (
    SEPARATOR,
    Look,
    look_account,
    look_address,
    look_authority,
    look_claim,
    look_client,
    look_local_address,
    look_method,
    look_namespace,
    look_nothing,
    look_path,
    look_possible_clients,
    look_principal,
    look_server_name,
    look_subjects,
    look_target,
    look_trust_domain,
    look_upgrade,
)
from meshd.filters.base import Scope
from meshd.filters.strings import (
    BytesTest,
    compile_hosts,
    compile_names,
    compile_paths,
    compile_string,
    compile_strings,
    compile_targets,
)
from meshd.http.forwarded_for import UNKNOWN

ClaimPath = tuple[str, ...]
Block = ipaddress.IPv4Network | ipaddress.IPv6Network
NO_ADDRESS = UNKNOWN.encode()


@dataclass(frozen=True, slots=True)
class Check:
    """One predicate. `observed` is only asked for when somebody wants to know why."""

    name: str
    holds: Callable[[Exchange], bool]
    observed: Look


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """Alternatives of sources, alternatives of operations, and conditions that must all hold. Empty: anything."""

    sources: tuple[tuple[Check, ...], ...]
    operations: tuple[tuple[Check, ...], ...]
    conditions: tuple[Check, ...]

    def holds(self, exchange: Exchange) -> bool:
        """Whether the rule matches."""
        for alternatives in (self.operations, self.sources):
            if alternatives:
                for checks in alternatives:
                    for check in checks:
                        if not check.holds(exchange):
                            break
                    else:
                        break
                else:
                    return False
        return all(check.holds(exchange) for check in self.conditions)

    def first_failure(self, exchange: Exchange) -> tuple[int, Check] | None:
        """How many checks held before the first that failed, in the alternative that came furthest; None if it
        matches."""
        passed = 0
        for alternatives in (self.sources, self.operations, (self.conditions,)):
            failures = [_failure(checks, exchange) for checks in alternatives]
            if failures and all(failure is not None for failure in failures):
                held, check = max((each for each in failures if each is not None), key=lambda each: each[0])
                return passed + held, check
            passed += 100  # a whole part that holds outweighs any number of checks in the next
        return None


def _failure(checks: tuple[Check, ...], exchange: Exchange) -> tuple[int, Check] | None:
    for place, check in enumerate(checks):
        if not check.holds(exchange):
            return place, check
    return None


def compile_rule(rule: Rule, namespace: str, scope: Scope, *, deny: bool) -> CompiledRule:
    """`namespace` is the policy's own; `deny` decides how several values count: of a header, or of the client."""
    return CompiledRule(
        sources=tuple(tuple(_source(each.source, namespace, scope, deny=deny)) for each in rule.from_),
        operations=tuple(tuple(_operation(each.operation, scope)) for each in rule.to),
        conditions=tuple(check for each in rule.when for check in _condition(each, namespace, scope, deny=deny)),
    )


def _pair(
    name: str,
    wanted: tuple[str, ...],
    unwanted: tuple[str, ...],
    test: Callable[[tuple[str, ...]], BytesTest],
    look: Look,
) -> Iterator[Check]:
    """The check of a field and that of its not-twin."""
    if wanted:
        yes = test(wanted)
        yield Check(f"{name}: {_shown(wanted)}", lambda exchange: yes(look(exchange)), look)
    if unwanted:
        no = test(unwanted)
        twin = "not" + name[0].upper() + name[1:]
        yield Check(f"{twin}: {_shown(unwanted)}", lambda exchange: not no(look(exchange)), look)


def _shown(values: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"


def _source(source: Source, namespace: str, scope: Scope, *, deny: bool) -> Iterator[Check]:
    def principals(values: tuple[str, ...]) -> BytesTest:
        return compile_strings(tuple(each for value in values for each in with_aliases(value, scope)))

    def accounts(values: tuple[str, ...]) -> BytesTest:
        return compile_accounts(values, namespace)

    yield from _pair("principals", source.principals, source.not_principals, principals, look_principal)
    pair = source.request_principals, source.not_request_principals
    yield from _of_token(("requestPrincipals", "notRequestPrincipals"), pair, compile_subjects, look_subjects)
    yield from _pair("namespaces", source.namespaces, source.not_namespaces, compile_strings, look_namespace)
    yield from _pair("serviceAccounts", source.service_accounts, source.not_service_accounts, accounts, look_account)
    yield from _pair("trustDomains", source.trust_domains, source.not_trust_domains, compile_strings, look_trust_domain)
    yield from _pair("ipBlocks", source.ip_blocks, source.not_ip_blocks, compile_blocks, look_address)
    names = "remoteIpBlocks", "notRemoteIpBlocks"
    yield from _of_client(names, (source.remote_ip_blocks, source.not_remote_ip_blocks), scope, deny=deny)


def _operation(operation: Operation, scope: Scope) -> Iterator[Check]:
    port = str(scope.port).encode()
    yield from _pair("hosts", operation.hosts, operation.not_hosts, compile_hosts, look_authority)
    yield from _pair("ports", operation.ports, operation.not_ports, compile_ports, lambda _: port)
    yield from _pair("methods", operation.methods, operation.not_methods, compile_strings, look_method)
    yield from _pair("paths", operation.paths, operation.not_paths, compile_paths, look_path)


def _condition(condition: Condition, namespace: str, scope: Scope, *, deny: bool) -> Iterator[Check]:
    key, wanted, unwanted = condition.key, condition.values, condition.not_values
    if key.startswith("request.headers["):
        name = key[len("request.headers[") : -1].lower().encode()
        if name == b"upgrade":
            some, others = (any, all) if deny else (all, any)
            yield from _named(key, wanted, (), lambda values: compile_protocols(values, some), look_upgrade)
            yield from _named(key, (), unwanted, lambda values: compile_protocols(values, others), look_upgrade)
        elif name in PARTS:
            yield from _named(key, wanted, unwanted, *PARTS[name])
        else:
            yield from _header(key, name, (wanted, unwanted), deny=deny)
        return
    if key == "remote.ip":
        yield from _of_client((f"{key} values", f"{key} notValues"), (wanted, unwanted), scope, deny=deny)
    elif key in ("source.ip", "destination.ip"):
        look = look_local_address if key == "destination.ip" else look_address
        yield from _named(key, wanted, unwanted, compile_blocks, look)
    elif key == "source.principal":
        expanded = tuple(each for value in wanted for each in with_aliases(value, scope))
        refused = tuple(each for value in unwanted for each in with_aliases(value, scope))
        yield from _named(key, expanded, refused, compile_strings, look_principal)
    elif key == "source.serviceAccount":
        yield from _named(key, wanted, unwanted, lambda values: compile_accounts(values, namespace), look_account)
    elif key == "destination.port":
        port = str(scope.port).encode()
        yield from _named(key, wanted, unwanted, compile_ports, lambda _: port)
    elif key.startswith("request.auth."):
        names = (f"{key} values", f"{key} notValues")
        if key == "request.auth.principal":
            yield from _of_token(names, (wanted, unwanted), compile_subjects, look_subjects)
        else:
            path = claim_path(key)
            yield from _of_token(names, (wanted, unwanted), compile_strings, lambda x: look_claim(x, path))
    elif key == "connection.sni":
        yield from _named(key, wanted, unwanted, compile_names, look_server_name)
    else:
        yield from _named(key, wanted, unwanted, compile_strings, LOOKS.get(key, look_nothing))


def _named(
    key: str,
    wanted: tuple[str, ...],
    unwanted: tuple[str, ...],
    test: Callable[[tuple[str, ...]], BytesTest],
    look: Look,
) -> Iterator[Check]:
    if wanted:
        yes = test(wanted)
        yield Check(f"{key} values: {_shown(wanted)}", lambda exchange: yes(look(exchange)), look)
    if unwanted:
        no = test(unwanted)
        yield Check(f"{key} notValues: {_shown(unwanted)}", lambda exchange: not no(look(exchange)), look)


def _of_token(
    names: tuple[str, str],
    pair: tuple[tuple[str, ...], tuple[str, ...]],
    test: Callable[[tuple[str, ...]], BytesTest],
    look: Callable[[Exchange], list[bytes]],
) -> Iterator[Check]:
    """What a claim says, which may be several things: one that is wanted is enough, and so is one that is not."""
    wanted, unwanted = pair

    def shown(exchange: Exchange) -> bytes:
        return b", ".join(look(exchange)).replace(SEPARATOR, b"/")

    if wanted:
        yes = test(wanted)
        yield Check(f"{names[0]}: {_shown(wanted)}", lambda x: any(map(yes, look(x))), shown)
    if unwanted:
        no = test(unwanted)
        yield Check(f"{names[1]}: {_shown(unwanted)}", lambda x: not any(map(no, look(x))), shown)


def _of_client(
    names: tuple[str, str], pair: tuple[tuple[str, ...], tuple[str, ...]], scope: Scope, *, deny: bool
) -> Iterator[Check]:
    """Whether the client is within blocks. While nobody said which proxies are trusted, each address that is named may
    be its own: one is enough to deny, and all are needed to allow. One that is unknown is enough to deny."""
    some = any if deny else all

    def look(exchange: Exchange) -> list[bytes]:
        return [look_client(exchange)] if scope.trusts_proxies else look_possible_clients(exchange)

    def shown(exchange: Exchange) -> bytes:
        return b", ".join(look(exchange))

    def within(blocks: tuple[str, ...], *, if_unknown: bool) -> BytesTest:
        test = compile_blocks(blocks)
        return lambda given: if_unknown if given == NO_ADDRESS else test(given)

    wanted, unwanted = pair
    if wanted:
        yes = within(wanted, if_unknown=deny)
        yield Check(f"{names[0]}: {_shown(wanted)}", lambda x: some(map(yes, look(x))), shown)
    if unwanted:
        no = within(unwanted, if_unknown=not deny)
        yield Check(f"{names[1]}: {_shown(unwanted)}", lambda x: some(not no(each) for each in look(x)), shown)


def _header(key: str, name: bytes, pair: tuple[tuple[str, ...], tuple[str, ...]], *, deny: bool) -> Iterator[Check]:
    wanted, unwanted = pair

    def look(exchange: Exchange) -> bytes:
        return exchange.head.get(name) or b""

    def values(exchange: Exchange) -> list[bytes]:
        return exchange.head.values(name) or [b""]

    if wanted:
        yes = compile_strings(wanted)
        there = "*" in wanted  # an empty field is none for an ALLOW, but no way around a DENY
        if deny:
            yield Check(
                f"{key} values: {_shown(wanted)}",
                lambda x: any(map(yes, values(x))) or yes(look(x)) or (there and bool(x.head.values(name))),
                look,
            )
        else:
            yield Check(f"{key} values: {_shown(wanted)}", lambda x: all(map(yes, values(x))), look)
    if unwanted:
        no = compile_strings(unwanted)
        gone = "*" in unwanted
        if deny:
            yield Check(f"{key} notValues: {_shown(unwanted)}", lambda x: not all(map(no, values(x))), look)
        else:
            yield Check(
                f"{key} notValues: {_shown(unwanted)}",
                lambda x: not (any(map(no, values(x))) or no(look(x)) or (gone and bool(x.head.values(name)))),
                look,
            )


# What `request.headers[...]` may name that is no field of a head: HTTP/2's words for the request line, and Host. Of
# other fields of the connection, but for Upgrade, no policy can know: `unserved.py` refuses them.
PARTS: dict[bytes, tuple[Callable[[tuple[str, ...]], BytesTest], Look]] = {
    b"host": (compile_hosts, look_authority),
    b":authority": (compile_hosts, look_authority),
    b":method": (compile_strings, look_method),
    b":path": (compile_targets, look_target),
    b":scheme": (compile_strings, lambda exchange: exchange.head.scheme),
}
CLAIMS = {"request.auth.audiences": ("aud",), "request.auth.presenter": ("azp",)}
_IN_BRACKETS = re.compile(r"\[([^\[\]]+)\]")
LOOKS = {
    "source.namespace": look_namespace,
    "source.trustDomain": look_trust_domain,
}


def claim_path(key: str) -> ClaimPath:
    """The claim of a token that a condition is about; empty for a condition about something else."""
    if key.startswith("request.auth.claims["):
        return tuple(_IN_BRACKETS.findall(key))
    return CLAIMS.get(key, ())


def with_aliases(principal: str, scope: Scope) -> Iterator[str]:
    """A principal of the mesh's own trust domain, written with any of its names, stands for all of them (Istio)."""
    names = (scope.trust_domain, *scope.aliases)
    principal = principal.removeprefix("spiffe://")
    domain, slash, rest = principal.partition("/")
    if slash and domain in (*names, "cluster.local"):
        yield from (f"{name}/{rest}" for name in names)
    else:
        yield principal


def compile_subjects(values: tuple[str, ...]) -> BytesTest:
    """`issuer/subject`, divided at the last slash (as Istio does it): no subject can pass for part of an issuer."""
    pairs = []
    for value in values:
        issuer, slash, subject = value.rpartition("/")
        if not slash:
            issuer, subject = ("*", value) if value.startswith("*") else (value, "*" if value.endswith("*") else "")
        pairs.append((compile_string(issuer), compile_string(subject)))

    def test(given: bytes) -> bool:
        issuer, _, subject = given.partition(SEPARATOR)
        return any(of_issuer(issuer) and of_subject(subject) for of_issuer, of_subject in pairs)

    return test


def compile_accounts(values: tuple[str, ...], namespace: str) -> BytesTest:
    """`account` means the policy's own namespace, `namespace/account` any."""
    wanted = frozenset((value if "/" in value else f"{namespace}/{value}").encode() for value in values)
    return lambda given: given in wanted


def compile_ports(values: tuple[str, ...]) -> BytesTest:
    """Ports are numbers, however they are written."""
    return compile_strings(tuple(str(int(value)) for value in values))


def compile_protocols(values: tuple[str, ...], of_several: Callable[[Iterable[bool]], bool]) -> BytesTest:
    """Protocols of an Upgrade field, which servers compare without case (RFC 9110 section 7.8) and clients may list."""
    test = compile_names(values)
    return lambda given: of_several(test(each.strip()) for each in given.lower().split(b","))


def compile_blocks(values: tuple[str, ...]) -> BytesTest:
    """A test whether an address lies in any of the blocks; addresses are few, so answers are remembered."""
    blocks = tuple(map(_block, values))
    known: dict[bytes, bool] = {}

    def test(given: bytes) -> bool:
        found = known.get(given)
        if found is None:
            found = _within(given, blocks)
            if len(known) >= 4096:
                known.clear()
            known[given] = found
        return found

    return test


def _block(text: str) -> Block:
    """A network; one of IPv4 addresses that are written as IPv6 is one of IPv4, for so are addresses told."""
    block = ipaddress.ip_network(text, strict=False)
    if isinstance(block, ipaddress.IPv6Network) and block.prefixlen >= 96:
        mapped = block.network_address.ipv4_mapped
        return block if mapped is None else ipaddress.ip_network((mapped, block.prefixlen - 96))
    return block


def _within(given: bytes, blocks: tuple[Block, ...]) -> bool:
    try:
        address = ipaddress.ip_address(given.decode("ascii").partition("%")[0])
    except ValueError:
        return False
    return any(address.version == block.version and address in block for block in blocks)
