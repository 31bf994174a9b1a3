"""What one TLS handshake agreed on and proved, as spans tell it: made once a connection, referred to by every exchange.

A plain tuple, because it travels inside records that `marshal` writes, which takes no class of ours.
"""

from typing import TypeAlias

TlsSession: TypeAlias = tuple[
    str,  # version, such as "1.3"
    bool,  # resumed
    str,  # cipher, such as TLS_AES_128_GCM_SHA256
    str,  # group of the key exchange, such as X25519MLKEM768; empty when the library does not say
    str,  # protocol agreed on by ALPN; empty for none
    str,  # SPIFFE ID that the peer proved; empty for none
    str,  # SHA-256 of its leaf certificate, hex; empty for none
    str,  # subject of the leaf, RFC 4514; empty when it has none
    str,  # issuer of the leaf
    float,  # not before, seconds since the epoch
    float,  # not after
]
