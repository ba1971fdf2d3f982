"""What a device deals to a neighbour, sealed so that the server that carries it reads and changes nothing.

A pair agrees by X25519 on a key for each direction of each roster, and seals one message with it
(ChaCha20-Poly1305, RFC 8439), so that one nonce will do. The roster's digest and both places are in what the
key is about: what was sealed for another group, or turned around, does not open.
"""

from __future__ import annotations

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fedstill_proto.errors import InvalidValue
from fedstill_proto.secure_sums.masks import agreed_seed
from fedstill_proto.secure_sums.shamir import CHUNKS, PRIME, SHARE_BYTES, Shares

SEALED_BYTES = 2 * SHARE_BYTES + 16
_NONCE = bytes(12)


def seal(
    shares: Shares, private: X25519PrivateKey, public: bytes, *, roster: bytes, way: tuple[int, int]
) -> bytes:
    """The two shares [2, CHUNKS] that the device at way[0] deals to that at way[1].

    Args:
        shares: Of the seed of its own mask, and of the private key of its masks.
        private: The dealer's private share key.
        public: The neighbour's public share key.
        roster: The roster's digest.
        way: Both places.
    """
    key = agreed_seed(private, public, about=_about(roster, way))
    return ChaCha20Poly1305(key).encrypt(_NONCE, shares.astype("<u2").tobytes(), None)


def open_sealed_shares(
    sealed: bytes, private: X25519PrivateKey, public: bytes, *, roster: bytes, way: tuple[int, int]
) -> Shares:
    """The two shares [2, CHUNKS]; private is the key of the device at way[1].

    Raises:
        InvalidValue: They are not what the device at way[0] sealed for this one in this group.
    """
    key = agreed_seed(private, public, about=_about(roster, way))
    try:
        plain = ChaCha20Poly1305(key).decrypt(_NONCE, sealed, None)
    except InvalidTag:
        raise InvalidValue("sealed", "not what the neighbour sealed for this device") from None
    if len(plain) != 2 * SHARE_BYTES:
        raise InvalidValue("sealed", f"{len(plain)} bytes of shares, expected {2 * SHARE_BYTES}")
    shares = np.frombuffer(plain, "<u2").reshape(2, CHUNKS).astype(np.uint16)
    if shares.max() >= PRIME:
        raise InvalidValue("sealed", "no shares")
    return shares


def _about(roster: bytes, way: tuple[int, int]) -> bytes:
    return b"fedstill sum shares 1\0" + roster + b"".join(place.to_bytes(4, "little") for place in way)
