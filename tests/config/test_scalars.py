"""Sizes, and types with a form of their own."""

import pytest
from pydantic import TypeAdapter, ValidationError

from meshd.config.address import Address
from meshd.config.scalars import (
    WORDS,
    Duration,
    GatewayDuration,
    HeaderValue,
    ListenAddress,
    LongDuration,
    Size,
    TargetAddress,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "octets"), [(0, 0), (5, 5), ("7", 7), ("64Ki", 65536), ("1.5Mi", 1572864), ("2k", 2000), ("1Ti", 2**40)]
)
def test_sizes(text, octets):
    assert parse_size(text) == octets


@pytest.mark.parametrize(
    "text", [-1, True, 1.5, "", "Ki", "1KB", "1 Ki", "-1", "1e3", None, 2**63, "999999999999999Ti"]
)
def test_what_is_no_size(text):
    assert parse_size(text) is None


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Duration, "0", 0), (LongDuration, "1ms", 0.001), (GatewayDuration, "1m", 60), (Size, "1Ki", 1024),
        (ListenAddress, "a:0", Address("a", 0)),
        (TargetAddress, "a:1", Address("a", 1)), (HeaderValue, "a b", "a b"),
    ],
)  # fmt: skip
def test_values_are_read(kind, text, value):
    assert TypeAdapter(kind).validate_python(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Duration, "1"), (Duration, 1), (LongDuration, "0s"), (GatewayDuration, "1.5s"), (Size, "x"),
        (ListenAddress, "a"), (TargetAddress, "a:0"), (HeaderValue, "a\r\nb"), (HeaderValue, "é"), (HeaderValue, "a "),
    ],
)  # fmt: skip
def test_values_are_refused(kind, text):
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(text)


def test_an_address_reads_itself():
    assert TypeAdapter(ListenAddress).validate_python(Address("a", 1)) == Address("a", 1)


def test_every_pattern_has_words():
    assert all(words and not words.startswith("^") for words in WORDS.values())
