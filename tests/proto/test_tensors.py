"""Students of few bits on the wire: codes that a person can work out, and bytes that nobody sends."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from fedstill_proto.arrays import FloatArray
from fedstill_proto.codec.api import Expected, decode_summary, decode_task, encode_summary, encode_task
from fedstill_proto.codec.tensors import BLOCK, Moves, decode_tensors, encode_tensors, rounded
from fedstill_proto.errors import InvalidValue
from fedstill_proto.messages import (
    PrivateStatistics,
    RoundTask,
    SoftLabelSummary,
    SummaryKind,
    SummaryRequest,
)
from fedstill_proto.v1 import fedstill_pb2 as pb

from tests.proto.wire_samples import FAMILY, PLAN, ROUND, RUN, UINT8, forged, refused_field

HALF = b"\x00\x3f"  # the upper bytes of 0.5 as a float32, little endian
GIVEN = {"w": np.array([[-63.5, 0.5], [0, 1]], np.float32)}


def asking(bits: int) -> RoundTask:
    """A task that brings GIVEN, in so many bits, and asks for what a device makes of it."""
    task = RoundTask(
        run=RUN,
        round=ROUND,
        family=FAMILY,
        training=PLAN,
        request=SummaryRequest(SummaryKind.PARAMETERS),
        parameters=rounded(GIVEN, bits=bits),
        replace_student=True,
    )
    return dataclasses.replace(task, weight_bits=bits)


def answer(task: RoundTask, moved: Any) -> bytes:
    student = {name: array + np.asarray(moved, np.float32) for name, array in task.parameters.items()}
    summary = SoftLabelSummary(
        RUN, ROUND, FAMILY, SummaryKind.PARAMETERS, PrivateStatistics(parameters=student, examples=4)
    )
    return encode_summary(summary, codec=None, moves=Moves.of(task))


def test_eight_bits_are_a_byte_for_each_weight() -> None:
    (tensor,) = encode_tensors(GIVEN, bits=8)
    assert (tensor.name, tensor.shape, tensor.scales) == ("w", [2, 2], HALF)
    assert list(tensor.data) == [1, 129, 128, 130]  # -127, 1, 0 and 2 steps of a half
    np.testing.assert_array_equal(decode_tensors([tensor], "parameters", bits=8)["w"], GIVEN["w"])


def test_four_bits_are_half_a_byte_the_first_in_the_lower_half() -> None:
    weights = {"b": np.array([-3.5, 0.5, 0], np.float32)}
    (tensor,) = encode_tensors(weights, bits=4)
    assert tensor.data.hex() == "9108"  # codes 1, 9 and 8, and nothing behind them
    np.testing.assert_array_equal(decode_tensors([tensor], "parameters", bits=4)["b"], weights["b"])


@pytest.mark.parametrize("bits", [8, 4])
def test_each_block_has_a_step_of_its_own_and_rounding_twice_is_rounding_once(bits: int) -> None:
    random, most = np.random.default_rng(bits), (1 << bits - 1) - 1
    for size in (1, BLOCK, 3 * BLOCK + 5):
        magnitudes = np.repeat(10.0 ** random.uniform(-30, 30, size=-(-size // BLOCK)), BLOCK)[:size]
        weights = {"w": (magnitudes * random.normal(size=size)).astype(np.float32)}
        once = rounded(weights, bits=bits)
        np.testing.assert_array_equal(rounded(once, bits=bits)["w"], once["w"])
        sent = decode_tensors(encode_tensors(weights, bits=bits), "parameters", bits=bits)
        np.testing.assert_array_equal(sent["w"], once["w"])
        for start in range(0, size, BLOCK):
            block, back = (one["w"][start : start + BLOCK] for one in (weights, once))
            # Half a step, and what the rounded scale takes from the largest.
            assert np.abs(back - block).max() <= 0.51 * np.abs(block).max() / most
    zeros: dict[str, FloatArray] = {"w": np.zeros(3, np.float32)}
    np.testing.assert_array_equal(rounded(zeros, bits=bits)["w"], zeros["w"])


@pytest.mark.parametrize("bits", [8, 4])
def test_a_student_comes_back_as_what_it_moved_from_the_one_that_was_given(bits: int) -> None:
    sent = asking(bits)
    task = decode_task(encode_task(sent, codec=UINT8))
    assert task.weight_bits == bits
    np.testing.assert_array_equal(task.parameters["w"], sent.parameters["w"])

    moved = np.array([[0.5, 0], [-1.5, 3.5]], np.float32)  # of the largest, 7 half steps: whole in 4 bits
    moved = moved if bits == 4 else np.array([[0.5, 0], [-1.5, 63.5]], np.float32)
    expected = Expected.of(task, 3, task.parameters)
    blob = answer(task, moved)
    statistics = decode_summary(blob, expected=expected).statistics

    np.testing.assert_array_equal(statistics.parameters["w"], task.parameters["w"] + moved)
    assert statistics.examples == 4
    assert len(blob) <= expected.size_limit_bytes
    float_answer = dataclasses.replace(task, weight_bits=0)
    assert expected.size_limit_bytes < Expected.of(float_answer, 3, task.parameters).size_limit_bytes


def test_control_variates_are_in_as_many_bits() -> None:
    task = dataclasses.replace(asking(8), control_variates=GIVEN)
    received = decode_task(encode_task(task, codec=UINT8))
    np.testing.assert_array_equal(received.control_variates["w"], GIVEN["w"])
    said = PrivateStatistics(parameters=received.parameters, examples=4, control_variates=GIVEN)
    summary = SoftLabelSummary(RUN, ROUND, FAMILY, SummaryKind.PARAMETERS, said)
    blob = encode_summary(summary, codec=None, moves=Moves.of(received))
    (tensor,) = pb.SoftLabelSummary.FromString(blob).statistics.control_variates
    assert list(tensor.data) == [1, 129, 128, 130]
    heard = decode_summary(blob, expected=Expected.of(received, 3, received.parameters)).statistics
    np.testing.assert_array_equal(heard.control_variates["w"], GIVEN["w"])


NEGATIVE, INFINITE, NO_NUMBER = b"\x00\xbf", b"\x80\x7f", b"\xc0\x7f"


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("scales", b""),
        ("scales", HALF * 2),
        ("scales", NEGATIVE),
        ("scales", INFINITE),
        ("scales", NO_NUMBER),
        ("data", b""),
        ("data", bytes(range(1, 6))),
        ("data", b"\x80\x80\x00\x80"),
        ("data", b"\x80\x08"),
        ("name", "a b\n"),
        ("shape", [4294967295, 4294967295]),
    ],
)
def test_what_no_side_sends_is_refused_by_its_field(bits: int, part: str, value: Any) -> None:
    task = asking(bits)
    blob = forged(pb.RoundTask(), encode_task(task, codec=UINT8), f"parameters.0.{part}", value)
    field = "data" if part == "shape" else part
    assert refused_field(lambda: decode_task(blob)) == f"parameters[0].{field}"
    path = f"statistics.parameters.0.{part}"
    blob = forged(pb.SoftLabelSummary(), answer(task, 0), path, value)
    expected = Expected.of(task, 3, task.parameters)
    assert (
        refused_field(lambda: decode_summary(blob, expected=expected)) == f"statistics.parameters[0].{field}"
    )


def test_a_code_behind_the_last_weight_is_refused() -> None:
    odd = pb.Tensor(name="b", shape=[3], data=b"\x88\x18", scales=HALF)
    assert refused_field(lambda: decode_tensors([odd], "parameters", bits=4)) == "parameters[0].data"


def test_numbers_beyond_float32_are_refused_by_name() -> None:
    largest = b"\x7f\x7f"  # of a finite scale: 127 such steps are none
    blob = forged(pb.RoundTask(), encode_task(asking(8), codec=UINT8), "parameters.0.scales", largest)
    assert refused_field(lambda: decode_task(blob)) == "parameters[w]"
    far = np.full((2, 2), 3e38, np.float32)
    task = dataclasses.replace(asking(8), parameters=rounded({"w": far}, bits=8))
    blob = forged(pb.SoftLabelSummary(), answer(task, 1e37), "statistics.parameters.0.scales", largest)
    expected = Expected.of(task, 3, task.parameters)
    assert refused_field(lambda: decode_summary(blob, expected=expected)) == "statistics.parameters[w]"


def test_tasks_say_in_how_many_bits_and_only_where_devices_start_there() -> None:
    blob = encode_task(asking(8), codec=UINT8)
    for bits in (1, 5, 16, 4294967295):
        wrong = forged(pb.RoundTask(), blob, "weight_bits", bits)
        assert refused_field(lambda wrong=wrong: decode_task(wrong)) == "weight_bits"
    elsewhere = forged(pb.RoundTask(), blob, "replace_student", False)
    assert refused_field(lambda: decode_task(elsewhere)) == "weight_bits"
    with_scales = forged(pb.RoundTask(), encode_task(asking(0), codec=UINT8), "parameters.0.scales", HALF)
    assert refused_field(lambda: decode_task(with_scales)) == "parameters[0].scales"
    with pytest.raises(InvalidValue, match="weight_bits"):
        dataclasses.replace(asking(8), weight_bits=3)


def test_an_answer_of_other_arrays_than_the_task_brings_is_refused() -> None:
    task = asking(8)
    blob = forged(pb.SoftLabelSummary(), answer(task, 0), "statistics.parameters.0.name", "v")
    expected = Expected.of(task, 3, task.parameters)
    assert refused_field(lambda: decode_summary(blob, expected=expected)) == "statistics.parameters[0]"
