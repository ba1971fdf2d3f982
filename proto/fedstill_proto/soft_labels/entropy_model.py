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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from fedstill_proto.arrays import BoolArray, Float64Array, IntArray
from fedstill_proto.soft_labels.levels import CodeArray, Grid, Levels, buckets_of, unchecked_levels
from fedstill_proto.soft_labels.range_coder import (
    TOTAL,
    RangeDecoder,
    RangeEncoder,
    Undecodable,
    WeightArray,
    narrowed,
    shared_weights,
)

_SEEN = 24  # what one code adds to its counts
_ESCAPE, _DISTANCE = 4 * _SEEN, 8 * _SEEN
_MOST = 1 << 14  # the sum of a context's counts, above which they are halved
_PLACES = 64  # contexts of buckets without a base
_UNIT = 1 << 12  # stands for a probability of 1
_SMOOTH = 64  # what a row of the smoothing matrix adds up to
_FIRST_BLOCK, _LARGEST_BLOCK = 8, 128  # rows coded before the counts are looked at again
_FEW_ROWS = 16  # rows of weights of a device that are computed whether they are needed or not
_ROWS_KEPT = 1 << 16  # rows of all devices whose blocks are worth being kept
_MOST_GAPS = 64  # gaps between kept classes that have a symbol each


@dataclass(frozen=True, eq=False)
class Block:
    """Rows whose next symbols are coded with what was seen before them, some of each device.

    Attributes:
        rows: [n], increasing: device after device.
        device: The device of each row [n].
        ends: Where the rows of each device end [devices].
        largest: No device has more of them.
    """

    rows: IntArray
    device: IntArray
    ends: list[int]
    largest: int

    def parts(self) -> Iterator[tuple[int, int, int]]:
        """(device, start, end) of those that have rows here."""
        start = 0
        for device, end in enumerate(self.ends):
            if end > start:
                yield device, start, end
                start = end


class SymbolWriter:
    """Encodes the symbols that it is given, those of each device by an encoder of its own."""

    def __init__(self, encoders: Sequence[RangeEncoder]) -> None:
        self._encoders = encoders

    def code(self, symbols: IntArray, block: Block, weights: WeightArray, which: IntArray | None) -> IntArray:
        """Symbols [n] of a block.

        Args:
            symbols: What is written.
            block: Whose they are.
            weights: [rows, symbols].
            which: The row of weights of each symbol [n]; None where each device has one of its own.
        """
        written = symbols.astype(np.int32)
        if which is None:
            for device, start, end in block.parts():
                self._encoders[device].encode_alike(written[start:end], shared_weights(weights[device]))
            return symbols
        written, weights = narrowed(written, weights, which)
        for device, start, end in block.parts():
            self._encoders[device].encode(written[start:end], weights[start:end])
        return symbols

    def refuse(self, devices: IntArray) -> None:
        """Nothing that is written is refused."""


class SymbolReader:
    """Decodes symbols in place of those given, and encodes them again: the bytes must be the same.

    A device whose bytes nobody writes is refused, and reads zeros from there on; no other notices.
    """

    def __init__(self, decoders: Sequence[RangeDecoder], copies: Sequence[RangeEncoder]) -> None:
        self._decoders, self._copies = decoders, copies
        self.refused: BoolArray = np.zeros(len(decoders), np.bool_)

    def code(self, symbols: IntArray, block: Block, weights: WeightArray, which: IntArray | None) -> IntArray:
        """The next symbols [n]; see SymbolWriter."""
        read = np.zeros(len(block.rows), np.int64)
        each = None if which is None else weights[which]
        for device, start, end in block.parts():
            if self.refused[device]:
                continue
            decoder = self._decoders[device]
            try:
                if each is None:
                    own = shared_weights(weights[device])
                    some = decoder.decode_alike(own, end - start)
                    self._copies[device].encode_alike(some, own)
                    read[start:end] = some
                else:
                    read[start:end] = decoder.decode(each[start:end])
            except Undecodable:
                self.refused[device] = True
        if which is not None:
            SymbolWriter(self._copies).code(read, block, weights, which)
        return read

    def refuse(self, devices: IntArray) -> None:
        """Refuse these devices."""
        self.refused[devices] = True

    def finish(self, bodies: Sequence[bytes]) -> BoolArray:
        """Which devices [n] had bytes that stand for what was read, and no other."""
        for device, body in enumerate(bodies):
            if not self.refused[device]:
                self.refused[device] = self._copies[device].finish() != body
        return ~self.refused


