"""The 8-bit forms of a student's graph, side by side (Jacob et al. 2018, arXiv 1712.05877).

    weights   codes and scales of the weights alone, as packages hold them (export/int8.py)
    dynamic   activations are rounded to 8 bits too, with a range found in each answer
    static    with ranges found before, on calibration examples

Devices run the first: personal weights are put in its place there. The others are ONNX Runtime's own tools,
for a student that is not personalized. Which is best is measured, not assumed: on tiny students the rounding
of activations costs more time than it saves.

Their answers are the same on every processor. An x86 processor without VNNI multiplies activations of 0 to
255 by signed weights with vpmaddubsw, which adds two products in 16 bits and cuts the sum off at 32,767: with
weights of 127 it may be 64,770. Two kinds of weights never get there: those of 7 bits (2 * 255 * 64 is
32,640), and unsigned ones, which ONNX Runtime widens to 16 bits before it multiplies. How far the logits are
off, in percent, on average over the families of the digits, here and on a Haswell, which has no VNNI
(`python benchmarks/int8_forms.py --under "qemu-x86_64 -cpu Haswell"`):

    weights   static: VNNI, Haswell   dynamic: VNNI, Haswell
    uint8           1.20   1.20             0.56   0.56
    int7            1.64   1.64             1.19   1.19
    int8            1.17   2.98             0.58   1.20        static 5.25 for one family

Hence uint8: as exact as int8 where that is not cut off, and nowhere wrong. It costs time where there is VNNI,
which ONNX Runtime does not use for two unsigned factors: 256 examples at once take `mlp-wide` 49 us and not
35. Single examples take as long as before. (ONNX Runtime 1.22 and 1.23 do not open dynamic convolutions by
int8 at all; by uint8 they do.)
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from fedstill_proto.arrays import FloatArray, Parameters

from fedstill_server.export.int8 import quantize_student

_CALIBRATION_ROWS = 16  # of a batch

WeightCodes = Literal["uint8", "int7", "int8"]
"""uint8 and int7 multiply without loss on every processor; int8 loses sums on x86 without VNNI."""


def eight_bit_forms(graph: bytes, parameters: Parameters, calibration: FloatArray) -> dict[str, bytes]:
    """The forms of a graph by name: float32, dynamic, static, and weights where it has weights to quantize.

    Args:
        graph: The student's float32 graph.
        parameters: Its weights.
        calibration: Examples like those to come [n, *input_shape].
    """
    forms = {"float32": graph, "dynamic": dynamic_int8(graph), "static": static_int8(graph, calibration)}
    weights = quantize_student(graph, parameters)
    if weights is not None:
        forms["weights"] = weights.graph
    return forms


def dynamic_int8(graph: bytes, *, codes: WeightCodes = "uint8") -> bytes:
    # It takes a second to import, and warns that graphs could be prepared before.
    """The graph with 8-bit weights, and activations that are rounded to 8 bits in each answer."""
    from onnxruntime.quantization import quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "dynamic.onnx"
        quantize_dynamic(_plain(graph), out, **_weights(codes))
        return out.read_bytes()


def static_int8(graph: bytes, calibration: FloatArray, *, codes: WeightCodes = "uint8") -> bytes:
    """The graph with 8-bit weights and activations, whose ranges come from `calibration` [n,
    *input_shape].
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Batches(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[FloatArray] = iter(
                np.array_split(calibration, -(-len(calibration) // _CALIBRATION_ROWS))
            )

        def get_next(self) -> dict[str, FloatArray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"x": batch}

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "static.onnx"
        quantize_static(
            _plain(graph),
            out,
            Batches(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            **_weights(codes),
        )
        return out.read_bytes()


def _weights(codes: WeightCodes) -> dict[str, Any]:
    """The arguments of ONNX Runtime's quantizers for these codes."""
    from onnxruntime.quantization import QuantType

    unsigned = codes == "uint8"
    return {
        "weight_type": QuantType.QUInt8 if unsigned else QuantType.QInt8,
        "reduce_range": codes == "int7",
    }


def _plain(graph: bytes) -> onnx.ModelProto:
    """The graph without the shapes of inner values, which the quantizer would contradict."""
    model = onnx.load_from_string(graph)
    del model.graph.value_info[:]
    return model
