"""A token is believed only when all of it is as the standards say; the doubtful ones are refused with a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tokens import ALGORITHMS, NOW, compact, encode, key_set, private_key, public, token

from meshd.filters.jwks import read_key_set
from meshd.filters.jws import MAX_TOKEN, SKEW, InvalidToken, check_times, unverified_issuer, verify

ISSUER = "https://issuer.test"
CLAIMS = {"iss": ISSUER, "sub": "alice"}
KEYS = read_key_set(key_set(public("ES256", kid="a"), public("RS256", kid="b"), public("EdDSA")))


def check(text, keys=KEYS, audiences=(), now=NOW):
    """The token, or why it is refused."""
    try:
        found = verify(text.encode(), keys, ISSUER, audiences)
        check_times(found, now)
    except InvalidToken as error:
        return str(error)
    return found


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_good_token_of_every_algorithm(algorithm):
    found = check(token(algorithm, scope="a b"), read_key_set(key_set(public(algorithm))))
    assert (found.issuer, found.subject, found.claims["scope"]) == (ISSUER, "alice", "a b")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
def test_no_algorithm_is_none(algorithm):
    unsigned = f"{token(header={'alg': algorithm}).rpartition('.')[0]}."
    assert check(unsigned) == "no key for it"


def test_a_public_key_is_no_secret():
    """The oldest attack on tokens: signed with HMAC, the public key as its secret (CVE-2015-9235)."""
    import hmac

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = private_key("RS256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = token("RS256", header={"alg": "HS256"}).rpartition(".")[0]
    forged = f"{signed}.{encode(hmac.digest(pem, signed.encode(), 'sha256'))}"
    assert check(forged) == "no key for it"


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"kid": "a"}, ""),
        ({"kid": "b"}, "no key for it"),  # the RSA key
        ({"kid": "c"}, "no key for it"),
        ({"kid": 7}, "no algorithm"),
        ({"alg": None}, "no algorithm"),
        ({"alg": "EdDSA"}, "wrong signature"),
        ({"alg": "PS256"}, "wrong signature"),
        ({"crit": ["exp"]}, "an extension that is critical and not understood"),
        ({"crit": ["b64"], "b64": False}, "an extension that is critical and not understood"),
        ({"jwk": public("ES256", 1), "x5u": "http://evil.test"}, ""),  # a key that a token brings is nobody's
        ({"typ": "at+jwt"}, ""),
    ],
)
def test_headers(header, why):
    found = check(token("ES256", header=header))
    assert found == why if why else found.subject == "alice"


def test_a_token_that_brings_its_own_key_is_not_believed():
    own = public("ES256", 1)
    assert check(token("ES256", 1, header={"jwk": own})) == "wrong signature"
    assert check(token("ES256", 1, header={"jwk": own, "kid": "a"})) == "wrong signature"


@pytest.mark.parametrize(
    ("claims", "audiences", "why"),
    [
        ({"iss": "https://other.test"}, (), "another issuer"),
        ({"iss": None}, (), "another issuer"),
        ({"iss": [ISSUER]}, (), "another issuer"),
        ({"sub": 7}, (), "a subject that is no string"),
        ({"sub": None}, (), ""),
        ({"aud": "shop"}, ("shop", "bank"), ""),
        ({"aud": ["x", "bank"]}, ("shop", "bank"), ""),
        ({"aud": "x"}, ("shop",), "another audience"),
        ({"aud": ["x"]}, ("shop",), "another audience"),
        ({"aud": [7, None]}, ("shop",), "another audience"),
        ({}, ("shop",), "another audience"),
        ({"aud": "anything"}, (), ""),
    ],
)
def test_issuer_subject_and_audience(claims, audiences, why):
    found = check(token(**claims), audiences=audiences)
    assert found == why if why else found.issuer == ISSUER


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": NOW + 1}, ""),
        ({"exp": NOW - SKEW + 1}, ""),
        ({"exp": NOW - SKEW}, "expired"),
        ({"exp": None}, ""),
        ({"exp": NOW + 0.5}, ""),
        ({"nbf": NOW + SKEW}, ""),
        ({"nbf": NOW + SKEW + 1}, "not valid yet"),
        ({"exp": "soon"}, "'exp' is no time"),
        ({"exp": True}, "'exp' is no time"),
        ({"exp": 10**400}, "'exp' is no time"),
        ({"nbf": [1]}, "'nbf' is no time"),
        ({"iat": NOW + 9999}, ""),
    ],
)
def test_times(claims, why):
    found = check(token(**claims))
    assert found == why if why else found.issuer == ISSUER


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not of the form header.payload.signature"),
        ("a.b", "not of the form header.payload.signature"),
        ("a.b.c.d", "not of the form header.payload.signature"),
        ("a" * MAX_TOKEN + ".b.c", "not of the form header.payload.signature"),
        ("!.b.c", "a header that is not base64url"),
        (compact(b"[]", CLAIMS), "a header that is no object"),
        (compact(b"{", CLAIMS), "a header that is not JSON"),
        (compact(b"\xff", CLAIMS), "a header that is not JSON"),
        (compact({"alg": "ES256"}, b"7"), "a payload that is no object"),
        (compact(b'{"alg": "none", "alg": "ES256"}', CLAIMS), "a header that is not JSON"),
        (compact({"alg": "ES256"}, b'{"iss": "a", "iss": "https://issuer.test"}'), "a payload that is not JSON"),
        (compact({"alg": "ES256"}, b'{"iss": "https://issuer.test", "exp": NaN}'), "a payload that is not JSON"),
        (compact({"alg": "ES256"}, b'{"a":' * 3000 + b"1" + b"}" * 3000), "not of the form header.payload.signature"),
        (token() + "=", "a signature that is not base64url"),
    ],
)
def test_what_is_no_token(text, why):
    assert check(text) == why


@given(st.data())
def test_a_token_with_any_octet_changed_is_not_believed(data):
    good = token()
    place = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.sampled_from("ABCabc019-_.=+ "))
    changed = good[:place] + other + good[place + 1 :]
    found = check(changed)
    if not isinstance(found, str):  # the last bits of base64 may differ and mean the same
        assert found.claims == check(good).claims


@given(st.binary(max_size=80))
def test_nothing_but_a_refusal_comes_of_nonsense(octets):
    with pytest.raises(InvalidToken):
        verify(octets, KEYS, ISSUER, ())
    with pytest.raises(InvalidToken):
        unverified_issuer(octets)


def test_the_issuer_is_read_before_anything_is_believed():
    assert unverified_issuer(token(iss="https://x.test").encode()) == "https://x.test"
    with pytest.raises(InvalidToken, match="no issuer"):
        unverified_issuer(token(iss=None).encode())
