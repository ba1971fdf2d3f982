"""8-bit forms on processors that this one is not: nothing in them can be cut off at 16 bits."""

from __future__ import annotations

import platform
import shutil

import numpy as np
import onnx
import pytest
from fedstill_proto.arrays import Parameters
from fedstill_server.distill.quantization import dynamic_int8, eight_bit_forms, static_int8
from fedstill_server.export.int8 import quantize_student
from fedstill_server.export.opened import open_graph
from fedstill_server.export.streaming import export_step
from fedstill_server.export.student import export_student
from fedstill_server.families import ARRAYS, FAMILIES, TEXT, initial_parameters
from fedstill_server.training.networks import parameters_of
from onnx import TensorProto, helper, numpy_helper

from benchmarks.int8_forms import answers_under, error_percent, forms_of
from tests.server.distill_samples import CLASSES, corners, taught
from tests.server.saturating_pairs import logits_without_vnni, pair_sums, weights_of_products

FAMILY, SHAPE = "mlp-20", (4, 4)
HASWELL = [shutil.which("qemu-x86_64") or "", "-cpu", "Haswell"]  # AVX2 and no VNNI
SAFE_STEPS = 64  # 2 * 255 * 64 is less than 2 ** 15


@pytest.fixture(scope="module")
def learned() -> tuple[bytes, Parameters]:
    parameters = parameters_of(taught(FAMILY, epochs=10).network)
    _, graph = export_student(family=FAMILY, input_shape=SHAPE, classes=CLASSES, parameters=parameters)
    return graph, parameters


def test_a_pair_is_cut_off_only_where_one_factor_is_signed() -> None:
    left = np.array([[255, 255, 3]], np.uint8)

    assert pair_sums(left, np.array([[127], [127], [2]], np.int8)).tolist() == [[32_767 + 6]]
    assert pair_sums(left, np.array([[-127], [-127], [2]], np.int8)).tolist() == [[-32_768 + 6]]
    assert pair_sums(left, np.array([[64], [64], [2]], np.int8)).tolist() == [[2 * 255 * 64 + 6]]
    assert pair_sums(left, np.array([[255], [255], [2]], np.uint8)).tolist() == [[2 * 255 * 255 + 6]]


def test_full_range_signed_weights_would_be_wrong_and_ours_are_not(learned: tuple[bytes, Parameters]) -> None:
    graph, _ = learned
    x, calibration = corners(200, seed=3)[0], corners(64, seed=4)[0]
    expected = open_graph(graph).run(["logits"], {"x": x})[0]

    errors = {
        (form, codes): error_percent(logits_without_vnni(made, x), expected)
        for codes in ("uint8", "int7", "int8")
        for form, made in (
            ("static", static_int8(graph, calibration, codes=codes)),
            ("dynamic", dynamic_int8(graph, codes=codes)),
        )
    }

    assert errors["static", "int8"] > 10
    assert errors["dynamic", "int8"] > 3
    for codes in ("uint8", "int7"):
        assert errors["static", codes] < 1
        assert errors["dynamic", codes] < 1


def test_what_numpy_computes_of_our_forms_is_what_this_processor_answers(
    learned: tuple[bytes, Parameters],
) -> None:
    graph, _ = learned
    x = corners(200, seed=3)[0]
    static, dynamic = static_int8(graph, corners(64, seed=4)[0]), dynamic_int8(graph)
    inside = {each.name: each for each in onnx.load_from_string(static).graph.initializer}
    step = float(numpy_helper.to_array(inside["logits_scale"]))

    off = np.abs(logits_without_vnni(static, x) - open_graph(static).run(["logits"], {"x": x})[0])

    assert off.max() < 1.01 * step  # rounded to the neighbour
    assert (off > 0.01 * step).mean() < 0.02
    np.testing.assert_allclose(
        logits_without_vnni(dynamic, x), open_graph(dynamic).run(["logits"], {"x": x})[0], atol=1e-4
    )


@pytest.mark.parametrize("family", [FAMILY, *sorted(FAMILIES.of_task(ARRAYS))])
def test_no_weight_of_any_form_can_fill_16_bits(family: str) -> None:
    shape = (8, 8)
    parameters = initial_parameters(family, shape, 10, 0)
    _, graph = export_student(family=family, input_shape=shape, classes=10, parameters=parameters)
    calibration = np.random.default_rng(0).random((32, *shape), np.float32)
    layers = sum(node.op_type in ("Conv", "Gemm") for node in onnx.load_from_string(graph).graph.node)

    forms = eight_bit_forms(graph, parameters, calibration)

    assert set(forms) == {"float32", "dynamic", "static", "weights"}
    for name in ("dynamic", "static"):
        weights = list(weights_of_products(forms[name]))
        assert len(weights) == layers
        for operator, weight in weights:
            assert weight.dtype == np.uint8 or np.abs(weight.astype(int)).max() <= SAFE_STEPS, operator


