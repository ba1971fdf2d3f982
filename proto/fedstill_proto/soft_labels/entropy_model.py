"""How likely each code of soft labels is: a model that learns while it codes, the same on both sides.

Codes travel bucket by bucket, a bucket's rows in blocks. The weight of code s in context c mixes three counts
of what both sides have seen so far, smoothed over neighbouring codes where there are many,

    weight(s) = count(s | c) + 4 P(s) + 8 P(s - base)

(prediction by partial matching, Cleary and Witten 1984, with a fixed escape), without codes that a row has no
shares left for. Against a base, which both sides hold, the context is the base's own code of the bucket, and
the third term knows how far codes are from their base: conditional coding, which can only gain on the plain
difference of CFD (Sattler et al. 2021, arXiv 2012.00632). Buckets go from the base's likeliest to its least
likely one, so that the shares of a row are soon given out, and what is left costs nothing. Without a base the
context is the bucket's place, and the third term is missing.

All counts and weights are whole numbers, so server and device never disagree.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fedstill_proto.arrays import Float64Array, IntArray
from fedstill_proto.soft_labels.levels import CodeArray, Grid, Levels, buckets_of
from fedstill_proto.soft_labels.range_coder import TOTAL, RangeDecoder, RangeEncoder, Undecodable

_SEEN = 24  # what one code adds to its counts
_ESCAPE, _DISTANCE = 4 * _SEEN, 8 * _SEEN
_MOST = 1 << 14  # the sum of a context's counts, above which they are halved
_PLACES = 64  # contexts of buckets without a base
_UNIT = 1 << 12  # stands for a probability of 1
_SMOOTH = 64  # what a row of the smoothing matrix adds up to
_FIRST_BLOCK, _LARGEST_BLOCK = 8, 128  # rows coded before the counts are looked at again
_MOST_GAPS = 64  # gaps between kept classes that have a symbol each


class SymbolWriter:
    """Encodes the symbols that it is given."""

    def __init__(self, encoder: RangeEncoder) -> None:
        self._encoder = encoder

    def code(self, symbols: IntArray, weights: IntArray) -> IntArray:
        self._encoder.encode(symbols, weights)
        return symbols


class SymbolReader:
    """Decodes symbols in place of those given, and encodes them again: the bytes must be the same."""

    def __init__(self, decoder: RangeDecoder, copy: RangeEncoder) -> None:
        self._decoder, self._copy = decoder, copy

    def code(self, symbols: IntArray, weights: IntArray) -> IntArray:
        read = self._decoder.decode(weights)
        self._copy.encode(read, weights)
        return read


SymbolCoder = SymbolWriter | SymbolReader


class SymbolCounts:
    """How often each symbol has been seen, by context; `distances` counts symbol - context as well."""

    def __init__(self, symbols: int, contexts: int, *, distances: bool) -> None:
        self._symbols = symbols
        self._smoothing, self._smoothing_apart = _smoothing(symbols, edges=False), _smoothing(symbols)
        self._by_context = np.zeros((contexts, symbols), np.int64)
        self._all = np.ones(symbols, np.int64)
        self._distances = np.zeros(2 * symbols - 1, np.int64) if distances else None

    def weights(self, contexts: IntArray, most: IntArray | None) -> IntArray:
        """[m, symbols] for a range coder; row i gives no weight to symbols above `most` [m]."""
        present, place = np.unique(contexts, return_inverse=True)
        anywhere = _smoothed(self._all, self._smoothing) + 1
        mixed = _smoothed(self._by_context[present], self._smoothing) * (_UNIT // _SMOOTH)
        mixed += _ESCAPE * (anywhere * _UNIT // anywhere.sum() + 1)
        if self._distances is not None:
            last = self._symbols - 1
            near = np.stack([self._distances[last - base : 2 * last + 1 - base] for base in present])
            near = _smoothed(near, self._smoothing_apart) + 1
            mixed += _DISTANCE * (near * _UNIT // near.sum(axis=1, keepdims=True))
        rows = mixed[place]
        if most is not None:
            rows *= np.arange(self._symbols) <= most[:, None]
        free = TOTAL - self._symbols
        weights: IntArray = rows * free // rows.sum(axis=1, keepdims=True)
        weights[np.arange(len(rows)), weights.argmax(axis=1)] += free - weights.sum(axis=1)
        return weights

    def update(self, symbols: IntArray, contexts: IntArray) -> None:
        np.add.at(self._by_context, (contexts, symbols), _SEEN)
        full = self._by_context.sum(axis=1) > _MOST
        self._by_context[full] //= 2
        self._all += _SEEN * np.bincount(symbols, minlength=self._symbols)
        if self._all.sum() > 4 * _MOST:
            self._all = (self._all + 1) // 2
        if self._distances is not None:
            last = self._symbols - 1
            self._distances += _SEEN * np.bincount(symbols - contexts + last, minlength=2 * last + 1)
            if self._distances.sum() > 4 * _MOST:
                self._distances //= 2


@dataclass(frozen=True)
class LevelShape:
    """What both sides know of levels before a code is read; k is 0 where all classes are kept."""

    rows: int
    classes: int
    k: int
    bits: int
    grid: Grid

    @classmethod
    def of(cls, levels: Levels) -> LevelShape:
        return cls(levels.rows, levels.classes, levels.k, levels.bits, levels.grid)

    def fits(self, levels: Levels) -> bool:
        """Whether levels have this shape."""
        return LevelShape.of(levels) == self

    @property
    def buckets(self) -> int:
        """Buckets of a row."""
        return buckets_of(self.classes, self.k)

    @property
    def top(self) -> int:
        """The largest code."""
        return (1 << self.bits) - 1


def code_levels(coder: SymbolCoder, shape: LevelShape, levels: Levels | None, base: Levels | None) -> Levels:
    """Code levels, bucket after bucket.

    Args:
        coder: Writes the levels, or reads them.
        shape: Their shape.
        levels: What is written; None where it is read.
        base: Levels of the same shape, which both sides hold; None codes them by themselves.

    Returns:
        The levels that were written or read.

    Raises:
        Undecodable: The bytes stand for no such levels.
    """
    if shape.k:
        return _code_top_k(coder, shape, levels, base)
    order = None if base is None else _likeliest_first(base.codes, shape.grid)
    codes = None if levels is None else _ordered(levels.codes, order)
    codes = _code_buckets(coder, shape, codes, None if base is None else _ordered(base.codes, order))
    return Levels(_put_back(codes, order), shape.classes, shape.bits, shape.grid)


def _code_top_k(coder: SymbolCoder, shape: LevelShape, levels: Levels | None, base: Levels | None) -> Levels:
    """The places of the kept classes in the base's order, then their codes in that order, then the rest."""
    queue = ClassQueue(shape, base)
    places, order = None, None
    if levels is not None:
        assert levels.indices is not None  # it has this shape
        places = queue.places(levels.indices)
        order = np.argsort(places, axis=1)
        places = np.take_along_axis(places, order, axis=1)
    places = _code_places(coder, shape, places)
    indices = queue.classes(places)
    codes = None
    if levels is not None:
        codes = np.concatenate([_ordered(levels.codes[:, :-1], order), levels.codes[:, -1:]], axis=1)
    codes = _code_buckets(coder, shape, codes, queue.base_codes(places))
    by_class = np.argsort(indices, axis=1)
    kept = _ordered(codes[:, :-1], by_class)
    return Levels(
        np.concatenate([kept, codes[:, -1:]], axis=1),
        shape.classes,
        shape.bits,
        shape.grid,
        np.take_along_axis(indices, by_class, axis=1),
    )


