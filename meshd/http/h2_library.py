"""The one place that knows which HTTP/2 library runs: hyper-h2, or jh2, which has the same API and its HPACK in Rust.

jh2 is taken when it is installed (the extra `fast`), unless the environment says MESHD_H2=h2. Everything
that differs between the two, and every exception that hostile octets can draw out of them, ends here.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings
from hpack import Encoder

from meshd.core.head import Headers
from meshd.http.h2_hpack import BadHeaderBlock, count_fields

VARIABLE = "MESHD_H2"
NAMES = ("jh2", "h2")
OVERHEAD = 32  # octets that each field of a list is said to have besides its own (RFC 7541 section 4.1)


class Secret(tuple[bytes, bytes]):
    """A field that its sender wants in no compression table, here and on every hop behind (RFC 7541 section 7.1.3)."""

    __slots__ = ()


class HeaderListTooLarge(Exception):
    """A block that decodes to more than anybody may send; decoding stopped, so the connection is lost as well."""


class _Decoder(Protocol):
    max_header_list_size: int

    def decode(self, data: bytes, raw: bool) -> list[tuple[bytes, ...]]: ...  # noqa: FBT001  # theirs


class FieldDecoder:
    """Header blocks to fields; `limit` is octets of one decoded list, with OVERHEAD for each field."""

    __slots__ = ("_decoder", "_limit", "_too_large", "_triples")

    def __init__(self, library: "Library", limit: int) -> None:
        module = import_module(f"{library.name}.connection")
        self._decoder: _Decoder = module.Decoder()
        self._decoder.max_header_list_size = self._limit = limit
        self._too_large: type[Exception] = module.OversizedHeaderListError
        self._triples = bool(getattr(module, "ALTERNATIVE_HPACK", False))

    def decode(self, block: bytes) -> Headers:
        """The fields in order. Raises BadHeaderBlock or HeaderListTooLarge."""
        if self._triples and count_fields(block) * OVERHEAD > self._limit:  # jh2 counts octets alone
            raise HeaderListTooLarge("too many fields")
        try:
            fields = self._decoder.decode(block, raw=True)
        except self._too_large as error:
            raise HeaderListTooLarge(str(error)) from error
        except Exception as error:
            raise BadHeaderBlock(str(error)) from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # what a Rust panic becomes; no subclass of Exception
                raise
            raise BadHeaderBlock("the decoder gave up") from error
        if self._triples:
            return [Secret(field[:2]) if field[2] else (field[0], field[1]) for field in fields]
        return [
            (field[0], field[1]) if getattr(field, "indexable", True) else Secret((field[0], field[1]))
            for field in fields
        ]


@dataclass(frozen=True, slots=True)
class Library:
    """What the sessions use of an HTTP/2 library."""

    name: str
    connection: type[H2Connection]
    configuration: type[H2Configuration]
    settings: type[Settings]
    setting: type[SettingCodes]
    protocol_error: type[Exception]  # what receive_data raises by design; it has an `error_code`
    encode: Callable[[Encoder, Headers], bytes]  # without Huffman's code, which costs time at both ends for few octets
    never_indexed: Callable[[bytes, bytes], tuple[bytes, bytes]]

    def __repr__(self) -> str:
        return f"<Library {self.name}>"


def load(name: str) -> Library:
    """The library of that name. Raises ImportError."""
    connection = import_module(f"{name}.connection")
    settings = import_module(f"{name}.settings")
    hpack = import_module("hpack" if name == "h2" else f"{name}.hpack")
    secret = hpack.NeverIndexedHeaderTuple
    return Library(
        name,
        connection.H2Connection,
        import_module(f"{name}.config").H2Configuration,
        settings.Settings,
        settings.SettingCodes,
        import_module(f"{name}.exceptions").ProtocolError,
        _encode_triples(secret) if getattr(connection, "ALTERNATIVE_HPACK", False) else _encode,
        secret,
    )


def _encode(encoder: Encoder, fields: Headers) -> bytes:
    return encoder.encode(fields, huffman=False)


def _encode_triples(secret: type) -> Callable[[Encoder, Headers], bytes]:
    """For an encoder that is told by a third member which fields no table may remember."""

    def encode(encoder: Encoder, fields: Headers) -> bytes:
        return encoder.encode([(field[0], field[1], type(field) is secret) for field in fields], huffman=False)

    return encode


def choose(environment: Mapping[str, str]) -> str:
    """The name of the library to load. Raises ValueError for one that is unknown."""
    wanted = environment.get(VARIABLE, "")
    if wanted:
        if wanted not in NAMES:
            raise ValueError(f"{VARIABLE}={wanted!r}: valid values are {' and '.join(NAMES)}")
        return wanted
    return next(name for name in NAMES if find_spec(name) is not None)


LIBRARY = load(choose(os.environ))
