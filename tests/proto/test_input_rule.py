"""What a network reads of values as they are given, by hand; a row is read as it is in a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fedstill_proto.errors import FedstillError, InvalidValue, WireError
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentManifest
from fedstill_proto.package.input_rule import InputRule


def manifest(**fields: Any) -> StudentManifest:
    shaped = {"classes": 2, "input_shape": (3, 4, 5), "parameters": (), "soft_labels": "dense", "opset": 20}
    return StudentManifest(family="cnn", optimizer=Optimizer.ADAMW, **{**shaped, **fields})


def test_bytes_are_divided_by_255_and_channels_put_first() -> None:
    given = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3) * 2

    rule = InputRule.of(given)

    read = rule.apply(given)
    assert (rule.element_type, rule.channels_last) == ("uint8", True)
    assert rule.given_shape((3, 4, 5)) == (4, 5, 3)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, given.transpose(0, 3, 1, 2) / 255, rtol=1e-6)
    assert (rule.apply(given.astype(np.int64)) == read).all()
    assert (rule.apply(given[1:]) == read[1:]).all()


@pytest.mark.parametrize("element_type", ["float32", "float64", "uint8"])
def test_what_is_of_about_unit_scale_stays_bit_for_bit(element_type: str) -> None:
    x = np.random.default_rng(0).normal(size=(50, 3, 8, 8)).astype(np.float32)

    rule = InputRule.of(x)

    assert rule.changes_nothing
    assert rule.apply(x) is x
    assert rule.notice() == ""
    assert InputRule().apply(x.astype(element_type)).dtype == element_type


def test_columns_and_channels_far_from_unit_scale_are_standardized() -> None:
    table = np.array([[1000.0, 1.0, 7.0], [3000.0, 0.0, 7.0]])
    sensors = np.stack([table[:, :2]] * 4, axis=-1)  # [2, 2 channels, 4 samples]

    of_columns, of_channels = InputRule.of(table), InputRule.of(sensors)

    assert (of_columns.offset, of_columns.scale) == ((2000.0, 0.5, 7.0), (0.001, 2.0, 1.0))
    assert of_columns.apply(table).tolist() == [[-1.0, 1.0, 0.0], [1.0, -1.0, 0.0]]
    assert of_channels.scale == (0.001, 2.0)
    assert "0.001" in of_columns.notice()
    assert InputRule.of(table, normalize="none").changes_nothing
    assert InputRule.of(table, normalize="unit").apply(table).tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]


def test_a_picture_without_channels_has_one_scale() -> None:
    picture = np.stack([np.zeros((8, 8)), np.full((8, 8), 200.0)])

    assert InputRule.of(picture).apply(picture)[:, 0, 0].tolist() == [-1.0, 1.0]
    assert len(InputRule.of(picture).scale) == 1


def test_dark_pictures_of_bytes_are_brought_to_unit_scale() -> None:
    dark = np.array([[[0, 16]], [[16, 0]]], np.uint8)

    assert InputRule.of(dark).apply(dark).tolist() == [[[-1.0, 1.0]], [[1.0, -1.0]]]


def test_values_of_another_scale_than_the_public_sets_are_doubted() -> None:
    rule = InputRule.of(np.random.default_rng(0).integers(40, 250, (20, 8, 8), np.uint8))
    usual = np.full((2, 8, 8), 90, np.uint8)

    assert rule.doubt(usual) == ""
    assert rule.doubt(np.zeros_like(usual)) == ""
    assert "0.353" in rule.doubt(usual / 255)
    assert "scaled" in rule.doubt(usual / 255)
    assert InputRule().doubt(usual) == ""


def test_a_manifest_carries_rule_and_names() -> None:
    rule = InputRule(element_type="uint8", channels_last=True, offset=(1, 2, 3), scale=(0.1, 1e-9, -4))

    carried = manifest(input_rule=rule, class_names=("a cat", "Hund"))

    assert StudentManifest.from_json(carried.to_json()) == carried
    assert carried.given_shape == (4, 5, 3)
    assert "input_rule" not in manifest().to_json()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("element_type", "object"),
        ("offset", (float("nan"),)),
        ("offset", (1.0, 2.0)),
        ("scale", (0.0,)),
        ("scale", (float("inf"),)),
        ("scale", ()),
        ("usual", (2.0, 1.0)),
    ],
)
def test_no_rule_is_made_of_bad_numbers(field: str, value: Any) -> None:
    with pytest.raises(InvalidValue, match="offset|" + field):
        InputRule(**{field: value})


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"offset": [\n   1.0', '"offset": [\n   NaN', "offset"),
        ('"offset": [\n   1.0,', '"offset": [\n   1.0, 1.0,', "offset"),
        ('"scale": [\n   0.1', '"scale": [\n   0', "scale"),
        ('"uint8"', '"int4"', "element_type"),
        ('"a cat"', '"Hund"', "class_names"),
        ('"a cat",', "", "class_names"),
        ('"a cat"', '"a\\ncat"', "class_names"),
    ],
)
def test_a_hostile_manifest_is_refused_by_its_field(old: str, new: str, named: str) -> None:
    rule = InputRule(element_type="uint8", offset=(1.0, 2.0, 3.0), scale=(0.1, 0.2, 0.3))
    text = manifest(input_rule=rule, class_names=("a cat", "Hund")).to_json()
    assert old in text

    with pytest.raises(WireError, match=named):
        StudentManifest.from_json(text.replace(old, new, 1))


def test_numbers_fit_the_shape_that_is_read() -> None:
    two = InputRule(offset=(0.0, 0.0), scale=(1.0, 1.0))
    with pytest.raises(InvalidValue, match="offset"):
        manifest(input_rule=two)
    with pytest.raises(InvalidValue, match="channels"):
        manifest(input_rule=InputRule(channels_last=True), input_shape=(4,))
    with pytest.raises(FedstillError, match="not finite"):
        InputRule.of(np.array([[np.nan, 1.0]]))
    with pytest.raises(FedstillError, match="standardise"):
        InputRule.of(np.eye(3), normalize="standardise")


def test_a_large_public_set_is_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(2).normal(900, 30, size=(57, 3, 5, 4))
    whole = InputRule.of(x)

    monkeypatch.setattr("fedstill_proto.package.input_rule._VALUES_AT_ONCE", 600)
    blocks = InputRule.of(x)

    np.testing.assert_allclose(whole.offset, x.mean(axis=(0, 2, 3)), rtol=1e-8)
    np.testing.assert_allclose(whole.scale, 1 / x.std(axis=(0, 2, 3)), rtol=1e-8)
    np.testing.assert_allclose(blocks.offset + blocks.scale, whole.offset + whole.scale, rtol=1e-8)
    assert blocks.usual == whole.usual
    assert InputRule.of(x[:0]) == InputRule()
