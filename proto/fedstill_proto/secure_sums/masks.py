"""The masks that cancel out in a sum: streams of whole numbers from seeds that two devices share.

    sent = numbers + stream(own seed) + sum over neighbours v: sign(u, v) stream(seed of u and v)   mod 2^bits

Two devices agree on a seed by X25519 and HKDF-SHA256, and a stream is ChaCha20's with the seed as its key
(RFC 8439); each seed makes one stream, in one round. Of the pair u < v, u adds and v subtracts. The numbers
are whole, in -most .. most; 2^bits is more than twice what n of them can add up to, so that the sum modulo
2^bits is the sum.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedstill_proto.arrays import IntArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.secure_sums.sizes import MOST_BITS

SEED_BYTES = 32

Masked = npt.NDArray[np.uint32]
"""Whole numbers modulo 2^bits: [d]."""


def private_key(secret: bytes) -> X25519PrivateKey:
    """The private key of 32 secret bytes."""
    return X25519PrivateKey.from_private_bytes(secret)


def public_key(private: X25519PrivateKey) -> bytes:
    """The public key of a private one."""
    return private.public_key().public_bytes_raw()


def agreed_seed(private: X25519PrivateKey, public: bytes, *, about: bytes) -> bytes:
    """What two devices agree on, each from its own private and the other's public key, about one matter.

    Raises:
        InvalidValue: The public key is none that gives a secret.
    """
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise InvalidValue("public_key", "not one that two could agree with") from None
    return HKDF(SHA256(), SEED_BYTES, salt=None, info=about).derive(shared)


def stream(seed: bytes, numbers: int) -> Masked:
    """Uniform numbers modulo 2^32 [numbers] of a seed, which nobody without it tells from random ones."""
    cipher = Cipher(ChaCha20(seed, bytes(16)), mode=None).encryptor()
    return np.frombuffer(cipher.update(bytes(4 * numbers)), "<u4")


def masked(steps: IntArray, added: Iterable[bytes], subtracted: Iterable[bytes], *, bits: int) -> Masked:
    """The numbers [d], with the streams of some seeds added and those of others subtracted."""
    total = steps.astype(np.uint32)  # negative ones modulo 2^32
    for seed in added:
        total += stream(seed, len(steps))
    for seed in subtracted:
        total -= stream(seed, len(steps))
    return total & np.uint32((1 << bits) - 1)


def unmasked(total: Masked, *, bits: int) -> IntArray:
    """The sum [d] that a total modulo 2^bits stands for: in -2^(bits - 1) .. 2^(bits - 1) - 1."""
    values = (total & np.uint32((1 << bits) - 1)).astype(np.int64)
    return np.where(values >> (bits - 1), values - (1 << bits), values)


def pack(values: Masked, *, bits: int) -> bytes:
    """Numbers modulo 2^bits [d] in as many bits each, highest first."""
    each = np.unpackbits(values.astype(">u4").view(np.uint8).reshape(-1, 4), axis=1)[:, MOST_BITS - bits :]
    return np.packbits(each.reshape(-1)).tobytes()


def packed_bytes(numbers: int, *, bits: int) -> int:
    """How many bytes so many numbers take."""
    return -(-numbers * bits // 8)


def unpack(data: bytes, numbers: int, *, bits: int) -> Masked:
    """The numbers [numbers] of `pack`; raises InvalidValue for any other bytes."""
    if len(data) != packed_bytes(numbers, bits=bits):
        raise InvalidValue(
            "numbers", f"{len(data)} bytes, expected {packed_bytes(numbers, bits=bits)} for {numbers}"
        )
    flat = np.unpackbits(np.frombuffer(data, np.uint8))
    if flat[numbers * bits :].any():
        raise InvalidValue("numbers", "a bit beyond the last number")
    each = np.zeros((numbers, MOST_BITS), np.uint8)
    each[:, MOST_BITS - bits :] = flat[: numbers * bits].reshape(numbers, bits)
    return np.packbits(each, axis=1).reshape(-1).view(">u4").astype(np.uint32)


def mask_seed(private: X25519PrivateKey, public: bytes, *, roster: bytes, pair: tuple[int, int]) -> bytes:
    """The seed of the mask of two members of a group, from either one's private and the other's public mask
    key.

    Args:
        private: The private key.
        public: The public key.
        roster: The roster's digest.
        pair: Both places, in either order.
    """
    first, second = sorted(pair)
    places = first.to_bytes(4, "little") + second.to_bytes(4, "little")
    return agreed_seed(private, public, about=b"fedstill sum mask 1\0" + roster + places)
