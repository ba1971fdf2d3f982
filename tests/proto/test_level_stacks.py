"""Levels of many devices coded together: of each the bytes, the length and the errors that it has alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest
from fedstill_proto.errors import WireError
from fedstill_proto.soft_labels import range_coder
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_proto.soft_labels.entropy import (
    ENTROPY,
    PLAIN,
    TABLE_BASE,
    TASK_BASE,
    Bases,
    CodedLevels,
    Coding,
    codings,
    decode_all,
    decode_levels,
    encode_all,
    encode_levels,
)
from fedstill_proto.soft_labels.entropy_model import LevelShape
from fedstill_proto.soft_labels.levels import Grid, Levels

from tests.proto.level_samples import same
from tests.proto.wire_samples import random_rows

# Of the release before devices were coded together: 216 messages, made of whole numbers alone.
GOLDEN = "eef38fbded54f55603653a52f58ce85edc3a947b5337cfb73bca2b50a5bb94ad"


def integer_levels(shape: LevelShape, *, seed: int, like: Levels | None = None) -> Levels:
    """Levels made of whole numbers alone, most rows those of `like`."""
    generator = np.random.default_rng(seed)
    rows, buckets, top = shape.rows, shape.buckets, shape.top
    if shape.grid is Grid.SHARES:
        cuts = generator.integers(0, top + 1, size=(2, rows, buckets - 1)).min(axis=0)
        codes = np.diff(np.sort(cuts, axis=1), axis=1, prepend=0, append=top)
    else:
        codes = generator.integers(0, top + 1, size=(rows, buckets))
        codes = np.where(generator.integers(2, size=codes.shape) == 1, top, codes)
        codes -= codes.min(axis=1, keepdims=True)
    indices = None
    if shape.k:
        order = np.argsort(generator.random((rows, shape.classes)), axis=1)[:, : shape.k]
        indices = np.sort(order, axis=1)
    if like is not None:
        kept = generator.integers(4, size=rows) > 0
        codes[kept] = like.codes[kept]
        if indices is not None and like.indices is not None:
            indices[kept] = like.indices[kept]
    return Levels(codes.astype(np.uint8), shape.classes, shape.bits, shape.grid, indices)


def shapes(rows: int) -> Iterator[LevelShape]:
    for classes, k in ((2, 0), (10, 0), (10, 1), (40, 3), (70, 0), (300, 8)):
        for bits in (1, 2, 4, 5, 6, 8):
            for grid in Grid:
                yield LevelShape(rows, classes, k, bits, grid)


def test_the_bytes_are_those_of_earlier_releases() -> None:
    digest, messages = hashlib.sha256(), 0
    for seed, shape in enumerate(shapes(rows=90)):
        base = integer_levels(shape, seed=seed)
        levels = integer_levels(shape, seed=seed + 1000, like=base)
        for task_base, table_base in ((None, None), (base, None), (base, base)):
            data = encode_levels(levels, entropy=True, task_base=task_base, table_base=table_base)
            digest.update(hashlib.sha256(data).digest())
            messages += 1
    assert messages == 216
    assert digest.hexdigest() == GOLDEN


def stack_of(
    shape: LevelShape, rows: tuple[int, ...], *, seed: int = 0
) -> tuple[list[Levels], list[Bases], list[LevelShape]]:
    """Levels of devices with so many rows, and bases of all kinds."""
    levels, bases, own_shapes = [], [], []
    for device, count in enumerate(rows):
        own = LevelShape(count, shape.classes, shape.k, shape.bits, shape.grid)
        task, table = (integer_levels(own, seed=seed + 100 * device + number) for number in (1, 2))
        levels.append(integer_levels(own, seed=seed + 100 * device, like=table if device % 3 else task))
        bases.append((Bases(), Bases(task), Bases(task, table))[device % 3])
        own_shapes.append(own)
    return levels, bases, own_shapes


@pytest.mark.parametrize("shape", [shape for shape in shapes(rows=0) if shape.bits in (1, 4, 6, 8)], ids=repr)
def test_devices_together_are_coded_as_each_alone(shape: LevelShape) -> None:
    levels, bases, own_shapes = stack_of(shape, (130, 0, 7, 200, 1, 33, 9))
    for own_bases in (bases, [Bases()] * len(levels)):
        together = encode_all(levels, entropy=True, bases=own_bases)
        alone = [
            encode_levels(one, entropy=True, task_base=base.task, table_base=base.table)
            for one, base in zip(levels, own_bases, strict=True)
        ]
        assert together == alone
        assert codings(levels, entropy=True, bases=own_bases) == [Coding(one[0], len(one)) for one in alone]
        coded = [
            CodedLevels(data, own, "codes", base)
            for data, own, base in zip(together, own_shapes, own_bases, strict=True)
        ]
        for decoded, one in zip(decode_all(coded), levels, strict=True):
            assert isinstance(decoded, Levels)
            assert same(decoded, one)


@pytest.mark.parametrize(
    "words", ["dense,4bit,log", "dense,4bit", "topk3,3bit", "dense,1bit", "dense,8bit,log"]
)
def test_real_levels_in_every_form(words: str) -> None:
    codec = parse_codec(f"{words},entropy,delta")
    sure, torn = (
        [codec.levels(random_rows(60, 10, seed=seed, concentration=spread)) for seed in range(6)]
        for spread in (0.1, 100.0)
    )
    levels = [*sure, *torn]
    none, task = Bases(), Bases(sure[0])
    bases = [none, task, Bases(None, sure[2]), none, task, none, *[none] * 6]
    data = encode_all(levels, entropy=True, bases=bases)
    assert codings(levels, entropy=True, bases=bases) == [Coding(one[0], len(one)) for one in data]
    forms = {one[0] for one in data}
    assert {ENTROPY, TASK_BASE, TABLE_BASE} <= forms
    plain = encode_all(levels, entropy=False)
    assert {one[0] for one in plain} == {PLAIN}
    assert codings(levels, entropy=False) == [Coding(one[0], len(one)) for one in plain]
    assert all(len(one) <= len(other) for one, other in zip(data, plain, strict=True))


def test_plain_bits_where_they_are_shorter() -> None:
    shape = LevelShape(rows=2, classes=4, k=0, bits=8, grid=Grid.LOG)
    noise = Levels(np.array([[0, 200, 17, 93], [141, 0, 250, 66]], np.uint8), 4, 8, Grid.LOG)
    alike = Levels(np.zeros((2, 4), np.uint8), 4, 8, Grid.LOG)
    data = encode_all([noise, alike], entropy=True)
    assert [one[0] for one in data] == [PLAIN, ENTROPY]
    assert codings([noise, alike], entropy=True) == [(PLAIN, 1 + 2 * 4), (ENTROPY, len(data[1]))]
    decoded = decode_all([CodedLevels(one, shape, "codes") for one in data])
    assert isinstance(decoded[0], Levels)
    assert same(decoded[0], noise)


@pytest.mark.parametrize("words", ["dense,4bit,log", "dense,3bit", "topk3,3bit", "topk1,2bit,log"])
@pytest.mark.parametrize("library", [True, False], ids=["constriction", "plain"])
def test_damage_is_refused_as_alone_and_disturbs_nobody(
    words: str, library: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(range_coder, "HAS_LIBRARY", library)
    codec = parse_codec(f"{words},entropy,delta")
    rows, classes = 25, 30
    shape, generator = codec.shape(rows, classes), np.random.default_rng(5)
    base = codec.levels(random_rows(rows, classes, seed=99))
    levels = [codec.levels(random_rows(rows, classes, seed=seed, concentration=0.2)) for seed in range(8)]
    bases = [Bases(base if number % 2 else None) for number in range(8)]
    whole = encode_all(levels, entropy=True, bases=bases)
    coded, good = [], []
    for round_ in range(12):
        for number, data in enumerate(whole):
            damaged = bytearray(data)
            kind = (number + round_) % 5
            if kind == 1:
                damaged[generator.integers(len(damaged))] ^= 1 << generator.integers(8)
            elif kind == 2:
                damaged = damaged[: generator.integers(len(damaged))]
            elif kind == 3:
                damaged += bytes(generator.integers(2, size=1).tolist())
            elif kind == 4:
                damaged[1:] = generator.integers(256, size=generator.integers(40)).astype(np.uint8).tobytes()
            coded.append(CodedLevels(bytes(damaged), shape, f"answer[{number}]", bases[number]))
            good.append(kind == 0)
    for one, untouched, result in zip(coded, good, decode_all(coded), strict=True):
        alone: Levels | WireError
        try:
            alone = decode_levels(one.data, shape, field=one.field, task_base=one.bases.task)
        except WireError as error:
            alone = error
        if isinstance(alone, WireError):
            assert (type(result), str(result)) == (type(alone), str(alone))
            assert not untouched
        else:
            assert isinstance(result, Levels)
            assert same(result, alone)
            # Each content has one spelling for each first byte.
            if one.data[0] != PLAIN:
                again = encode_levels(
                    alone, entropy=True, task_base=one.bases.task if one.data[0] == TASK_BASE else None
                )
                assert again == one.data or again[0] == PLAIN
