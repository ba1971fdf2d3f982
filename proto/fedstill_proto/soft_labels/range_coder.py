"""A range coder over tables of whole-number weights (Martin 1979): constriction's, or the same in Python.

Each symbol of an alphabet of n is coded with a row of n weights that add up to `TOTAL - n`; symbol s gets the
share (weight + 1) / TOTAL of the interval, so none is impossible. Weights are whole numbers and so is all
arithmetic: both sides agree to the bit, on every machine.

The coding is that of constriction's RangeEncoder (Bamler 2022, arXiv 2201.01741; MIT, Apache-2.0 or BSL-1.0):
32-bit words, 64-bit state, 24 bits of precision. It has no wheel for Linux on arm64, so the same coding
stands below in whole numbers of Python, slower by far and as exact; a test compares the two. Beside what
constriction writes, `finish` leaves out every byte at the end that the decoder does not need.
"""

from __future__ import annotations

import bisect
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fedstill_proto.arrays import IntArray
from fedstill_proto.errors import FedstillError

try:
    from constriction import stream

    # The weights are whole numbers with the sum that this model scales to: it uses them as they are.
    _MODEL = stream.model.Categorical(perfect=False)
    HAS_LIBRARY = True
except ImportError:
    HAS_LIBRARY = False

WeightArray = npt.NDArray[np.float64]  # whole numbers
SymbolArray = npt.NDArray[np.int32]

PRECISION_BITS = 24
TOTAL = 1 << PRECISION_BITS
_FEW_SYMBOLS = 16  # at least 3: of so few, all weights are handed over
_WORD_BITS, _STATE_BITS = 32, 64
_WORD, _STATE = 1 << _WORD_BITS, 1 << _STATE_BITS


# The same weights [n] for many symbols, as `shared_weights` makes them ready.
SharedWeights = Any


class Undecodable(FedstillError):
    """Bytes that no encoder makes with these weights."""


class RangeEncoder(Protocol):
    """Codes symbols one after another."""

    def encode(self, symbols: SymbolArray, weights: WeightArray) -> None:
        """Symbols [m] with weights [m, n] of their own."""

    def encode_alike(self, symbols: SymbolArray, weights: SharedWeights) -> None:
        """Symbols [m] with the same weights."""

    def finish(self) -> bytes:
        """The shortest bytes that decode to all of it."""


class RangeDecoder(Protocol):
    """Gives back what a RangeEncoder coded; of other bytes, some symbols or others."""

    def decode(self, weights: WeightArray) -> SymbolArray:
        """The next symbols [m], coded with weights [m, n]; raises Undecodable for bytes that nobody codes."""

    def decode_alike(self, weights: SharedWeights, count: int) -> SymbolArray:
        """As many symbols, coded with the same weights; raises Undecodable."""


def range_encoder() -> RangeEncoder:
    """constriction's where it is installed."""
    return LibraryEncoder() if HAS_LIBRARY else PlainEncoder()


def range_decoder(data: bytes) -> RangeDecoder:
    """constriction's where it is installed."""
    return LibraryDecoder(data) if HAS_LIBRARY else PlainDecoder(data)


def shared_weights(weights: WeightArray) -> SharedWeights:
    """Weights [n] for many symbols of one coder, or of one that writes and one that reads."""
    return stream.model.Categorical(weights, perfect=False) if HAS_LIBRARY else weights


def narrowed(symbols: SymbolArray, weights: WeightArray, which: IntArray) -> tuple[SymbolArray, WeightArray]:
    """Symbols [m] among three: of what lies below a symbol and above it only the sum matters to the coder.

    Args:
        symbols: [m], below n.
        weights: [rows, n].
        which: The row of weights of each symbol [m].

    Returns:
        Symbols [m] and weights [m, 3] that are coded alike; weights [m, n] where n is small.
    """
    if weights.shape[1] <= _FEW_SYMBOLS:
        return symbols, weights[which]
    ends = np.cumsum(weights + 1, axis=1)
    weight, end = weights[which, symbols], ends[which, symbols]
    parts = np.empty((len(symbols), 3))  # each of at least one share: [0] is below, [2] above
    parts[:, 0], parts[:, 1], parts[:, 2] = end - weight - 2, weight, TOTAL - end - 1
    among = np.ones(len(symbols), np.int32)
    if len(first := np.flatnonzero(symbols == 0)):
        among[first] = 0
        parts[first, 0], parts[first, 1], parts[first, 2] = weight[first], TOTAL - end[first] - 2, 0
    if len(last := np.flatnonzero(symbols == weights.shape[1] - 1)):
        among[last] = 2
        parts[last, 1], parts[last, 2] = parts[last, 0] - 1, weight[last]
        parts[last, 0] = 0
    return among, parts


