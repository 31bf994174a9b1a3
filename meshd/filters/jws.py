"""Signed tokens: from the compact form (`header.payload.signature`) to claims that may be believed.

Sources: RFC 7515 (JWS), RFC 7519 (JWT), RFC 8725 (best practices): the algorithm is one that the key is for, what is
critical and not understood refuses the token, no name stands twice, and issuer, audience and times are checked.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Final

from meshd.core.token import Claim, Token
from meshd.filters.jwks import Key, decode

MAX_TOKEN: Final = 16_384  # octets
SKEW: Final = 60.0  # seconds that clocks may differ, as in Envoy


class InvalidToken(Exception):
    """Why a token is not believed."""


class UnknownKey(InvalidToken):
    """It may be good: what it is signed with is none of the keys, which may be out of date."""


def unverified_issuer(token: bytes) -> str:
    """Who the token says it is from, to choose the keys by and nothing else. Raises InvalidToken."""
    issuer = _object(_parts(token)[1], "payload").get("iss")
    if not isinstance(issuer, str):
        raise InvalidToken("no issuer")
    return issuer


def verify(token: bytes, keys: Iterable[Key], issuer: str, audiences: Sequence[str]) -> Token:
    """The token, its signature, issuer and audience found good; its times are `check_times`'s. Raises InvalidToken,
    UnknownKey where another set of keys might say otherwise."""
    header, payload, signature = _parts(token)
    fields = _object(header, "header")
    if "crit" in fields:
        raise InvalidToken("an extension that is critical and not understood")
    algorithm, name = fields.get("alg"), fields.get("kid", "")
    if not isinstance(algorithm, str) or not isinstance(name, str):
        raise InvalidToken("no algorithm")
    signed = header + b"." + payload
    candidates = [key for key in keys if algorithm in key.algorithms and (not name or key.name in ("", name))]
    if not candidates:
        raise UnknownKey("no key for it")
    octets = _octets(signature, "signature")
    if not any(key.algorithms[algorithm](octets, signed) for key in candidates):
        named = bool(name) and all(key.name for key in candidates)
        raise (InvalidToken if named else UnknownKey)("wrong signature")  # a key without a name may have been replaced
    return _claims(_object(payload, "payload"), payload, issuer, audiences)


def check_times(token: Token, now: float) -> None:
    """Raises InvalidToken outside of the token's time; `now` is of the wall clock."""
    if now >= token.expires:
        raise InvalidToken("expired")
    if now < token.starts:
        raise InvalidToken("not valid yet")


def _claims(claims: dict[str, Claim], payload: bytes, issuer: str, audiences: Sequence[str]) -> Token:
    if claims.get("iss") != issuer:
        raise InvalidToken("another issuer")
    subject = claims.get("sub", "")
    if not isinstance(subject, str):
        raise InvalidToken("a subject that is no string")
    expires, starts = _time(claims, "exp", float("inf")), _time(claims, "nbf", float("-inf"))
    token = Token(issuer, subject, claims, payload, expires + SKEW, starts - SKEW)
    if audiences and not set(audiences).intersection(token.values("aud")):
        raise InvalidToken("another audience")
    return token


def _time(claims: dict[str, Claim], name: str, default: float) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidToken(f"{name!r} is no time")
    try:
        return float(value)
    except OverflowError as error:
        raise InvalidToken(f"{name!r} is no time") from error


def _parts(token: bytes) -> tuple[bytes, bytes, bytes]:
    parts = token.split(b".", 3)
    if len(token) > MAX_TOKEN or len(parts) != 3:
        raise InvalidToken("not of the form header.payload.signature")
    return parts[0], parts[1], parts[2]


def _octets(text: bytes, what: str) -> bytes:
    try:
        return decode(text)
    except ValueError as error:
        raise InvalidToken(f"a {what} that is not base64url") from error


def _object(text: bytes, what: str) -> dict[str, Claim]:
    try:
        found: Claim = json.loads(_octets(text, what), object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidToken(f"a {what} that is not JSON") from error
    if not isinstance(found, dict):
        raise InvalidToken(f"a {what} that is no object")
    return found


def _once(pairs: list[tuple[str, Claim]]) -> dict[str, Claim]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name that stands twice")
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")
