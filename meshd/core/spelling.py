"""When two names of fields are one to an app.

CGI (RFC 3875 section 4.1.18), WSGI, FastCGI and PHP hand a field to the app as a variable: upper case, `-` written as
`_`, and with some servers so is every octet that is neither letter nor digit. There `X_Forwarded_Client_Cert` cannot be
told from `X-Forwarded-Client-Cert`. So what protects or restricts a field looks at every spelling of its name.
"""

from collections.abc import Iterable
from typing import Final, TypeAlias

Fields: TypeAlias = list[tuple[bytes, bytes]]
_LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_FOLDED: Final = bytes(octet if octet in _LETTERS else 0x2D for octet in range(256)).lower()


MAX_REMEMBERED: Final = 1024  # names, of at most MAX_NAME bytes each
MAX_NAME: Final = 64


class _Folds(dict[bytes, bytes]):
    """Names that were met, folded: there are few, and a look-up costs less than the work."""

    def __missing__(self, name: bytes) -> bytes:
        folded = name.translate(_FOLDED)
        if len(self) < MAX_REMEMBERED and len(name) <= MAX_NAME:
            self[name] = folded
        return folded


FOLDS: Final = _Folds()


def fold(name: bytes) -> bytes:
    """The same for all spellings of a name: lower case, letters, digits and hyphens."""
    return FOLDS[name]


def fold_all(names: Iterable[bytes]) -> frozenset[bytes]:
    """Each name folded."""
    return frozenset(map(fold, names))


def without(headers: Fields, folded: frozenset[bytes]) -> Fields:
    """The fields whose names are none of these, however they are spelled."""
    return [field for field in headers if FOLDS[field[0]] not in folded]


def without_other_spellings(headers: Fields, names: Iterable[bytes]) -> Fields:
    """The fields but for those that only look like one of these names."""
    exact = frozenset(names)
    folded = fold_all(exact)
    return [field for field in headers if field[0] in exact or fold(field[0]) not in folded]
