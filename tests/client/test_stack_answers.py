"""A stack's answers without their bytes: what the server decodes of those that are sent, and their length."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fedstill_client.model.forward import Forward
from fedstill_client.rounds.summarizer import Encoded, StackAnswers, stack_answers, summarize
from fedstill_client.rounds.trained_stack import TrainedStack
from fedstill_proto.arrays import FloatArray
from fedstill_proto.codec.api import Expected, decode_summary, decode_task, encode_task
from fedstill_proto.messages import (
    PrivateStatistics,
    PublicSoftLabels,
    RoundTask,
    RowSelection,
    SummaryKind,
    SummaryRequest,
)
from fedstill_proto.privacy import Noising, RandomBits, seeded_bits
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels, SoftLabels, TopKSoftLabels

from tests.client.bigram import PLACES, TABLE, WORDS, bigram_artifact, bigram_student
from tests.client.samples import CLASSES, examples, plan, stack_of, student, task
from tests.client.test_relative_features import ANCHORS, with_features

SEEDS = (1, 2, 3, 4)
ROWS = np.arange(40)[::-1].copy()
CODECS = (
    "float32",
    "float16",
    "uint8",
    "topk2",
    "dense,4bit",
    "dense,4bit,log,entropy",
    "dense,1bit,entropy",
)
CODECS += ("topk2,3bit,entropy", "topk1,8bit,log")


def students(*seeds: int) -> dict[str, FloatArray]:
    each = [student(seed) for seed in seeds]
    return {name: np.stack([one[name] for one in each]) for name in each[0]}


def trained(**more: Any) -> TrainedStack:
    """Four devices of 12, 0, 30 and 1 examples; the last is padding."""
    forward = Forward(with_features(len(SEEDS)))
    public_x = examples(40, seed=5)[0]
    return TrainedStack(students(*SEEDS), stack_of(12, 0, 30, 1), forward, public_x, **more)


def same_labels(one: SoftLabels | None, other: SoftLabels | None) -> None:
    assert type(one) is type(other)
    if one is not None and other is not None:
        np.testing.assert_array_equal(one.dense(), other.dense(), strict=True)
    if isinstance(one, TopKSoftLabels) and isinstance(other, TopKSoftLabels):
        np.testing.assert_array_equal(one.indices, other.indices, strict=True)


def same_statistics(one: PrivateStatistics, other: PrivateStatistics) -> None:
    """Fail unless both hold the same numbers, to the bit."""
    same_labels(one.soft_labels, other.soft_labels)
    for name in ("present_classes", "class_examples", "answered", "features", "noised"):
        mine, yours = getattr(one, name), getattr(other, name)
        assert (mine is None) == (yours is None), name
        if mine is not None:
            np.testing.assert_array_equal(mine, yours, strict=True)
    assert one.examples == other.examples
    for mine, yours in (
        (one.parameters, other.parameters),
        (one.control_variates, other.control_variates),
    ):
        assert list(mine) == list(yours)
        for name, array in mine.items():
            np.testing.assert_array_equal(array, yours[name], strict=True)
            assert array.tobytes() == yours[name].tobytes()  # -0.0 is not 0.0


def compared(
    asked: RoundTask,
    stack: TrainedStack,
    *,
    devices: int = 3,
    places: int = 1,
    classes: int = CLASSES,
    tables: list[BaseTable | None] | None = None,
) -> tuple[list[Encoded], StackAnswers]:
    """Both ways of answering, which come to the same."""
    sent = summarize(asked, stack, devices=devices, tables=tables, names=["a", "b", "c"])
    seen = stack_answers(asked, stack, devices=devices, tables=tables, names=["a", "b", "c"])
    assert seen.bytes.tolist() == [len(one.summary) for one in sent]
    expected = Expected.of(asked, classes, student(), places=places)
    for device, (one, statistics) in enumerate(zip(sent, seen.statistics, strict=True)):
        held = None if tables is None else tables[device]
        summary = decode_summary(one.summary, expected=expected.with_table(held))
        same_statistics(summary.statistics, statistics)
        for mine, table in ((seen.tables[device], one.table), (summary.table, one.table)):
            assert (mine is None) == (table is None)
            if mine is not None and table is not None:
                np.testing.assert_array_equal(mine.rows, table.rows)
                assert mine.levels.digest() == table.levels.digest()
    return sent, seen


def request(kind: SummaryKind, codec: str | None = None, **more: Any) -> SummaryRequest:
    return SummaryRequest(kind, None if codec is None else parse_codec(codec), **more)


def asking(asked: SummaryRequest, **more: Any) -> RoundTask:
    return task(plan(temperature=2.0), request=asked, **more)


@pytest.mark.parametrize("codec", CODECS)
def test_public_rows(codec: str) -> None:
    compared(asking(request(SummaryKind.PUBLIC_SET, codec, public_rows=ROWS)), trained())


@pytest.mark.parametrize("codec", CODECS)
def test_class_means(codec: str) -> None:
    compared(asking(request(SummaryKind.CLASS_MEANS, codec)), trained())


@pytest.mark.parametrize("codec", ["float32", "dense,4bit,log,entropy"])
def test_selected_rows_with_counts_and_features(codec: str) -> None:
    more = {"class_counts": True, "selection": RowSelection(0.0, 0.97), "anchor_rows": ANCHORS}
    _, seen = compared(asking(request(SummaryKind.PUBLIC_SET, codec, public_rows=ROWS, **more)), trained())
    answered = [int(one.answered.sum()) for one in seen.statistics if one.answered is not None]
    assert len(answered) == 3
    assert 0 < min(answered) < max(answered) < 40


def test_class_means_with_features_and_prototypes_alone() -> None:
    compared(asking(request(SummaryKind.CLASS_MEANS, "uint8", anchor_rows=ANCHORS)), trained())
    compared(asking(request(SummaryKind.CLASS_PROTOTYPES, anchor_rows=ANCHORS)), trained())


@pytest.mark.parametrize(
    "codec", ["dense,4bit,log,entropy,delta", "dense,2bit,entropy,delta", "topk2,3bit,entropy,delta"]
)
def test_answers_against_what_was_said_before(codec: str) -> None:
    said = PublicSoftLabels(np.arange(40), DenseSoftLabels(np.full((40, CLASSES), 1 / CLASSES, np.float32)))
    asked = asking(request(SummaryKind.PUBLIC_SET, codec, public_rows=ROWS), soft_targets=said)
    first = decode_task(encode_task(asked, codec=parse_codec("uint8")))
    assert first.request.base
    _, seen = compared(first, trained(), tables=[None, None, None])
    second = replace(first, round=2, request=replace(first.request, base_round=1))
    tables = [seen.tables[0], None, seen.tables[2]]
    compared(second, trained(), tables=tables)
    compared(second, replace(trained(), parameters=students(6, 7, 8, 9)), tables=tables)


@pytest.mark.parametrize("bits", [0, 8, 4])
def test_students_and_their_control_variates(bits: int) -> None:
    asked = task(plan(), request=request(SummaryKind.PARAMETERS), replace_student=True)
    changes = {name: 0.1 * array for name, array in students(6, 7, 8, 9).items()}
    compared(replace(asked, weight_bits=bits), trained())
    nothing = {name: np.zeros_like(array) for name, array in student().items()}
    compared(replace(asked, weight_bits=bits, control_variates=nothing), trained(control_variates=changes))


def test_nothing_is_asked_for() -> None:
    _, seen = compared(task(), trained())
    assert all(one.empty for one in seen.statistics)


def test_noised_answers() -> None:
    asked = asking(request(SummaryKind.CLASS_MEANS, noising=Noising(1.0, 2.0)))

    def noise(name: str) -> RandomBits:
        return seeded_bits(len(name))

    sent = summarize(asked, trained(), devices=3, names=["a", "bb", "ccc"], noise=noise)
    seen = stack_answers(asked, trained(), devices=3, names=["a", "bb", "ccc"], noise=noise)
    assert seen.bytes.tolist() == [len(one.summary) for one in sent]
    expected = Expected.of(asked, CLASSES, student())
    for one, statistics in zip(sent, seen.statistics, strict=True):
        same_statistics(decode_summary(one.summary, expected=expected).statistics, statistics)


def test_the_likeliest_next_words() -> None:
    for codec in ("topk2", "topk2,4bit,entropy"):
        asked = task(
            request=request(SummaryKind.PUBLIC_SET, codec, public_rows=np.array([2, 0])), family="bigram"
        )
        parameters = {TABLE: bigram_student(1)[TABLE][None]}
        nothing = stack_of(0)
        stack = TrainedStack(parameters, nothing, Forward(bigram_artifact()), np.arange(9).reshape(3, PLACES))
        compared(asked, stack, devices=1, places=PLACES, classes=WORDS)


def test_a_device_answers_in_a_stack_what_it_answers_alone() -> None:
    public_x, together = examples(40, seed=5)[0], trained()
    for codec in ("float32", "dense,4bit,log,entropy", "topk2,3bit,entropy"):
        asked = asking(request(SummaryKind.PUBLIC_SET, codec, public_rows=ROWS))
        sent = summarize(asked, together, devices=4)
        for device, seed in enumerate(SEEDS):
            own = stack_of(*[(12, 0, 30, 1)[device]])
            alone = TrainedStack(students(seed), own, Forward(with_features()), public_x)
            assert summarize(asked, alone, devices=1)[0].summary == sent[device].summary
