"""RequestAuthentication: whose tokens are believed at a workload.

Source: istio/api security/v1beta1/request_authentication.proto. A request without a token passes as nobody's, unless a
rule says REQUIRED; one with a token passes only if every token in it is good, for who calls must not depend on where
somebody looks. Fields that a rule fills from claims are taken out of every request first. What is believed is
remembered by the whole token, so that one signature is verified once and not for every request.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote_to_bytes

from meshd.config.request_authentication import JwtRule, RequestAuthentication
from meshd.core import flags, proxy_errors
from meshd.core.chain import EMPTY_CHAIN, Chain
from meshd.core.exchange import Exchange
from meshd.core.head import RequestHead
from meshd.core.reply import Reply
from meshd.core.spelling import FOLDS, fold_all, without
from meshd.core.token import Token, claim_at, scalar_text
from meshd.filters.authz_rules import ClaimPath
from meshd.filters.base import Scope
from meshd.filters.jwks import InvalidKey, Key, read_key_set
from meshd.filters.jws import InvalidToken, UnknownKey, check_times, unverified_issuer, verify
from meshd.filters.key_ring import KeyRing

MAX_REMEMBERED: Final = 1024  # good tokens
MAX_TOKENS: Final = 4  # of one request
SPACE_DELIMITED: Final = ("scope", "permission")  # lists written as one string, as in Istio

MOST_TOLD: Final = 2048  # octets of claims in a line of the log

Clock = Callable[[], float]  # seconds of the wall clock


@dataclass(frozen=True, slots=True)
class Place:
    """Where a token may stand."""

    kind: str  # header, parameter or cookie
    name: bytes
    prefix: bytes = b""


@dataclass(frozen=True, slots=True)
class Issuer:
    """One rule, compiled."""

    name: str
    audiences: tuple[str, ...]
    keys: tuple[Key, ...]  # inline ones
    keys_uri: str  # of those that are fetched; empty for inline ones
    places: tuple[Place, ...]
    forward: bool
    payload_header: bytes
    claim_headers: tuple[tuple[bytes, tuple[str, ...]], ...]
    lists: tuple[str, ...]  # claims whose strings are lists
    required: bool


DEFAULT_PLACES: Final = (Place("header", b"authorization", b"bearer "), Place("parameter", b"access_token"))


def authentication_chain(
    documents: Iterable[RequestAuthentication],
    ring: KeyRing,
    scope: Scope,
    clock: Clock,
    noted: Iterable[ClaimPath] = (),
) -> Chain:
    """The step of one workload port; none when no document selects it. `ring` has the keys that are fetched;
    `noted` are the claims that policies look at, which go into the log."""
    rules = [rule for each in documents if selects(each, scope) for rule in each.spec.jwt_rules]
    return Chain((Authenticator(rules, ring, clock, noted).step,)) if rules else EMPTY_CHAIN


def selects(document: RequestAuthentication, scope: Scope) -> bool:
    """Whether it is for this workload. One that names targets is for gateways and waypoints, not for sidecars."""
    spec = document.spec
    if spec.target_ref is not None or spec.target_refs:
        return False
    if document.namespace not in (scope.namespace, scope.root_namespace):
        return False
    return spec.selector is None or spec.selector.selects(dict(scope.labels))


class Authenticator:
    """The rules of one workload port. Tokens that were found good are remembered, a bounded number of them."""

    __slots__ = ("_clock", "_filled", "_known", "_noted", "_places", "_ring", "issuers", "required")

    def __init__(self, rules: Iterable[JwtRule], ring: KeyRing, clock: Clock, noted: Iterable[ClaimPath] = ()) -> None:
        self.issuers = tuple(compile_rule(rule) for rule in rules)
        self._ring = ring
        self._noted = tuple(noted)
        self._places = tuple(dict.fromkeys(place for each in self.issuers for place in each.places))
        self._clock = clock
        self._known: dict[bytes, tuple[Token, Issuer, tuple[Key, ...]]] = {}  # with the set that it was verified by
        headers = [name for each in self.issuers for name, _ in each.claim_headers]
        headers += [each.payload_header for each in self.issuers if each.payload_header]
        self._filled = fold_all(headers)
        self.required = any(each.required for each in self.issuers)

    def step(self, exchange: Exchange) -> Reply | None:
        """Find the tokens, believe or refuse them."""
        head = exchange.head
        if self._filled and not self._filled.isdisjoint([FOLDS[name] for name, _ in head.headers]):
            head.headers = without(head.headers, self._filled)
            head.changed()
        found = self._find(head)
        if not found:
            exchange.note("token", "")
            return _refused(exchange, "missing", "") if self.required else None
        if len(found) > MAX_TOKENS:
            return _refused(exchange, "too many tokens")
        try:
            believed = [self._believe(token, places) for token, places in found.items()]
        except InvalidToken as error:
            return _refused(exchange, str(error))
        exchange.token, issuer = believed[0]
        exchange.note("token", f"{exchange.token.issuer}/{exchange.token.subject}"[:256])
        if told := told_of(exchange.token, self._noted):
            exchange.note("claims", told)
        for (token, places), (_, each) in zip(found.items(), believed, strict=True):
            if not each.forward:
                _remove(head, token, places)
        added = list(_outputs(exchange.token, issuer))
        head.headers = head.headers + added
        head.changed()
        return None

    def _find(self, head: RequestHead) -> dict[bytes, set[Place]]:
        found: dict[bytes, set[Place]] = {}
        for place in self._places:
            for token in FINDERS[place.kind](head, place):
                found.setdefault(token, set()).add(place)
        return found

    def _believe(self, token: bytes, places: set[Place]) -> tuple[Token, Issuer]:
        """Raises InvalidToken."""
        known = self._known.get(token)
        if known is None or places.isdisjoint(known[1].places) or known[2] is not self._keys(known[1]):
            self._known.pop(token, None)
            known = self._verify(token, places)
            if len(self._known) >= MAX_REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[token] = known
        check_times(known[0], self._clock())
        return known[0], known[1]

    def _keys(self, issuer: Issuer) -> tuple[Key, ...]:
        return self._ring.keys(issuer.keys_uri) if issuer.keys_uri else issuer.keys

    def _verify(self, token: bytes, places: set[Place]) -> tuple[Token, Issuer, tuple[Key, ...]]:
        name = unverified_issuer(token)
        wanted: list[str] = []
        failure = InvalidToken(f"an issuer that is not believed here: {name[:128]!r}")
        for issuer in self.issuers:
            if issuer.name == name and not places.isdisjoint(issuer.places):
                keys = self._keys(issuer)
                try:
                    good = verify(token, keys, name, issuer.audiences)
                    return replace(good, lists=issuer.lists), issuer, keys
                except InvalidToken as error:
                    failure = error if keys else InvalidToken("the keys of its issuer could not be had")
                    if issuer.keys_uri and isinstance(error, UnknownKey):
                        wanted.append(issuer.keys_uri)
        for uri in wanted:
            self._ring.want(uri)
        raise failure

    def __repr__(self) -> str:
        return f"<Authenticator of {len(self.issuers)} issuers, {len(self._known)} tokens remembered>"


def compile_rule(rule: JwtRule) -> Issuer:
    """A rule whose keys cannot be had or read has none: its tokens are refused, and nothing else."""
    try:
        keys = read_key_set(rule.jwks) if rule.jwks and not rule.keys_uri else ()
    except InvalidKey:
        keys = ()  # they are checked at load
    places = [Place("header", each.name.lower().encode(), each.prefix.encode()) for each in rule.from_headers]
    places += [Place("parameter", name.encode()) for name in rule.from_params]
    places += [Place("cookie", name.encode()) for name in rule.from_cookies]
    outputs = [(each.header.lower().encode(), (each.claim,)) for each in rule.output_claim_to_headers]
    return Issuer(
        name=rule.issuer or "",
        audiences=rule.audiences,
        keys=keys,
        keys_uri=rule.keys_uri,
        places=tuple(places) or DEFAULT_PLACES,
        forward=rule.forward_original_token,
        payload_header=rule.output_payload_to_header.lower().encode(),
        claim_headers=tuple(outputs),
        lists=(*SPACE_DELIMITED, *rule.space_delimited_claims),
        required=rule.presence == "REQUIRED",
    )


# -- where tokens stand ------------------------------------------------------------------------------------------------


def _in_header(head: RequestHead, place: Place) -> Iterator[bytes]:
    """In every spelling of the name: the app may take one for another, and believe what we have not verified."""
    for value in head.values(place.name):
        if found := _after(value, place):
            yield found


def _after(value: bytes, place: Place) -> bytes:
    """What follows the prefix, which in Authorization is a scheme and written in any case; else nothing."""
    prefix, start = place.prefix, value[: len(place.prefix)]
    if start == prefix or (place.name == b"authorization" and start.lower() == prefix.lower()):
        return value[len(prefix) :].strip()
    return b""


def _in_query(head: RequestHead, place: Place) -> Iterator[bytes]:
    for pair in (head.query or b"").split(b"&"):
        name, _, value = pair.partition(b"=")
        if value and _is_named(name, place):
            yield unquote_to_bytes(value)


def _in_cookie(head: RequestHead, place: Place) -> Iterator[bytes]:
    for name, field in head.headers:
        for pair in field.split(b";") if name == b"cookie" else ():
            key, _, value = pair.strip().partition(b"=")
            if key == place.name and value:
                yield value


FINDERS: Final[Mapping[str, Callable[[RequestHead, Place], Iterator[bytes]]]] = {
    "header": _in_header,
    "parameter": _in_query,
    "cookie": _in_cookie,
}


def _is_named(name: bytes, place: Place) -> bool:
    return unquote_to_bytes(name.replace(b"+", b" ")) == place.name


def _remove(head: RequestHead, token: bytes, places: set[Place]) -> None:
    """Take the token out of the request, wherever it stands."""
    for place in places:
        if place.kind == "header":
            name = FOLDS[place.name]
            head.headers = [
                field for field in head.headers if FOLDS[field[0]] != name or _after(field[1], place) != token
            ]
        elif place.kind == "parameter":
            kept = [pair for pair in (head.query or b"").split(b"&") if not _is_named(pair.partition(b"=")[0], place)]
            head.query = b"&".join(kept) or None
        else:
            head.headers = [
                (name, _without(value, place.name) if name == b"cookie" else value) for name, value in head.headers
            ]
            head.headers = [field for field in head.headers if field != (b"cookie", b"")]
    head.changed()


def _without(cookies: bytes, name: bytes) -> bytes:
    pairs = [pair.strip() for pair in cookies.split(b";")]
    return b"; ".join(pair for pair in pairs if pair.partition(b"=")[0] != name)


def told_of(token: Token, paths: Iterable[ClaimPath]) -> str:
    """Who a token is from, about and for, and what it says of these claims, as JSON for the log; nothing when that is
    too much. Never the token."""
    told: dict[str, str | list[str]] = {"iss": token.issuer, "sub": token.subject, "aud": token.values("aud")}
    told |= {path_key(path): token.values(*path) for path in paths}
    text = json.dumps(told, separators=(",", ":"))
    return text if len(text) <= MOST_TOLD else ""


def path_key(path: ClaimPath) -> str:
    """How a claim is named in the log: as policies name it, without the words before."""
    return "".join(f"[{name}]" for name in path)


# -- what the app is told ----------------------------------------------------------------------------------------------


def _outputs(token: Token, issuer: Issuer) -> Iterator[tuple[bytes, bytes]]:
    if issuer.payload_header:
        yield issuer.payload_header, token.payload
    for name, path in issuer.claim_headers:
        value = _written(token, path)
        if value is not None:
            yield name, value


def _written(token: Token, path: tuple[str, ...]) -> bytes | None:
    """A claim as a field: plain if it is one value that a field can hold, else as JSON in base64url (as Envoy does)."""
    found = claim_at(token.claims, path)
    if found is None:
        return None
    text = scalar_text(found)
    if text is not None and text.isascii() and text.isprintable():
        return text.strip().encode()
    return base64.urlsafe_b64encode(json.dumps(found).encode()).rstrip(b"=")


def _refused(exchange: Exchange, why: str, error: str = ', error="invalid_token"') -> Reply:
    """RFC 6750 section 3: who brought no token is not told of an error."""
    realm = exchange.head.authority.translate(None, b'"\\').decode("latin-1")
    challenge = f'Bearer realm="{realm}"{error}'.encode("latin-1")
    return Reply(
        401,
        flags.DENIED,
        f"jwt_authn_access_denied{{{why}}}",
        proxy_errors.HTTP_REQUEST_DENIED,
        headers=((b"www-authenticate", challenge),),
        body=b"the token is missing or not valid",
    )