class LibraryEncoder:
    """By constriction."""

    def __init__(self) -> None:
        self._coder = stream.queue.RangeEncoder()

    def encode(self, symbols: SymbolArray, weights: WeightArray) -> None:
        if len(symbols):
            self._coder.encode(symbols, _MODEL, weights)

    def encode_alike(self, symbols: SymbolArray, weights: SharedWeights) -> None:
        self._coder.encode(symbols, weights)

    def finish(self) -> bytes:
        words, (low, width) = self._coder.pos()
        bits = _STATE_BITS + _WORD_BITS * words
        inside = int.from_bytes(
            self._coder.get_compressed().astype(">u4").tobytes().ljust(bits // 8, b"\0"), "big"
        )
        # The state is the low end's last 64 bits; `inside` lies less than 2**64 above it.
        return _shortest(inside - (inside - low) % _STATE, width, bits=bits)


class LibraryDecoder:
    """By constriction."""

    def __init__(self, data: bytes) -> None:
        padded = data + bytes(-len(data) % (_WORD_BITS // 8))
        self._coder = stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))

    def decode(self, weights: WeightArray) -> SymbolArray:
        return self._decoded(_MODEL, weights) if len(weights) else np.empty(0, np.int32)

    def decode_alike(self, weights: SharedWeights, count: int) -> SymbolArray:
        return self._decoded(weights, count)

    def _decoded(self, *asked: Any) -> SymbolArray:
        try:
            symbols: SymbolArray = self._coder.decode(*asked)
        except AssertionError:  # what it raises for data that fits no symbol
            raise Undecodable from None
        return symbols


class PlainEncoder:
    """The interval [low, low + width) of all that was coded, with the words before it."""

    def __init__(self) -> None:
        self._words: list[int] = []
        self._low, self._width = 0, _STATE - 1

    def encode(self, symbols: SymbolArray, weights: WeightArray) -> None:
        places = np.arange(len(symbols)), symbols
        self._encode(np.cumsum(weights + 1, axis=1)[places], weights[places])

    def encode_alike(self, symbols: SymbolArray, weights: WeightArray) -> None:
        self._encode(np.cumsum(weights + 1)[symbols], weights[symbols])

    def _encode(self, ends: WeightArray, weights: WeightArray) -> None:
        for end, weight in zip(
            ends.astype(np.int64).tolist(), weights.astype(np.int64).tolist(), strict=True
        ):
            share = weight + 1
            scale = self._width >> PRECISION_BITS
            self._low += scale * (end - share)
            self._width = scale * share
            if self._low >= _STATE:
                self._low -= _STATE
                self._carry()
            if self._width < _STATE >> _WORD_BITS:
                self._words.append(self._low >> _WORD_BITS)
                self._low = (self._low << _WORD_BITS) % _STATE
                self._width <<= _WORD_BITS

    def finish(self) -> bytes:
        before = int.from_bytes(np.array(self._words, ">u4").tobytes(), "big")
        bits = _STATE_BITS + _WORD_BITS * len(self._words)
        return _shortest((before << _STATE_BITS) + self._low, self._width, bits=bits)

    def _carry(self) -> None:
        place = len(self._words) - 1
        while self._words[place] == _WORD - 1:
            self._words[place] = 0
            place -= 1
        self._words[place] += 1


class PlainDecoder:
    """Finds, symbol by symbol, in which part of the interval the point lies (counted from its low end)."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._read = 0
        self._point = self._next_word() << _WORD_BITS | self._next_word()
        self._width = _STATE - 1

    def decode(self, weights: WeightArray) -> SymbolArray:
        return self._decoded(np.cumsum(weights + 1, axis=1).astype(np.int64).tolist())

    def decode_alike(self, weights: WeightArray, count: int) -> SymbolArray:
        return self._decoded([np.cumsum(weights + 1).astype(np.int64).tolist()] * count)

    def _decoded(self, ends_of: list[list[int]]) -> SymbolArray:
        symbols: list[int] = []
        for ends in ends_of:
            scale = self._width >> PRECISION_BITS
            quantile = self._point // scale
            if quantile >= TOTAL:
                raise Undecodable
            symbol = bisect.bisect_right(ends, quantile)
            symbols.append(symbol)
            start = ends[symbol - 1] if symbol else 0
            self._point -= scale * start
            self._width = scale * (ends[symbol] - start)
            if self._width < _STATE >> _WORD_BITS:
                self._point = self._point << _WORD_BITS | self._next_word()
                self._width <<= _WORD_BITS
        return np.array(symbols, np.int32)

    def _next_word(self) -> int:
        word = self._data[self._read : self._read + _WORD_BITS // 8]
        self._read += _WORD_BITS // 8
        return int.from_bytes(word.ljust(_WORD_BITS // 8, b"\0"), "big")


def _shortest(low: int, width: int, *, bits: int) -> bytes:
    """The fewest bytes which, followed by zeros, are a number of `bits` bits in [low, low + width)."""
    dropped = min(width.bit_length() // 8 + 1, bits // 8) * 8
    while -(-low >> dropped) << dropped >= low + width:
        dropped -= 8
    return (-(-low >> dropped)).to_bytes((bits - dropped) // 8, "big").rstrip(b"\0")
