"""Targets beside one class: units, how a Gaussian travels, and what a manifest says."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.package.manifest import StudentManifest
from fedstill_proto.package.target import SINGLE_LABEL, Target, TargetKind
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec, decode_soft_labels
from fedstill_proto.soft_labels.gaussian import GaussianSoftLabels
from fedstill_proto.v1 import fedstill_pb2 as pb

from tests.client.samples import artifact

NUMBERS = Target(kind=TargetKind.REGRESSION, size=2, offset=(10.0, 0.0), scale=(2.0, 1.0))
CODEC = SoftLabelCodec(Encoding.GAUSSIAN)


def test_numbers_are_learned_in_units_of_public_labels() -> None:
    target = Target.of_numbers(np.array([[8.0, 5.0], [12.0, 5.0]]))
    assert (target.offset, target.scale) == (
        (10.0, 5.0),
        (2.0, 1.0),
    )  # what never differs has unit 1
    assert target.standardized(np.array([[14.0, 6.0]])).tolist() == [[2.0, 1.0]]
    answers = np.array([[[2.0, 0.0], [1.0, 2 * math.log(3)]]], np.float32)
    np.testing.assert_allclose(target.in_units(answers), [[[14.0, 2.0], [6.0, 3.0]]], rtol=1e-6)


def test_a_store_keeps_the_bits_of_numbers() -> None:
    stored = NUMBERS.stored(np.array([[11.0, -0.5]]))
    assert stored.dtype == np.int64
    assert NUMBERS.learned(stored).tolist() == [[0.5, -0.5]]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("target.size", {"kind": TargetKind.MULTI_LABEL}),
        ("target.size", {"size": 3}),
        ("target.offset", {"kind": TargetKind.REGRESSION, "size": 1, "scale": (1.0,)}),
        ("target.scale", {"kind": TargetKind.REGRESSION, "size": 1, "offset": (0.0,), "scale": (0.0,)}),
    ],
)
def test_what_is_no_target_is_refused(field: str, values: dict[str, object]) -> None:
    with pytest.raises(InvalidValue) as refused:
        Target(**values)  # type: ignore[arg-type]
    assert refused.value.field == field


def test_a_gaussian_takes_two_bytes_within_the_stated_error() -> None:
    means = np.linspace(-8, 8, 1001)
    log_variances = np.linspace(-5, 5, 1001)
    labels = GaussianSoftLabels(np.stack([means, log_variances], axis=1).astype(np.float32))
    message = CODEC.encode(labels)
    assert len(message.values) == 2 * 1001
    told = decode_soft_labels(message, field="labels").dense()
    assert (np.abs(told[:, 0] - means) <= 0.024 * np.abs(means) + 0.0012).all()
    assert np.abs(told[:, 1] - log_variances).max() <= 0.02
    again = CODEC.encode(GaussianSoftLabels(told))
    assert again.values == message.values  # what was told is told again unchanged
    far = CODEC.rounded(GaussianSoftLabels(np.array([[1e6, -1e6]], np.float32))).dense()
    np.testing.assert_allclose(far, [[8.0, -5.0]], rtol=1e-6)


def test_what_is_no_gaussian_is_refused() -> None:
    good = CODEC.encode(GaussianSoftLabels(np.zeros((2, 2), np.float32)))
    for field, change in {
        "labels.classes": {"classes": 3},
        "labels.values": {"values": b"\x00\x00\x00"},
    }.items():
        bad = pb.SoftLabels()
        bad.CopyFrom(good)
        for name, value in change.items():
            setattr(bad, name, value)
        with pytest.raises(WireError) as refused:
            decode_soft_labels(bad, field="labels")
        assert refused.value.field == field
    with pytest.raises(WireError, match="-127"):
        decode_soft_labels(
            pb.SoftLabels(encoding=pb.SOFT_LABEL_ENCODING_GAUSSIAN, rows=1, classes=2, values=b"\x80\x00"),
            field="labels",
        )
    with pytest.raises(InvalidValue, match="gaussian"):
        CODEC.encode(np.full((1, 2), 0.5, np.float32))


def test_a_manifest_says_its_target() -> None:
    single = artifact().manifest
    assert single.target == SINGLE_LABEL
    assert not single.labels_each_place
    numbers = dataclasses.replace(single, classes=2, label_shape=(2,), target=NUMBERS)
    assert StudentManifest.from_json(numbers.to_json()).target == NUMBERS
    assert not numbers.labels_each_place
    with pytest.raises(InvalidValue, match="label_shape"):
        dataclasses.replace(numbers, label_shape=(3,))
    with pytest.raises(WireError, match="ranking"):
        StudentManifest.from_json(numbers.to_json().replace("regression", "ranking"))
