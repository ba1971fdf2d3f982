"""8-bit weights of a package: the rows of a matrix in blocks (fedstill_proto.codec.weight_blocks).

    value = (code - 128) * scale,    scale = max |value| of the block / 127,    code in 1..255

in the layout of ONNX Runtime's MatMulNBits.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from fedstill_proto.arrays import FloatArray, Parameters
from fedstill_proto.codec.weight_blocks import (
    CodeArray,
    block_codes,
    block_scales,
    block_values,
    code_of_zero,
)
from fedstill_proto.package.manifest import QuantizedWeight

CODE_OF_ZERO = code_of_zero(8)


def quantize_rows(weight: FloatArray, *, block: int) -> tuple[CodeArray, FloatArray]:
    """Quantize a weight in blocks.

    Args:
        weight: [N, K].
        block: Values of a block.

    Returns:
        Codes [N, B, block] and scales [N, B], with B = ceil(K / block); padding is 0.
    """
    rows, columns = weight.shape
    blocks = -(-columns // block)
    padded = np.zeros((rows, blocks * block), np.float32)
    padded[:, :columns] = weight
    values = padded.reshape(rows, blocks, block)
    scales = block_scales(values)
    return block_codes(values, scales), scales


def dequantize_rows(codes: CodeArray, scales: FloatArray, *, columns: int) -> FloatArray:
    """The weight [N, columns] that codes and scales stand for."""
    values = block_values(codes, scales)
    return np.ascontiguousarray(values.reshape(len(codes), -1)[:, :columns])


def dequantized(parameters: Parameters, quantized: Iterable[QuantizedWeight]) -> Parameters:
    """The `quantized` parameters after rounding to their codes and scales."""
    rounded: Parameters = {}
    for weight in quantized:
        whole = parameters[weight.parameter]
        codes, scales = quantize_rows(whole, block=weight.block)
        rounded[weight.parameter] = dequantize_rows(codes, scales, columns=whole.shape[1])
    return rounded


def quantized_arrays(
    parameters: Parameters, quantized: Iterable[QuantizedWeight]
) -> dict[str, npt.NDArray[np.generic]]:
    """Codes and scales of the weights that an 8-bit graph holds, by the names of its initializers."""
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for weight in quantized:
        codes, scales = quantize_rows(parameters[weight.parameter], block=weight.block)
        arrays |= {weight.codes: codes, weight.scales: scales}
    return arrays
