"""ONNX Runtime sessions as a device wants them: on the CPU, one thread, no spinning, quiet."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from fedstill_proto.errors import FedstillError
from fedstill_proto.soft_labels import FloatArray

_ELEMENTS = {"tensor(float)": np.dtype(np.float32), "tensor(int64)": np.dtype(np.int64)}


class GraphError(FedstillError):
    """A graph that ONNX Runtime does not take, or that is not what its manifest says."""


def session(
    graph: bytes, *, threads: int = 1, initializers: Mapping[str, FloatArray] | None = None
) -> ort.InferenceSession:
    """Open a graph; `initializers` take the place of the graph's own weights of the same names."""
    if threads < 1:
        raise GraphError(f"threads is {threads}; give 1 or more.")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # A spinning thread takes a core from whatever else the device (or the next worker) does.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # ONNX Runtime reads these only while it builds the session; they must live until then.
    values = {name: _value(array) for name, array in (initializers or {}).items()}
    for name, value in values.items():
        options.add_initializer(name, value)
    try:
        opened = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a class of its own for each status code
        reason = str(error).strip().splitlines()[0]
        raise GraphError(f"ONNX Runtime {ort.__version__} does not open the graph: {reason}") from error
    return opened


def bound(array: npt.NDArray[np.generic]) -> ort.OrtValue:
    """Wrap an array without a copy: what is written to the array later is what the graph reads.

    The caller keeps the array alive and never gives the same one to an input and an output: ONNX Runtime
    may write an output before it has read all of an input.
    """
    if not array.flags.c_contiguous:
        raise GraphError(f"an array of shape {array.shape} is not contiguous and cannot be bound.")
    return ort.OrtValue.ortvalue_from_numpy(array)


def matching_array(
    port: ort.NodeArg, arrays: Mapping[str, npt.NDArray[np.generic]]
) -> npt.NDArray[np.generic]:
    """The array for an input or output of a graph, if it has the port's type and shape."""
    array = arrays.get(port.name)
    if array is None:
        raise GraphError(
            f"the graph has {port.name!r} and there is no such array; there are {sorted(arrays)}."
        )
    if list(array.shape) != list(port.shape) or _ELEMENTS.get(port.type) != array.dtype:
        raise GraphError(
            f"the graph's {port.name!r} is {port.type} {port.shape}, the array {array.dtype} "
            f"{list(array.shape)}; the artifact and the student do not belong together."
        )
    return array


def _value(array: FloatArray) -> ort.OrtValue:
    return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array, dtype=np.float32))
