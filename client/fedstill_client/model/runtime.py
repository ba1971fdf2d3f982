"""ONNX Runtime sessions as a device wants them: on the CPU, one thread, no spinning, quiet."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from fedstill_proto.errors import FedstillError

from fedstill_client.model.limits import apply_to, limited
from fedstill_client.model.placed import PlacedArrays, check_opened, providers

Arrays = Mapping[str, npt.NDArray[np.generic]]

_ELEMENTS = {"tensor(float)": np.dtype(np.float32), "tensor(int64)": np.dtype(np.int64)}


class GraphError(FedstillError):
    """ONNX Runtime does not take a graph, or the graph is not what its manifest states."""


def session(
    graph: bytes, *, threads: int = 1, initializers: Mapping[str, ort.OrtValue] | None = None
) -> ort.InferenceSession:
    """Open a graph; `initializers` take the place of the graph's own weights of the same names.

    ONNX Runtime reads the initializers where they stand: the caller keeps them as long as the session.
    """
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
    apply_to(options)
    for name, value in (initializers or {}).items():
        if name.encode() not in graph:
            # ONNX Runtime would keep silent, and the graph its own weights.
            raise GraphError(f"the graph has no weights named {name!r}; export the student again.")
        options.add_initializer(name, value)
    if initializers:
        # Above this level ONNX Runtime lays convolutions' weights out anew while it opens the graph: the
        # graph's own weights, not those that take their place.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        opened = ort.InferenceSession(graph, options, providers=providers())
    except Exception as error:  # ONNX Runtime raises a class of its own for each status code
        reason = str(error).strip().splitlines()[0]
        raise GraphError(f"ONNX Runtime {ort.__version__} does not open the graph: {reason}") from error
    check_opened(opened)
    return opened


def as_value(array: npt.NDArray[np.generic], placed: PlacedArrays | None = None) -> ort.OrtValue:
    """The array as ONNX Runtime sees it, without a copy, so that later changes of the array are seen, too; or
    where it is placed.
    """
    if not array.flags.c_contiguous:
        raise GraphError(f"an array of shape {array.shape} is not contiguous and cannot be bound.")
    return ort.OrtValue.ortvalue_from_numpy(array) if placed is None else placed.value(array)


class Binding:
    """A graph with arrays for all its inputs and outputs: a run binds and copies nothing.

    No array is an input and an output: ONNX Runtime may write an output before it has read all of an input.

    Args:
        opened: The graph.
        inputs: What it reads.
        outputs: What it writes.
        placed: Where graphs see the arrays; by default where they stand.
    """

    def __init__(
        self,
        opened: ort.InferenceSession,
        *,
        inputs: Arrays,
        outputs: Arrays,
        placed: PlacedArrays | None = None,
    ) -> None:
        self._session = opened
        self._binding = opened.io_binding()
        # What is bound is read and written where it stands, and must live as long as the binding.
        self._kept = []
        for port in opened.get_inputs():
            value = as_value(_matching_array(port, inputs), placed)
            self._binding.bind_ortvalue_input(port.name, value)
            self._kept.append(value)
        for port in opened.get_outputs():
            value = as_value(_matching_array(port, outputs), placed)
            self._binding.bind_ortvalue_output(port.name, value)
            self._kept.append(value)

    def run(self) -> None:
        """Read the inputs and write the outputs."""
        limited(self._run)

    def _run(self, options: ort.RunOptions) -> None:
        self._session.run_with_iobinding(self._binding, options)


def _matching_array(port: ort.NodeArg, arrays: Arrays) -> npt.NDArray[np.generic]:
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