SymbolCoder = SymbolWriter | SymbolReader


@dataclass(eq=False)
class _Seen:
    """What a block's symbols are counted under: `pairs` of device and context, and the pair of each row."""

    block: Block
    contexts: IntArray | int
    pairs: IntArray | None  # None stands for all devices in the one context, or for all pairs
    pair: IntArray


class SymbolCounts:
    """How often each symbol has been seen, by device and context; `distances` counts symbol - context, too.

    Whole numbers below 2**53, held as float64, which computes with them exactly, and faster.
    """

    def __init__(self, devices: int, symbols: int, contexts: int, *, distances: bool) -> None:
        self._devices, self._symbols, self._contexts = devices, symbols, contexts
        self._smoothing, self._smoothing_apart = _smoothing(symbols, edges=False), _smoothing(symbols)
        self._by_context = np.zeros((devices, contexts, symbols))
        self._coded = [0] * contexts  # at most so many symbols of a device were seen in a context
        self._all = np.ones((devices, symbols))
        self._distances = np.zeros((devices, 2 * symbols - 1)) if distances else None

    def weights(
        self, block: Block, contexts: IntArray | int, most: IntArray | None
    ) -> tuple[WeightArray, IntArray | None, _Seen]:
        """For a range coder: weights [rows, symbols], and which of the rows each symbol [n] is coded with.

        Args:
            block: Of n rows.
            contexts: Those of each row [n], or that of all.
            most: No weight is given to a symbol above this, [n].
        """
        seen, size = self._pairs(block, contexts), self._symbols
        mixed = self._mixed(seen)
        which = None if isinstance(contexts, int) and most is None else seen.pair
        if most is not None and len(mixed) * size <= max(len(block.rows), _FEW_ROWS * self._devices):
            which = seen.pair * size + most
            mixed = (mixed[:, None, :] * _up_to_each(size)).reshape(-1, size)
        elif most is not None:
            used, which = _distinct(seen.pair * size + most, len(mixed) * size)
            mixed = mixed[used // size] * _up_to_each(size)[used % size]
        totals = mixed.sum(axis=1, keepdims=True)
        free = TOTAL - size
        # Below 2**52 a quotient is not rounded up to a whole number: floor is the whole-number division.
        mixed *= free
        mixed /= totals
        weights = np.floor(mixed, out=mixed)
        likeliest = weights.argmax(axis=1)
        likeliest += np.arange(0, weights.size, size)
        weights.reshape(-1)[likeliest] += free - weights.sum(axis=1)
        return weights, which, seen

    def _mixed(self, seen: _Seen) -> Float64Array:
        """The three counts of each pair of a block, mixed; [pairs, symbols]."""
        size, contexts = self._symbols, self._contexts
        escape = _smoothed(self._all, self._smoothing)
        escape += 1
        totals = escape.sum(axis=1, keepdims=True)
        escape *= _UNIT
        escape /= totals
        np.floor(escape, out=escape)
        escape += 1
        escape *= _ESCAPE
        if isinstance(seen.contexts, int):
            mixed = _smoothed(self._by_context[:, seen.contexts], self._smoothing)
            mixed *= _UNIT // _SMOOTH
            mixed += escape
            return mixed
        assert self._distances is not None  # contexts of their own are those of a base
        if seen.pairs is None:
            mixed = _smoothed(self._by_context, self._smoothing)
            mixed *= _UNIT // _SMOOTH
            mixed += escape[:, None]
            near = self._distances[:, _windows(size)]  # [devices, contexts, symbols]
        else:
            device, context = np.divmod(seen.pairs, contexts)
            mixed = _smoothed(self._by_context[device, context], self._smoothing)
            mixed *= _UNIT // _SMOOTH
            mixed += escape[device]
            near = self._distances[device[:, None], _windows(size)[context]]
        near = _smoothed(near, self._smoothing_apart)
        near += 1
        totals = near.sum(axis=-1, keepdims=True)
        near *= _UNIT
        near /= totals
        np.floor(near, out=near)
        near *= _DISTANCE
        mixed += near
        return mixed.reshape(-1, size)

    def update(self, symbols: IntArray, seen: _Seen) -> None:
        """Count the symbols [n] of a block."""
        size, device = self._symbols, seen.block.device
        added = np.bincount(device * size + symbols, minlength=self._devices * size) * float(_SEEN)
        added = added.reshape(-1, size)
        self._all += added
        _halve(self._all, 4 * _MOST, up=True)
        if isinstance(seen.contexts, int):
            self._by_context[:, seen.contexts] += added
            self._coded[seen.contexts] += seen.block.largest
            if _SEEN * self._coded[seen.contexts] > _MOST:
                _halve(self._by_context[:, seen.contexts], _MOST)
            return
        pairs = self._devices * self._contexts if seen.pairs is None else len(seen.pairs)
        added = np.bincount(seen.pair * size + symbols, minlength=pairs * size) * float(_SEEN)
        table = self._by_context.reshape(-1, size)
        if seen.pairs is None:
            table += added.reshape(-1, size)
            _halve(table, _MOST)
        else:
            rows = table[seen.pairs] + added.reshape(-1, size)
            _halve(rows, _MOST)
            table[seen.pairs] = rows
        assert self._distances is not None
        width = 2 * size - 1
        places = device * width + symbols - seen.contexts + size - 1
        added = np.bincount(places, minlength=self._devices * width) * float(_SEEN)
        self._distances += added.reshape(-1, width)
        _halve(self._distances, 4 * _MOST)

    def _pairs(self, block: Block, contexts: IntArray | int) -> _Seen:
        if isinstance(contexts, int):
            return _Seen(block, contexts, None, block.device)
        keys = block.device * self._contexts + contexts
        if self._contexts <= _FEW_ROWS:
            return _Seen(block, contexts, None, keys)
        return _Seen(block, contexts, *_distinct(keys, self._devices * self._contexts))


def _distinct(keys: IntArray, size: int) -> tuple[IntArray, IntArray]:
    """The distinct ones of keys [n] below `size`, increasing; and the place of each key among them."""
    present = np.zeros(size, np.bool_)
    present[keys] = True
    distinct = np.flatnonzero(present)
    place = np.empty(size, np.int64)
    place[distinct] = np.arange(len(distinct))
    return distinct, place[keys]


def _halve(counts: Float64Array, most: int, *, up: bool = False) -> None:
    """Halve the counts [rows, n] of each row that add up to more than `most`; up: how halves are rounded."""
    full = counts.sum(axis=1) > most
    if full.any():
        halves = counts[full] / 2
        counts[full] = np.ceil(halves) if up else np.floor(halves)


@functools.cache
def _windows(symbols: int) -> IntArray:
    """[contexts, symbols]: where the distance of each symbol to each context is counted."""
    return symbols - 1 - np.arange(symbols)[:, None] + np.arange(symbols)


@functools.cache
def _up_to_each(symbols: int) -> Float64Array:
    """[symbols, symbols]: row i has ones up to i, and zeros above."""
    return np.tri(symbols)


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
    def codes(self) -> int:
        """Codes of all rows."""
        return self.rows * self.buckets

    @property
    def top(self) -> int:
        """The largest code."""
        return (1 << self.bits) - 1


@dataclass(frozen=True, eq=False)
class StackRows:
    """The rows of devices, one device after another: `counts` [devices] of each."""

    counts: IntArray
    device: IntArray = field(init=False)  # [rows]

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", np.repeat(np.arange(len(self.counts)), self.counts))

    @classmethod
    def of(cls, counts: Sequence[int]) -> StackRows:
        """Those of devices with so many rows each; the blocks of a stack are made once for many rounds."""
        if sum(counts) <= _ROWS_KEPT:
            return _kept_rows(tuple(counts))
        return cls(np.array(counts, np.int64))

    @property
    def devices(self) -> int:
        return len(self.counts)

    @functools.cached_property
    def first_blocks(self) -> list[Block]:
        """The blocks of all rows, of which nothing is known yet."""
        return self.blocks(np.arange(len(self.device)), first=True)

    @functools.cached_property
    def later_blocks(self) -> list[Block]:
        """The blocks of all rows."""
        return self.blocks(np.arange(len(self.device)), first=False)

    def blocks(self, rows: IntArray, *, first: bool) -> list[Block]:
        """Rows [n], which increase, in parts; the very first are small: nothing is known before them."""
        device = self.device[rows]
        counts = np.bincount(device, minlength=self.devices)
        place = np.arange(len(rows)) - (np.cumsum(counts) - counts)[device]  # among those of its device
        blocks, start, size = [], 0, _FIRST_BLOCK if first else _LARGEST_BLOCK
        most = int(counts.max(initial=0))
        while start < most:
            ends = np.cumsum(np.minimum(np.maximum(counts - start, 0), size)).tolist()
            if self.devices == 1:
                here, its_device = rows[start : start + size], device[start : start + size]
            else:
                chosen = np.flatnonzero((place >= start) & (place < start + size))
                here, its_device = rows[chosen], device[chosen]
            blocks.append(Block(here, its_device, ends, min(size, most - start)))
            start += size
            size = min(2 * size, _LARGEST_BLOCK)
        return blocks


@functools.lru_cache(maxsize=4)
def _kept_rows(counts: tuple[int, ...]) -> StackRows:
    return StackRows(np.array(counts, np.int64))


def code_levels(
    coder: SymbolCoder, shape: LevelShape, rows: StackRows, levels: Levels | None, base: Levels | None
) -> Levels:
    """Code the levels of devices together, bucket after bucket: of each what it would be alone.

    Args:
        coder: Writes the levels, or reads them.
        shape: Their shape, but for the rows.
        rows: Whose each row is.
        levels: What is written; None where it is read.
        base: Levels of the same shape, which both sides hold; None codes them by themselves.

    Returns:
        The levels that were written or read; what was read is not checked, and that of devices which the
        coder refuses is anything.
    """
    if shape.k:
        return _code_top_k(coder, shape, rows, levels, base)
    order = None if base is None else _likeliest_first(base.codes, shape.grid)
    codes = None if levels is None else _ordered(levels.codes, order)
    codes = _code_buckets(coder, shape, rows, codes, None if base is None else _ordered(base.codes, order))
    return unchecked_levels(_put_back(codes, order), shape.classes, shape.bits, shape.grid)


def _code_top_k(
    coder: SymbolCoder, shape: LevelShape, rows: StackRows, levels: Levels | None, base: Levels | None
) -> Levels:
    """The places of the kept classes in the base's order, then their codes in that order, then the rest."""
    queue = ClassQueue(shape, base)
    places, order = None, None
    if levels is not None:
        assert levels.indices is not None  # it has this shape
        places = queue.places(levels.indices)
        order = np.argsort(places, axis=1)
        places = np.take_along_axis(places, order, axis=1)
    places = _code_places(coder, shape, rows, places)
    indices = queue.classes(places)
    codes = None
    if levels is not None:
        codes = np.concatenate([_ordered(levels.codes[:, :-1], order), levels.codes[:, -1:]], axis=1)
    codes = _code_buckets(coder, shape, rows, codes, queue.base_codes(places))
    by_class = np.argsort(indices, axis=1)
    kept = _ordered(codes[:, :-1], by_class)
    return unchecked_levels(
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
    coder: SymbolCoder,
    shape: LevelShape,
    rows: StackRows,
    written: CodeArray | None,
    base: CodeArray | None,
) -> CodeArray:
    """Codes [rows, buckets], bucket after bucket; of shares, the last bucket gets what is left."""
    top, shares = shape.top, shape.grid is Grid.SHARES
    codes = (
        np.zeros((len(rows.device), shape.buckets), np.int64) if written is None else written.astype(np.int64)
    )
    contexts = min(shape.buckets, _PLACES) if base is None else top + 1
    counts = SymbolCounts(rows.devices, top + 1, contexts, distances=base is not None)
    left = np.full(len(codes), top)
    for bucket in range(shape.buckets):
        if shares and bucket == shape.buckets - 1:
            codes[:, bucket] = left
            break
        blocks = rows.first_blocks if bucket == 0 else rows.later_blocks
        if shares and bucket > 0:
            blocks = rows.blocks(np.flatnonzero(left), first=False)
        place, column = min(bucket, _PLACES - 1), np.ascontiguousarray(codes[:, bucket])
        for block in blocks:
            context = place if base is None else base[block.rows, bucket].astype(np.int64)
            most = left[block.rows] if shares else None
            weights, which, seen = counts.weights(block, context, most)
            symbols = coder.code(column[block.rows], block, weights, which)
            if most is not None:
                symbols = _within(most, symbols, block, coder)
                left[block.rows] -= symbols
            counts.update(symbols, seen)
            if written is None:
                column[block.rows] = symbols
        codes[:, bucket] = column
    return codes.astype(np.uint8)


def _within(most: IntArray, symbols: IntArray, block: Block, coder: SymbolCoder) -> IntArray:
    """Symbols [n], of which a device that read one above `most` is refused."""
    above = symbols > most
    if not above.any():
        return symbols
    coder.refuse(block.device[above])
    return np.where(above, 0, symbols)


def _code_places(
    coder: SymbolCoder, shape: LevelShape, rows: StackRows, written: IntArray | None
) -> IntArray:
    """Increasing places [rows, k] of the kept classes, by the gaps between them."""
    room = shape.classes - shape.k
    gaps = np.zeros((len(rows.device), shape.k), np.int64)
    if written is not None:
        gaps = np.diff(written, axis=1, prepend=-1) - 1
    gaps = (
        _code_gaps(coder, rows, gaps, room) if room < _MOST_GAPS else _code_wide_gaps(coder, rows, gaps, room)
    )
    too_wide = gaps.sum(axis=1) > room
    if too_wide.any():
        coder.refuse(rows.device[too_wide])
        gaps[too_wide] = 0
    return np.cumsum(gaps + 1, axis=1) - 1


def _code_gaps(coder: SymbolCoder, rows: StackRows, gaps: IntArray, room: int) -> IntArray:
    counts = SymbolCounts(rows.devices, room + 1, _PLACES, distances=False)
    left = np.full(len(gaps), room)
    for place in range(gaps.shape[1]):
        for block in rows.blocks(np.flatnonzero(left), first=place == 0):
            most = left[block.rows]
            weights, which, seen = counts.weights(block, min(place, _PLACES - 1), most)
            symbols = coder.code(gaps[block.rows, place], block, weights, which)
            symbols = _within(most, symbols, block, coder)
            counts.update(symbols, seen)
            gaps[block.rows, place] = symbols
            left[block.rows] -= symbols
    return gaps


def _code_wide_gaps(coder: SymbolCoder, rows: StackRows, gaps: IntArray, room: int) -> IntArray:
    """gap + 1 = 2**exponent + mantissa (Elias 1975): the exponents are learned, the mantissas plain bits."""
    values = gaps + 1
    exponents = np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1
    counts = SymbolCounts(rows.devices, int(room + 1).bit_length(), _PLACES, distances=False)
    for place in range(gaps.shape[1]):
        for block in rows.first_blocks if place == 0 else rows.later_blocks:
            weights, which, seen = counts.weights(block, min(place, _PLACES - 1), None)
            symbols = coder.code(exponents[block.rows, place], block, weights, which)
            counts.update(symbols, seen)
            exponents[block.rows, place] = symbols
    read = 1 << exponents
    half = np.full((rows.devices, 2), TOTAL / 2 - 1)
    for bit in range(int(exponents.max(initial=0))):
        cells = np.nonzero(exponents > bit)
        device = rows.device[cells[0]]
        counted = np.bincount(device, minlength=rows.devices)
        block = Block(cells[0], device, np.cumsum(counted).tolist(), int(counted.max()))
        read[cells] += coder.code(values[cells] >> bit & 1, block, half, None) << bit
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


def _smoothed(counts: Float64Array, smoothing: Float64Array | None) -> Float64Array:
    """counts [..., symbols] @ smoothing, a new array; sums below 2**53 are exact."""
    return counts * _SMOOTH if smoothing is None else counts @ smoothing


@functools.cache
def _smoothing(symbols: int, *, edges: bool = True) -> Float64Array | None:
    """[symbols, symbols]: a triangle over the neighbours, one in 32 to either side; None below 32 symbols.

    edges: whether the first and the last symbol have neighbours; many codes end up there that are not alike.
    """
    reach = symbols // 32
    if reach == 0:
        return None
    apart = np.abs(np.arange(symbols)[:, None] - np.arange(symbols))
    triangle = np.maximum(reach + 1 - apart, 0)
    smoothing: Float64Array = (_SMOOTH * triangle // triangle.sum(axis=1, keepdims=True)).astype(np.float64)
    if not edges:
        smoothing[[0, -1]] = 0
        smoothing[[0, -1], [0, -1]] = _SMOOTH
    return smoothing
