"""Shamir's shares of a secret (1979): any `threshold` of them give it back, and fewer say nothing of it.

A secret of 32 bytes is cut into 18 chunks of 15 bits. Each is the value at 0 of a polynomial of degree
threshold - 1 over the integers modulo 65521, whose other coefficients are uniformly random; the share of a
holder at place x is what the polynomials are there. The field is small so that a share is 36 bytes and all
of a device's are made by one product of matrices; it hides no less, since that rests on no hardness.
"""

from __future__ import annotations

import secrets

import numpy as np
import numpy.typing as npt

from fedstill_proto.arrays import IntArray
from fedstill_proto.errors import InvalidValue

PRIME = 65521
SECRET_BYTES = 32
CHUNKS = 18
SHARE_BYTES = 2 * CHUNKS
_CHUNK_BITS = 15

Shares = npt.NDArray[np.uint16]
"""A share of one secret in each row: [holders, CHUNKS]."""


def split(secret: bytes, places: IntArray, *, threshold: int) -> Shares:
    """The shares of the holders at these places [n], which are distinct and in 1 to PRIME - 1."""
    if len(secret) != SECRET_BYTES:
        raise InvalidValue("secret", f"{len(secret)} bytes, expected {SECRET_BYTES}")
    _check_places(places)
    if not 1 <= threshold <= len(places):
        raise InvalidValue("threshold", f"{threshold} of {len(places)} shares")
    # Products are below 2^32 and at most 2^16 are added: float64 holds the sum exactly, and is what is fast.
    coefficients = np.concatenate([_chunks(secret)[None], _random_below_prime(threshold - 1)])
    values = _powers(places, threshold).astype(np.float64) @ coefficients.astype(np.float64)
    return (values.astype(np.int64) % PRIME).astype(np.uint16)


def join(places: IntArray, shares: Shares) -> bytes:
    """The secret, of exactly `threshold` shares [threshold, CHUNKS] of the holders at these places.

    Raises:
        InvalidValue: No secret has these shares. Others that are wrong give another secret: what it opens
            has to be compared with what is known of it.
    """
    _check_places(places)
    if shares.shape != (len(places), CHUNKS):
        raise InvalidValue("shares", f"of shape {shares.shape}, expected {(len(places), CHUNKS)}")
    weights = _lagrange_at_zero(places).astype(np.float64)
    chunks = (weights @ shares.astype(np.float64)).astype(np.int64) % PRIME
    number = 0
    for chunk in chunks.tolist():
        number = (number << _CHUNK_BITS) | chunk
    if chunks.max() >> _CHUNK_BITS or number >> (8 * SECRET_BYTES):
        raise InvalidValue("shares", "do not belong to one secret")
    return number.to_bytes(SECRET_BYTES, "big")


def _chunks(secret: bytes) -> IntArray:
    number = int.from_bytes(secret, "big")
    mask = (1 << _CHUNK_BITS) - 1
    shifts = range((CHUNKS - 1) * _CHUNK_BITS, -1, -_CHUNK_BITS)
    return np.array([(number >> shift) & mask for shift in shifts], np.int64)


def _random_below_prime(rows: int) -> IntArray:
    """Uniform numbers [rows, CHUNKS] from the operating system; those of 65521 and more are drawn again."""
    wanted, found = rows * CHUNKS, np.empty(0, np.uint16)
    while len(found) < wanted:
        drawn = np.frombuffer(secrets.token_bytes(2 * (wanted - len(found)) + 16), np.uint16)
        found = np.concatenate([found, drawn[drawn < PRIME]])
    return found[:wanted].astype(np.int64).reshape(rows, CHUNKS)


def _powers(places: IntArray, count: int) -> IntArray:
    """place^j modulo PRIME of j = 0 .. count - 1: [n, count]."""
    powers = np.ones((len(places), count), np.int64)
    for j in range(1, count):
        powers[:, j] = powers[:, j - 1] * places % PRIME
    return powers


def _lagrange_at_zero(places: IntArray) -> IntArray:
    """The weight of each place in the polynomial's value at 0: product over others of x_j / (x_j - x_i)."""
    above, below = np.ones_like(places), np.ones_like(places)
    for number, place in enumerate(places.tolist()):
        other = (place - places) % PRIME
        above, below = above * place % PRIME, below * np.where(other == 0, 1, other) % PRIME
        above[number] = above[number] * pow(place, -1, PRIME) % PRIME  # not its own
    inverse = np.array([pow(number, -1, PRIME) for number in below.tolist()], np.int64)
    return above * inverse % PRIME


def _check_places(places: IntArray) -> None:
    if len(np.unique(places)) != len(places) or len(places) == 0:
        raise InvalidValue("places", "none, or one appears twice")
    if places.min() < 1 or places.max() >= PRIME:
        raise InvalidValue("places", f"{places.min()} to {places.max()} are not in 1 to {PRIME - 1}")
