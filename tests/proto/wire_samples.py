"""Tasks and summaries to encode, and hypothesis strategies that make them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pytest
from fedstill_proto.arrays import FloatArray, parameter_specs
from fedstill_proto.codec.api import Expected
from fedstill_proto.errors import WireError
from fedstill_proto.messages import (
    ClassSoftLabels,
    Optimizer,
    PrivateStatistics,
    PublicSoftLabels,
    RoundTask,
    SoftLabelSummary,
    SummaryKind,
    SummaryRequest,
    TrainingPlan,
)
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_proto.soft_labels.levels import Grid
from fedstill_proto.v1 import fedstill_pb2 as pb
from hypothesis import strategies as st

UINT8 = SoftLabelCodec(Encoding.UINT8)
FLOAT32 = SoftLabelCodec(Encoding.FLOAT32)
RUN, ROUND, FAMILY = "0a1b2c3d", 3, "mlp-small"

PLAN = TrainingPlan(
    epochs=2,
    batch_size=16,
    learning_rate=0.5,
    optimizer=Optimizer.MOMENTUM,
    temperature=4.0,
    soft_weight=0.75,
    seed=2**64 - 1,
)
# Rows that a person can check: whole 255ths, so every encoding holds them (almost) exactly.
THREE_CLASSES = np.array([[255, 0, 0], [51, 102, 102], [85, 85, 85]], np.float32) / np.float32(255)


def random_rows(rows: int, classes: int, *, seed: int, concentration: float = 0.3) -> FloatArray:
    """Distributions from nearly one-hot (a small concentration) to nearly uniform, [rows, classes]."""
    alpha = np.full(classes, concentration)
    return np.random.default_rng(seed).dirichlet(alpha, size=rows).astype(np.float32)


def class_summary(probabilities: FloatArray = THREE_CLASSES) -> SoftLabelSummary:
    present = np.arange(len(probabilities), dtype=np.int64)
    statistics = PrivateStatistics(
        soft_labels=DenseSoftLabels(probabilities), present_classes=present, class_examples=present + 1
    )
    return SoftLabelSummary(RUN, ROUND, FAMILY, SummaryKind.CLASS_MEANS, statistics)


def public_summary(probabilities: FloatArray = THREE_CLASSES) -> SoftLabelSummary:
    statistics = PrivateStatistics(soft_labels=DenseSoftLabels(probabilities))
    return SoftLabelSummary(RUN, ROUND, FAMILY, SummaryKind.PUBLIC_SET, statistics)


def selected_summary() -> SoftLabelSummary:
    """Three of nine rows, and a device that has examples of two classes."""
    answered = np.isin(np.arange(9), [0, 5, 8])
    present = np.array([0, 2], np.int64)
    statistics = PrivateStatistics(
        DenseSoftLabels(THREE_CLASSES), present, class_examples=present + 7, answered=answered
    )
    return SoftLabelSummary(RUN, ROUND, FAMILY, SummaryKind.PUBLIC_SET, statistics)


def prototype_summary() -> SoftLabelSummary:
    """Two classes, and three anchors; whole 127ths, so that the wire holds them exactly."""
    present = np.array([0, 2], np.int64)
    features = np.array([[127, 0, -127], [1, -64, 50]], np.float32) / np.float32(127)
    statistics = PrivateStatistics(present_classes=present, class_examples=present + 3, features=features)
    return SoftLabelSummary(RUN, ROUND, FAMILY, SummaryKind.CLASS_PROTOTYPES, statistics)


def parameter_summary() -> SoftLabelSummary:
    weights = {"b.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.bias": np.ones(2, np.float32)}
    statistics = PrivateStatistics(parameters=weights, examples=40)
    return SoftLabelSummary(RUN, ROUND, FAMILY, SummaryKind.PARAMETERS, statistics)


def expected_of(summary: SoftLabelSummary, codec: SoftLabelCodec | None) -> Expected:
    labels = summary.statistics.soft_labels
    return Expected(
        run=summary.run,
        round=summary.round,
        family=summary.family,
        kind=summary.kind,
        classes=labels.classes if labels is not None else 3,
        codec=codec,
        rows=_rows_asked(summary),
        parameters=parameter_specs(summary.statistics.parameters),
        class_counts=summary.kind is SummaryKind.PUBLIC_SET and len(summary.statistics.present_classes) > 0,
        selected=summary.statistics.answered is not None,
        anchors=0 if summary.statistics.features is None else summary.statistics.features.shape[1],
    )


def _rows_asked(summary: SoftLabelSummary) -> int:
    statistics = summary.statistics
    if statistics.answered is not None:
        return len(statistics.answered)
    labels = statistics.soft_labels
    return labels.rows if labels is not None and summary.kind is SummaryKind.PUBLIC_SET else 0


def public_task(probabilities: FloatArray = THREE_CLASSES) -> RoundTask:
    rows = np.arange(len(probabilities), dtype=np.int64) * 7
    return RoundTask(
        run=RUN,
        round=ROUND,
        family=FAMILY,
        training=PLAN,
        parameters={"weight": np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2)},
        soft_targets=PublicSoftLabels(rows, DenseSoftLabels(probabilities)),
        request=SummaryRequest(SummaryKind.PUBLIC_SET, UINT8, rows),
    )


def class_task() -> RoundTask:
    present = np.array([0, 2], np.int64)
    return RoundTask(
        run=RUN,
        round=ROUND,
        family=FAMILY,
        training=PLAN,
        soft_targets=ClassSoftLabels(present, DenseSoftLabels(THREE_CLASSES[:2])),
        request=SummaryRequest(SummaryKind.CLASS_MEANS, SoftLabelCodec(Encoding.TOP_K, k=2)),
    )


@st.composite
def distributions(draw: st.DrawFn, *, max_rows: int = 6, max_classes: int = 40) -> FloatArray:
    """Rows of probabilities of every temper, with exact zeros, ones and ties among them."""
    rows = draw(st.integers(0, max_rows))
    classes = draw(st.integers(1, max_classes))
    kind = draw(st.sampled_from(["random", "one-hot", "uniform", "tiny tails"]))
    if kind == "uniform":
        return np.full((rows, classes), 1 / classes, np.float32)
    seed = draw(st.integers(0, 2**32 - 1))
    if kind == "one-hot":
        return np.eye(classes, dtype=np.float32)[np.random.default_rng(seed).integers(classes, size=rows)]
    if kind == "tiny tails":
        return random_rows(rows, classes, seed=seed, concentration=0.02)
    return random_rows(rows, classes, seed=seed, concentration=draw(st.sampled_from([0.1, 1.0, 30.0])))


def codecs() -> st.SearchStrategy[SoftLabelCodec]:
    dense = st.sampled_from([Encoding.FLOAT32, Encoding.FLOAT16, Encoding.UINT8]).map(SoftLabelCodec)
    top_k = st.integers(1, 45).map(lambda k: SoftLabelCodec(Encoding.TOP_K, k))
    return st.one_of(dense, top_k)


@st.composite
def level_codecs(draw: st.DrawFn) -> SoftLabelCodec:
    entropy = draw(st.booleans())
    return SoftLabelCodec(
        Encoding.LEVELS,
        draw(st.integers(0, 45)),
        draw(st.integers(1, 8)),
        draw(st.sampled_from(Grid)),
        entropy,
        delta=entropy and draw(st.booleans()),
    )


@st.composite
def drawn_codecs(draw: st.DrawFn) -> SoftLabelCodec:
    k, drawn, bits = (draw(st.integers(1, most)) for most in (45, 45, 16))
    return SoftLabelCodec(Encoding.DRAWN, k, bits, drawn=drawn)


def all_codecs() -> st.SearchStrategy[SoftLabelCodec]:
    return st.one_of(codecs(), level_codecs(), drawn_codecs())


SEAL_BYTES = 5
Message = TypeVar("Message", pb.RoundTask, pb.SoftLabelSummary)


def sealed(body: bytes) -> bytes:
    """What a sender who means harm can make: any bytes, with a checksum that fits."""
    return body + b"\x7d" + zlib.crc32(body).to_bytes(4, "little")


def forged(message: Message, blob: bytes, path: str, value: Any) -> bytes:
    """`blob` with the field at `path` set to `value` (None: cleared), sealed again."""
    message.ParseFromString(blob[:-SEAL_BYTES])
    *parents, name = path.split(".")
    owner: Any = message
    for parent in parents:
        owner = owner[int(parent)] if parent.isdigit() else getattr(owner, parent)
    if value is None:
        owner.ClearField(name)
    elif isinstance(value, list):
        getattr(owner, name)[:] = value
    else:
        setattr(owner, name, value)
    return sealed(message.SerializeToString())


def refused_field(decode: Callable[[], object]) -> str:
    """The field that a decode complains about."""
    with pytest.raises(WireError) as caught:
        decode()
    return caught.value.field