class ClassQueue:
    """A row's classes: those of the base, from the likeliest on, then the others; without one, in order."""

    def __init__(self, shape: LevelShape, base: Levels | None) -> None:
        self._base = base
        self._top, self._grid = shape.top, shape.grid
        if base is not None:
            assert base.indices is not None  # it has the shape of what is coded
            self._order = _likeliest_first(base.codes[:, :-1], shape.grid)
            self._first: IntArray = np.take_along_axis(base.indices, self._order, axis=1)  # [rows, k]
            self._increasing = base.indices

    def places(self, classes: IntArray) -> IntArray:
        """Where classes [rows, m] stand."""
        if self._base is None:
            return classes
        same = classes[:, :, None] == self._first[:, None, :]  # [rows, m, k]
        before = (self._increasing[:, None, :] < classes[:, :, None]).sum(axis=2)
        others = self._first.shape[1] + classes - before
        places: IntArray = np.where(same.any(axis=2), same.argmax(axis=2), others)
        return places

    def classes(self, places: IntArray) -> IntArray:
        """Which classes stand at places [rows, m]."""
        if self._base is None:
            return places
        k = self._first.shape[1]
        number = places - k  # among those that the base does not keep
        skipped = (self._increasing - np.arange(k))[:, None, :] <= number[:, :, None]
        first = np.take_along_axis(self._first, np.clip(places, 0, k - 1), axis=1)
        return np.where(places < k, first, number + skipped.sum(axis=2))

    def base_codes(self, places: IntArray) -> CodeArray | None:
        """The base's codes of the classes at places [rows, m], then of the rest; least for those outside."""
        if self._base is None:
            return None
        k = self._first.shape[1]
        own = np.take_along_axis(
            _ordered(self._base.codes[:, :-1], self._order), np.clip(places, 0, k - 1), axis=1
        )
        least = 0 if self._grid is Grid.SHARES else self._top
        kept = np.where(places < k, own, least).astype(np.uint8)
        return np.concatenate([kept, self._base.codes[:, -1:]], axis=1)


