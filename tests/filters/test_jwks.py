"""Keys verify what their own private half signed, by the algorithms of their type and by no other."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tokens import ALGORITHMS, encode, key_set, number, public, sign

from meshd.filters.jwks import MAX_KEYS, MAX_SET, InvalidKey, decode, read_key, read_key_set

# RFC 8037 appendix A.4: a key, and its signature of an example.
RFC_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
RFC_DATA = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
RFC_SIGNATURE = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
# RFC 7515 appendix A.3: ES256.
EC_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
EC_DATA = (
    b"eyJhbGciOiJFUzI1NiJ9."
    b"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
)
EC_SIGNATURE = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"


@pytest.mark.parametrize(
    ("key", "algorithm", "data", "signature"),
    [(RFC_KEY, "EdDSA", RFC_DATA, RFC_SIGNATURE), (EC_KEY, "ES256", EC_DATA, EC_SIGNATURE)],
)
def test_examples_of_the_standards(key, algorithm, data, signature):
    verify = read_key(key).algorithms[algorithm]
    assert verify(decode(signature), data)
    assert not verify(decode(signature), data + b"x")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_verifies_its_own_signatures_only(algorithm):
    verify = read_key(public(algorithm)).algorithms[algorithm]
    signature = sign(algorithm, b"data")
    assert verify(signature, b"data")
    assert not verify(signature, b"date")
    assert not verify(sign(algorithm, b"data", which=1), b"data")
    assert not verify(signature[:-1], b"data")
    assert not verify(b"", b"data")


def test_the_other_edwards_curve():
    key = read_key(public("EdDSA", "Ed448"))
    assert key.algorithms["EdDSA"](sign("EdDSA", b"data", "Ed448"), b"data")


@pytest.mark.parametrize(
    ("algorithm", "names"),
    [
        ("RS256", {f"{family}{bits}" for family in ("RS", "PS") for bits in (256, 384, 512)}),
        ("ES384", {"ES384"}),
        ("EdDSA", {"EdDSA"}),
    ],
)
def test_a_key_has_the_algorithms_of_its_type(algorithm, names):
    assert set(read_key(public(algorithm)).algorithms) == names
    assert set(read_key(public(algorithm, alg=algorithm)).algorithms) == {algorithm}


SECRET = {"kty": "oct", "k": "c2VjcmV0"}


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (SECRET, "'oct' is not one of RSA, EC, OKP"),
        ({}, "None is not one of"),
        ([], "expected an object"),
        (public("RS256", use="enc"), "not for signatures"),
        (public("RS256", key_ops=["encrypt"]), "not for signatures"),
        (public("RS256", alg="HS256"), "'HS256' is not one of its type"),
        (public("RS256", alg="none"), "'none' is not one of its type"),
        (public("ES256", alg="ES384"), "'ES384' is not one of its type"),
        (public("RS256", bits=1024), "an RSA key of 1024 bits"),
        (public("ES256", crv="P-224"), "'P-224' is not one of"),
        (public("EdDSA", crv="X25519"), "'X25519' is not one of"),
        ({"kty": "RSA", "e": "AQAB"}, "'n' is missing"),
        ({"kty": "RSA", "e": "AQAB", "n": "+/"}, "not base64url"),
        (public("ES256", x=number(1)), "."),  # not a point of the curve
        (public("EdDSA", x=encode(b"short")), "."),
    ],
)
def test_keys_that_cannot_be_used(key, why):
    with pytest.raises((InvalidKey, ValueError), match=why):
        read_key(key)


def test_a_set_keeps_the_keys_that_can_be_used():
    keys = read_key_set(key_set(SECRET, public("ES256", kid="a"), public("RS256", use="enc"), public("EdDSA")))
    assert [key.name for key in keys] == ["a", ""]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("[]", "not a key set"),
        ('{"keys": {}}', "not a key set"),
        ('{"keys": []}', "a key set without keys"),
        (json.dumps({"keys": [SECRET]}), r"keys\[0\]: type 'oct'"),
        (json.dumps({"keys": [{}] * (MAX_KEYS + 1)}), "at most"),
        (" " * (MAX_SET + 1), "more than"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_texts_that_are_no_set(text, why):
    with pytest.raises(InvalidKey, match=why):
        read_key_set(text)


@given(st.binary(max_size=64))
def test_base64url_comes_back(octets):
    assert decode(encode(octets)) == octets


@pytest.mark.parametrize("text", ["a+b/", "YQ==", "YQ\n", " YQ", "Y", "YQ.", "\u00e9"])
def test_what_is_no_base64url(text):
    with pytest.raises(ValueError, match=r"base64url|ordinal|padded|characters"):
        decode(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["keys", "kty", "crv", "x", "y", "n", "e", "kid", "alg"]), inner)
        ),
    )
)
def test_nothing_but_a_refusal_comes_of_nonsense(value):
    try:
        read_key_set(json.dumps(value))
    except InvalidKey:
        pass
