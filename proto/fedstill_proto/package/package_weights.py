"""The weights of a package as a file, and as the initializers that its graphs read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from fedstill_proto.arrays import FloatArray, Parameters, ParameterSpec, check_parameters, parameter_specs
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.package.manifest import QuantizedWeight, StudentManifest
from fedstill_proto.package.quantization import dequantize_rows, quantized_arrays

PARAMETERS_FILE = "parameters.safetensors"


def encode_parameters(parameters: Parameters) -> bytes:
    """Parameters as a safetensors file."""
    arrays = {name: np.ascontiguousarray(array) for name, array in parameters.items()}
    return bytes(safetensors.numpy.save(arrays))


def decode_parameters(data: bytes, specs: Iterable[ParameterSpec], *, field: str) -> Parameters:
    """The parameters of a safetensors file that holds exactly `specs`, in their order; raises WireError."""
    specs = tuple(specs)
    try:
        loaded = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise WireError(field, f"not a safetensors file of float32 arrays: {error}") from None
    parameters = {spec.name: loaded.pop(spec.name) for spec in specs if spec.name in loaded}
    if loaded:
        raise WireError(field, f"arrays that the manifest does not name: {', '.join(sorted(loaded))[:200]}")
    try:
        check_parameters(parameters)
        check_specs(parameters, specs)
    except InvalidValue as error:
        raise WireError(f"{field}: {error.field}", error.problem) from None
    return parameters


def graph_weights(
    parameters: Parameters, quantized: Iterable[QuantizedWeight]
) -> dict[str, npt.NDArray[np.generic]]:
    """The initializers of a graph that reads the `quantized` parameters as codes and scales, by name."""
    quantized = tuple(quantized)
    in_codes = {weight.parameter for weight in quantized}
    whole = {name: array for name, array in parameters.items() if name not in in_codes}
    return {**whole, **quantized_arrays(parameters, quantized)}


def encode_weights(manifest: StudentManifest, parameters: Parameters) -> bytes:
    """All weights as a safetensors file; where the graphs hold none, the quantized ones as codes and
    scales.
    """
    if not manifest.external_weights:
        return encode_parameters(parameters)
    arrays = graph_weights(parameters, manifest.quantized)
    return bytes(safetensors.numpy.save({name: np.ascontiguousarray(a) for name, a in arrays.items()}))


def decode_weights(data: bytes, manifest: StudentManifest) -> Parameters:
    """What `encode_weights` wrote, as float32 parameters; raises WireError."""
    if not manifest.external_weights:
        return decode_parameters(data, manifest.parameters, field=PARAMETERS_FILE)
    try:
        loaded = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise WireError(PARAMETERS_FILE, f"not a safetensors file: {error}") from None
    coded = {weight.parameter: weight for weight in manifest.quantized}
    parameters: Parameters = {}
    for spec in manifest.parameters:
        weight = coded.get(spec.name)
        names = (spec.name,) if weight is None else (weight.codes, weight.scales)
        missing = [name for name in names if name not in loaded]
        if missing:
            raise WireError(PARAMETERS_FILE, f"holds no array {missing[0]!r}")
        arrays = [loaded.pop(name) for name in names]
        parameters[spec.name] = arrays[0] if weight is None else _dequantized(spec, weight, *arrays)
    if loaded:
        unknown = ", ".join(sorted(loaded))[:200]
        raise WireError(PARAMETERS_FILE, f"arrays that the manifest does not name: {unknown}")
    try:
        check_parameters(parameters)
        check_specs(parameters, manifest.parameters)
    except InvalidValue as error:
        raise WireError(f"{PARAMETERS_FILE}: {error.field}", error.problem) from None
    return parameters


def _dequantized(
    spec: ParameterSpec, weight: QuantizedWeight, codes: npt.NDArray[Any], scales: npt.NDArray[Any]
) -> FloatArray:
    rows, columns = spec.shape if len(spec.shape) == 2 else (0, 0)
    blocks = -(-columns // weight.block)
    good = codes.dtype == np.uint8 and codes.shape == (rows, blocks, weight.block)
    if not good or scales.dtype != np.float32 or scales.shape != (rows, blocks) or not rows:
        problem = (
            f"codes {codes.dtype} {codes.shape} and scales {scales.dtype} {scales.shape} are not its own"
        )
        raise WireError(f"{PARAMETERS_FILE}: {spec.name}", problem)
    return dequantize_rows(codes, scales, columns=columns)


def check_specs(
    parameters: Parameters, specs: tuple[ParameterSpec, ...], *, field: str = "parameters"
) -> None:
    """Raise InvalidValue unless these are the parameters of `specs`, in their order."""
    got = parameter_specs(parameters)
    if got == specs:
        return
    missing = [spec.name for spec in specs if spec not in got] or [
        spec.name for spec in got if spec not in specs
    ]
    raise InvalidValue(field, f"not as the manifest says: {', '.join(missing)[:200] or 'another order'}")
