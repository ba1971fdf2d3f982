"""The 8-bit forms of a student's graph, side by side (Jacob et al. 2018, arXiv 1712.05877).

    weights   codes and scales of the weights alone, as packages hold them (export/int8.py)
    dynamic   activations are rounded to 8 bits too, with a range found in each answer
    static    with ranges found before, on calibration examples

Devices run the first: personal weights are put in its place there. The others are ONNX Runtime's own tools,
for a student that is not personalized. Which is best is measured, not assumed: on tiny students the rounding
of activations costs more time than it saves.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from fedstill_proto.codec.soft_labels import FloatArray
from fedstill_proto.messages import Parameters

from fedstill_server.export.int8 import quantize_student

_CALIBRATION_ROWS = 16  # of a batch


def eight_bit_forms(graph: bytes, parameters: Parameters, calibration: FloatArray) -> dict[str, bytes]:
    """By name, those that there are; calibration [n, *input_shape] are examples like those to come."""
    forms = {"float32": graph, "dynamic": dynamic_int8(graph), "static": static_int8(graph, calibration)}
    weights = quantize_student(graph, parameters)
    if weights is not None:
        forms["weights"] = weights.graph
    return forms


def dynamic_int8(graph: bytes) -> bytes:
    # It takes a second to import, and warns that graphs could be prepared before.
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "dynamic.onnx"
        quantize_dynamic(_plain(graph), out, weight_type=QuantType.QInt8)
        return out.read_bytes()


def static_int8(graph: bytes, calibration: FloatArray) -> bytes:
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
            weight_type=QuantType.QInt8,
        )
        return out.read_bytes()


def _plain(graph: bytes) -> onnx.ModelProto:
    """Without the shapes of inner values, which the quantizer would contradict."""
    model = onnx.load_from_string(graph)
    del model.graph.value_info[:]
    return model