def shipped_graphs(family: str) -> list[bytes]:
    """The 8-bit graphs of a student: of whole rows and, of text, of one word at a time."""
    shape, classes = ((3,), 1_100) if family in FAMILIES.of_task(TEXT) else ((8, 8), 10)
    parameters = initial_parameters(family, shape, classes, 0)
    _, graph = export_student(family=family, input_shape=shape, classes=classes, parameters=parameters)
    graphs = [graph]
    if family in FAMILIES.of_task(TEXT):
        step = export_step(family=family, input_shape=shape, classes=classes, parameters=parameters)
        graphs += [step[1]] if step is not None else []
    made = [quantize_student(each, parameters) for each in graphs]
    assert None not in made
    return [each.graph for each in made if each is not None]


@pytest.mark.parametrize("family", sorted((*FAMILIES.of_task(ARRAYS), *FAMILIES.of_task(TEXT))))
def test_what_ships_multiplies_bytes_in_blocks_alone(family: str) -> None:
    for graph in shipped_graphs(family):
        model = onnx.load_from_string(graph)
        products = [node for node in model.graph.node if node.op_type == "MatMulNBits"]
        types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}

        assert products
        assert {types[node.input[1]] for node in products} == {TensorProto.UINT8}
        assert not list(weights_of_products(graph))
        assert TensorProto.INT8 not in types.values()


def extreme_blocks(block: int, code: int) -> bytes:
    """A product by [64, 256] weights that are all of one code, each a step of 0.01."""
    codes = np.full((64, 256 // block, block), code, np.uint8)
    scales = np.full((64, 256 // block), 0.01, np.float32)
    node = helper.make_node(
        "MatMulNBits",
        ["x", "codes", "scales"],
        ["y"],
        domain="com.microsoft",
        K=256,
        N=64,
        bits=8,
        block_size=block,
        accuracy_level=4,
    )
    ports = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])]
        for name, size in (("x", 256), ("y", 64))
    ]
    weights = [numpy_helper.from_array(codes, "codes"), numpy_helper.from_array(scales, "scales")]
    graph = helper.make_graph([node], "blocks", *ports, weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


EXTREMES = {f"{block} {code}": extreme_blocks(block, code) for block in (16, 32) for code in (1, 255)}


def check_extremes(answers: dict[str, np.ndarray], x: np.ndarray) -> None:
    for name, answer in answers.items():
        code = int(name.split()[1])
        expected = np.repeat(x.sum(axis=1, keepdims=True) * (code - 128) * 0.01, 64, axis=1)
        np.testing.assert_allclose(answer, expected, rtol=1e-4, err_msg=name)


LARGEST = np.stack([np.full(256, sign, np.float32) for sign in (1, -1, 1)])  # each step 127 or -127


def test_blocks_of_the_largest_codes_multiply_exactly_here() -> None:
    check_extremes(
        {name: open_graph(each).run(None, {"x": LARGEST})[0] for name, each in EXTREMES.items()}, LARGEST
    )


@pytest.mark.skipif(
    not HASWELL[0] or platform.machine() not in ("x86_64", "AMD64"),
    reason="needs qemu-user (qemu-x86_64) of 7.2 or later, and a Python for x86",
)
def test_a_processor_without_vnni_answers_as_this_one(learned: tuple[bytes, Parameters]) -> None:
    graph, parameters = learned
    x = corners(200, seed=3)[0]
    forms = forms_of(graph, parameters, corners(64, seed=4)[0])
    expected = open_graph(graph).run(["logits"], {"x": x})[0]

    there = answers_under(HASWELL, forms, x)

    if error_percent(there["static int8"], expected) < 10:
        pytest.skip("this emulator has no AVX2")
    for name in ("static uint8", "dynamic uint8", "weights"):
        here = open_graph(forms[name]).run(["logits"], {"x": x})[0]
        assert error_percent(there[name], expected) < 1
        assert error_percent(there[name], here) < 0.1
    # What numpy says of such a processor is what it does.
    simulated = logits_without_vnni(forms["static int8"], x)
    assert error_percent(simulated, there["static int8"]) < 0.1
    check_extremes(answers_under(HASWELL, EXTREMES, LARGEST), LARGEST)