def _code_buckets(
    coder: SymbolCoder, shape: LevelShape, written: CodeArray | None, base: CodeArray | None
) -> CodeArray:
    """Codes [rows, buckets], bucket after bucket; of shares, the last bucket gets what is left."""
    rows, top = shape.rows, shape.top
    codes = np.zeros((rows, shape.buckets), np.int64) if written is None else written.astype(np.int64)
    counts = SymbolCounts(top + 1, _PLACES if base is None else top + 1, distances=base is not None)
    left = np.full(rows, top)
    for bucket in range(shape.buckets):
        if shape.grid is Grid.SHARES and bucket == shape.buckets - 1:
            codes[:, bucket] = left
            break
        open_rows = np.flatnonzero(left)
        for block in _blocks(open_rows, first=bucket == 0):
            contexts = (
                np.full(len(block), min(bucket, _PLACES - 1))
                if base is None
                else base[block, bucket].astype(np.int64)
            )
            most = left[block] if shape.grid is Grid.SHARES else None
            symbols = coder.code(codes[block, bucket], counts.weights(contexts, most))
            if most is not None:
                if (symbols > most).any():
                    raise Undecodable
                left[block] -= symbols
            counts.update(symbols, contexts)
            codes[block, bucket] = symbols
    return codes.astype(np.uint8)


def _code_places(coder: SymbolCoder, shape: LevelShape, written: IntArray | None) -> IntArray:
    """Increasing places [rows, k] of the kept classes, by the gaps between them."""
    room = shape.classes - shape.k
    gaps = np.zeros((shape.rows, shape.k), np.int64)
    if written is not None:
        gaps = np.diff(written, axis=1, prepend=-1) - 1
    gaps = _code_gaps(coder, gaps, room) if room < _MOST_GAPS else _code_wide_gaps(coder, gaps, room)
    if (gaps.sum(axis=1) > room).any():
        raise Undecodable
    return np.cumsum(gaps + 1, axis=1) - 1


