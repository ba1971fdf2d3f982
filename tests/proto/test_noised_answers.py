"""Noised answers on the wire: what is asked, what comes back, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fedstill_proto.arrays import ParameterSpec
from fedstill_proto.codec.api import Expected, decode_summary, decode_task, encode_summary, encode_task
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.messages import (
    Optimizer,
    PrivateStatistics,
    RoundTask,
    RowSelection,
    SoftLabelSummary,
    SummaryKind,
    SummaryRequest,
    TrainingPlan,
)
from fedstill_proto.privacy import Noising
from fedstill_proto.v1 import fedstill_pb2 as pb

from tests.proto.wire_samples import FAMILY, ROUND, RUN, UINT8, sealed

NOISING = Noising(0.75, 2.0)
PUBLIC = SummaryRequest(SummaryKind.PUBLIC_SET, public_rows=np.arange(2), relative=True, noising=NOISING)


def task(request: SummaryRequest = PUBLIC) -> RoundTask:
    plan = TrainingPlan(1, 8, 0.125, Optimizer.SGD, 2.0, 0.5, 7)
    return RoundTask(RUN, ROUND, FAMILY, plan, request)


def summary(noised: list[int], kind: SummaryKind = SummaryKind.PUBLIC_SET) -> SoftLabelSummary:
    return SoftLabelSummary(RUN, ROUND, FAMILY, kind, PrivateStatistics(noised=np.array(noised, np.int64)))


def message(noised: list[int], **others: Any) -> pb.SoftLabelSummary:
    blob = encode_summary(summary(noised), codec=None)
    found = pb.SoftLabelSummary.FromString(blob)
    for name, value in others.items():
        if isinstance(value, pb.SoftLabels):
            getattr(found.statistics, name).CopyFrom(value)
        elif isinstance(value, list):
            getattr(found.statistics, name).extend(value)
        else:
            setattr(found.statistics, name, value)
    return found


def resealed(forged: pb.SoftLabelSummary | pb.RoundTask) -> bytes:
    forged.ClearField("checksum")
    return sealed(forged.SerializeToString())


EXPECTED = Expected.of(task(), 3)


def test_what_is_asked_arrives_to_the_last_bit() -> None:
    again = decode_task(encode_task(task(), codec=UINT8)).request
    assert again.noising == NOISING
    assert again.codec is None
    assert again.relative


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [(SummaryKind.PUBLIC_SET, 6), (SummaryKind.CLASS_MEANS, 12), (SummaryKind.PARAMETERS, 5)],
)
def test_an_answer_arrives_number_by_number(kind: SummaryKind, numbers: int) -> None:
    request = PUBLIC if kind is SummaryKind.PUBLIC_SET else SummaryRequest(kind, noising=NOISING)
    expected = Expected.of(task(request), 3, (ParameterSpec("w", (2, 2)), ParameterSpec("b", (1,))))
    sent = list(range(-2, numbers - 2))
    blob = encode_summary(summary(sent, kind), codec=None)
    got = decode_summary(blob, expected=expected).statistics
    assert got.noised is not None
    assert got.noised.tolist() == sent


@pytest.mark.parametrize(
    ("forged", "field", "problem"),
    [
        (message([1] * 5), "statistics.noised", "5 numbers, expected 6"),
        (message([0, 0, 0, 0, 0, 60_000]), "statistics.noised", "60000 steps of the grid in values; at most"),
        (message([0, 0, 0, 0, 0, -60_000]), "statistics.noised", "60000 steps"),
        (message([1] * 6, soft_labels=pb.SoftLabels(rows=1)), "statistics.soft_labels", "in a noised answer"),
        (message([1] * 6, present_classes=[1]), "statistics.present_classes", "in a noised answer"),
        (message([1] * 6, class_examples=[4]), "statistics.class_examples", "in a noised answer"),
        (message([1] * 6, examples=4), "statistics.examples", "in a noised answer"),
        (message([1] * 6, answered=b"1"), "statistics.answered", "in a noised answer"),
        (message([1] * 6, features=b"1"), "statistics.features", "in a noised answer"),
    ],
)
def test_nothing_travels_beside_a_noised_answer(
    forged: pb.SoftLabelSummary, field: str, problem: str
) -> None:
    with pytest.raises(WireError, match=problem) as caught:
        decode_summary(resealed(forged), expected=EXPECTED)
    assert caught.value.field == field


def test_noise_that_nobody_asked_for_is_refused() -> None:
    plain = SummaryRequest(SummaryKind.PUBLIC_SET, UINT8, np.arange(2))
    with pytest.raises(WireError, match="no noise was asked for"):
        decode_summary(resealed(message([1] * 6)), expected=Expected.of(task(plain), 3))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"relative": False}, "noising"),
        ({"codec": UINT8}, "codec"),
        ({"class_counts": True}, "class_counts"),
        ({"selection": RowSelection(0.5)}, "selection"),
        ({"anchor_rows": np.arange(2)}, "anchor_rows"),
        ({"base": b"12345678"}, "base"),
        ({"base_round": 3}, "base_round"),
    ],
)
def test_a_request_for_more_than_noise_is_refused(changes: dict[str, Any], field: str) -> None:
    request = {"public_rows": np.arange(2), "relative": True, "noising": NOISING, **changes}
    with pytest.raises(InvalidValue) as caught:
        SummaryRequest(SummaryKind.PUBLIC_SET, **request)
    assert caught.value.field == field


@pytest.mark.parametrize("kind", [SummaryKind.NONE, SummaryKind.CLASS_PROTOTYPES])
def test_other_kinds_have_no_noise(kind: SummaryKind) -> None:
    with pytest.raises(InvalidValue):
        SummaryRequest(kind, noising=NOISING)


@pytest.mark.parametrize(("clip", "multiplier"), [(0.0, 1.0), (float("nan"), 1.0), (1.0, 0.0), (1.0, 1e9)])
def test_a_forged_noise_is_refused_by_name(clip: float, multiplier: float) -> None:
    forged = pb.RoundTask.FromString(encode_task(task(), codec=UINT8))
    forged.request.noising.clip, forged.request.noising.noise_multiplier = clip, multiplier
    with pytest.raises(WireError) as caught:
        decode_task(resealed(forged))
    assert caught.value.field.startswith("request.noising.")
