"""8-bit students: what the device makes of the server's graph, and how near it stays to float32."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from fedstill_client.model.predictor import PredictionError, Predictor
from fedstill_proto.arrays import Parameters
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.quantization import dequantize_rows, quantize_rows, quantized_arrays
from fedstill_server.export.int8 import quantize_student
from fedstill_server.export.student import export_student
from fedstill_server.families import ARRAYS, FAMILIES, TEXT, build_student, initial_parameters
from fedstill_server.training.fitting import FitPlan, fit
from fedstill_server.training.networks import parameters_of
from onnx import helper, numpy_helper
from sklearn.datasets import load_digits

SHAPE, CLASSES = (8, 8), 10
PLACES, WORDS = (3,), 1_100


def package(family: str, parameters: Parameters) -> StudentPackage:
    shape, classes = (PLACES, WORDS) if family in FAMILIES.of_task(TEXT) else (SHAPE, CLASSES)
    manifest, graph = export_student(family=family, input_shape=shape, classes=classes, parameters=parameters)
    eight_bit = quantize_student(graph, parameters)
    assert eight_bit is not None
    manifest = dataclasses.replace(manifest, quantized=eight_bit.quantized)
    return StudentPackage(manifest, graph, parameters, int8_graph=eight_bit.graph)


def digits() -> tuple[np.ndarray, np.ndarray]:
    data = load_digits()
    return (data.images / 16).astype(np.float32), data.target.astype(np.int64)


def trained(family: str) -> Parameters:
    x, y = digits()
    plan = FitPlan(epochs=6, batch_size=32, learning_rate=3e-3, weight_decay=0.0, hard_weight=1.0)
    network = build_student(family, SHAPE, CLASSES)
    return parameters_of(fit(network, x[:1200], None, plan=plan, seed=0, labels=y[:1200]))


def test_codes_are_those_of_a_hand_computed_block() -> None:
    weight = np.array([[1.27, -0.635, 0.0, 0.01, 2.54]], np.float32)

    codes, scales = quantize_rows(weight, block=4)

    np.testing.assert_allclose(scales, [[0.01, 0.02]], rtol=1e-6)
    assert codes[0, 0].tolist() in ([255, 64, 128, 129], [255, 65, 128, 129])
    assert codes[0, 1].tolist() == [255, 128, 128, 128]


def test_what_is_dequantized_is_off_by_half_a_step_at_most() -> None:
    weight = np.random.default_rng(0).normal(size=(7, 50)).astype(np.float32)
    weight[3] = 0

    codes, scales = quantize_rows(weight, block=16)
    back = dequantize_rows(codes, scales, columns=50)

    step = np.repeat(scales, 16, axis=1)[:, :50]
    assert (np.abs(back - weight) <= step * 0.5001).all()
    assert (back[3] == 0).all()


@pytest.mark.parametrize("family", sorted(FAMILIES.of_task(ARRAYS)))
def test_the_8_bit_student_answers_as_the_float32_one(family: str) -> None:
    parameters = trained(family)
    x, y = digits()
    made = package(family, parameters)

    float32, int8 = Predictor(made).logits(x[1200:]), Predictor(made, precision="int8").logits(x[1200:])

    same = (float32.argmax(-1) == int8.argmax(-1)).mean()
    lost = (float32.argmax(-1) == y[1200:]).mean() - (int8.argmax(-1) == y[1200:]).mean()
    assert same >= 0.98
    assert lost <= 0.01
    assert not np.array_equal(float32, int8)


@pytest.mark.parametrize("family", sorted(FAMILIES.of_task(TEXT)))
def test_a_table_of_words_is_there_once_and_in_8_bits(family: str) -> None:
    parameters = initial_parameters(family, PLACES, WORDS, 0)
    made = package(family, parameters)
    x = np.random.default_rng(0).integers(0, WORDS, (20, *PLACES))

    float32, int8 = Predictor(made).logits(x), Predictor(made, precision="int8").logits(x)

    assert made.int8_graph is not None
    inside = {t.name: t for t in onnx.load_from_string(made.int8_graph).graph.initializer}
    assert "embedding.weight" not in inside
    assert list(inside["embedding.weight.codes"].dims) == [WORDS, 2, 32]
    assert len(made.int8_graph) < 0.4 * len(made.inference_graph)
    assert int8.shape == float32.shape == (20, *PLACES, WORDS)
    error = np.linalg.norm(int8 - float32, axis=-1) / np.linalg.norm(float32, axis=-1)
    assert error.max() < 0.04  # 1/127 of the largest of a block, in each of the products


def test_a_table_that_blocks_do_not_fill_stays_as_it_is() -> None:
    table = np.random.default_rng(0).normal(size=(20, 40)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["rows"]),
        helper.make_node("Gemm", ["rows", "table"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(nodes, "tied", [], [], [numpy_helper.from_array(table, "table")])

    assert quantize_student(helper.make_model(graph).SerializeToString(), {"table": table}) is None


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("family", ["mlp-small", "cnn", "gru", "transformer"])
def test_swapped_weights_answer_as_a_package_of_them_would(family: str, precision: str) -> None:
    is_text = family in FAMILIES.of_task(TEXT)
    shape, classes = (PLACES, WORDS) if is_text else (SHAPE, CLASSES)
    first, second = (initial_parameters(family, shape, classes, seed) for seed in (0, 1))
    x = np.random.default_rng(0).integers(0, WORDS, (20, *PLACES)) if is_text else digits()[0][:50]
    predictor = Predictor(package(family, first), precision=precision)  # type: ignore[arg-type]
    before = predictor.logits(x)

    predictor.swap(second)

    fresh = Predictor(package(family, second), precision=precision).logits(x)  # type: ignore[arg-type]
    np.testing.assert_allclose(predictor.logits(x), fresh, atol=1e-6)
    assert not np.allclose(before, fresh, atol=1e-3)
    predictor.swap(first)
    np.testing.assert_array_equal(predictor.logits(x), before)


def test_later_changes_of_swapped_arrays_are_not_seen() -> None:
    parameters = initial_parameters("mlp-small", SHAPE, CLASSES, 0)
    predictor = Predictor(package("mlp-small", parameters))
    x = digits()[0][:5]
    predictor.swap(parameters)
    before = predictor.logits(x)

    for array in parameters.values():
        array += 1

    np.testing.assert_array_equal(predictor.logits(x), before)


def test_a_package_is_a_third_in_8_bits() -> None:
    parameters = initial_parameters("mlp-wide", SHAPE, CLASSES, 0)
    made = package("mlp-wide", parameters)

    assert made.int8_graph is not None
    assert len(made.int8_graph) < 0.4 * len(made.inference_graph)
    assert set(quantized_arrays(parameters, made.manifest.quantized)) == {
        f"{layer}.weight.{what}" for layer in ("hidden", "output") for what in ("codes", "scales")
    }


def test_a_student_too_small_for_8_bits_and_a_package_without_them_say_so() -> None:
    parameters = initial_parameters("mlp-small", (2,), 3, 0)
    manifest, graph = export_student(family="mlp-small", input_shape=(2,), classes=3, parameters=parameters)
    assert quantize_student(graph, parameters) is None
    with pytest.raises(PredictionError, match="no 8-bit graph"):
        Predictor(StudentPackage(manifest, graph, parameters), precision="int8")