def _code_gaps(coder: SymbolCoder, gaps: IntArray, room: int) -> IntArray:
    counts = SymbolCounts(room + 1, _PLACES, distances=False)
    left = np.full(len(gaps), room)
    for place in range(gaps.shape[1]):
        for block in _blocks(np.flatnonzero(left), first=place == 0):
            contexts = np.full(len(block), min(place, _PLACES - 1))
            symbols = coder.code(gaps[block, place], counts.weights(contexts, left[block]))
            if (symbols > left[block]).any():
                raise Undecodable
            counts.update(symbols, contexts)
            gaps[block, place] = symbols
            left[block] -= symbols
    return gaps


def _code_wide_gaps(coder: SymbolCoder, gaps: IntArray, room: int) -> IntArray:
    """gap + 1 = 2**exponent + mantissa (Elias 1975): the exponents are learned, the mantissas plain bits."""
    values = gaps + 1
    exponents = np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1
    counts = SymbolCounts(int(room + 1).bit_length(), _PLACES, distances=False)
    for place in range(gaps.shape[1]):
        for block in _blocks(np.arange(len(gaps)), first=place == 0):
            contexts = np.full(len(block), min(place, _PLACES - 1))
            symbols = coder.code(exponents[block, place], counts.weights(contexts, None))
            counts.update(symbols, contexts)
            exponents[block, place] = symbols
    read = 1 << exponents
    for bit in range(int(exponents.max(initial=0))):
        cells = np.nonzero(exponents > bit)
        half = np.full((len(cells[0]), 2), TOTAL // 2 - 1)
        read[cells] += coder.code(values[cells] >> bit & 1, half) << bit
    wide: IntArray = read - 1
    return wide


def _likeliest_first(codes: CodeArray, grid: Grid) -> IntArray:
    """Each row's buckets, from the likeliest to the least likely; the first of equals first."""
    falling = -codes.astype(np.int64) if grid is Grid.SHARES else codes
    return np.argsort(falling, axis=1, kind="stable")


def _ordered(codes: CodeArray, order: IntArray | None) -> CodeArray:
    return codes if order is None else np.take_along_axis(codes, order, axis=1)


def _put_back(codes: CodeArray, order: IntArray | None) -> CodeArray:
    if order is None:
        return codes
    back = np.empty_like(codes)
    np.put_along_axis(back, order, codes, axis=1)
    return back


def _blocks(rows: IntArray, *, first: bool) -> Iterator[IntArray]:
    """Rows in parts; the very first parts are small, since nothing is known before them."""
    start, size = 0, _FIRST_BLOCK if first else _LARGEST_BLOCK
    while start < len(rows):
        yield rows[start : start + size]
        start += size
        size = min(2 * size, _LARGEST_BLOCK)


def _smoothed(counts: IntArray, smoothing: Float64Array) -> IntArray:
    """counts [..., symbols] @ smoothing: exact in any order of adding up, since sums stay below 2**53."""
    smoothed: IntArray = (counts.astype(np.float64) @ smoothing).astype(np.int64)
    return smoothed


@functools.cache
def _smoothing(symbols: int, *, edges: bool = True) -> Float64Array:
    """[symbols, symbols]: a triangle over the neighbours, one in 32 to either side, none below 32 symbols.

    edges: whether the first and the last symbol have neighbours; many codes end up there that are not alike.
    """
    reach = symbols // 32
    apart = np.abs(np.arange(symbols)[:, None] - np.arange(symbols))
    triangle = np.maximum(reach + 1 - apart, 0)
    smoothing: Float64Array = (_SMOOTH * triangle // triangle.sum(axis=1, keepdims=True)).astype(np.float64)
    if not edges:
        smoothing[[0, -1]] = 0
        smoothing[[0, -1], [0, -1]] = _SMOOTH
    return smoothing
