"""Where graphs are computed, and arrays of theirs that stand there: this processor, or a GPU.

A device computes on its processor. A simulator may compute stacks on a GPU, by the CUDA provider of ONNX
Runtime (the package onnxruntime-gpu in place of onnxruntime): it says so for a block, and the processes that
it starts in there do the same. What the CUDA provider has no kernel for stays on the processor. A GPU adds in
another order, so that its students have other last bits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from fedstill_proto.errors import FedstillError

CPU, CUDA = "cpu", "cuda"
COMPUTES_ON = (CPU, CUDA)
_CUDA_PROVIDER, _CPU_PROVIDER = "CUDAExecutionProvider", "CPUExecutionProvider"
_VARIABLE = "FEDSTILL_COMPUTES_ON"
_CUDA_OPTIONS = {"use_tf32": "0"}  # ten bits of a product's operands would be left

Provider = str | tuple[str, dict[str, str]]


class NoComputeDevice(FedstillError):
    """What graphs are to be computed on is not there."""


def compute_device() -> str:
    """What this process computes graphs on: "cpu" or "cuda"."""
    return os.environ.get(_VARIABLE, CPU)


@contextmanager
def computing_on(device: str) -> Iterator[None]:
    """Compute graphs there in this block: in this process, and in those that it starts.

    Raises:
        NoComputeDevice: ONNX Runtime cannot.
    """
    check_compute_device(device)
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = device
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before


def check_compute_device(device: str) -> None:
    """Raise NoComputeDevice if ONNX Runtime cannot compute there."""
    if device not in COMPUTES_ON:
        raise NoComputeDevice(f"compute device {device!r} is none of {', '.join(COMPUTES_ON)}.")
    have = ort.get_available_providers()
    if device == CUDA and _CUDA_PROVIDER not in have:
        raise NoComputeDevice(
            f"compute device cuda: ONNX Runtime {ort.__version__} has {', '.join(have)} here, and no "
            f"{_CUDA_PROVIDER}. Install onnxruntime-gpu in place of onnxruntime on a machine with an NVIDIA "
            "GPU, or compute on cpu."
        )


def providers() -> list[Provider]:
    """What ONNX Runtime computes graphs with in this process, the first that can."""
    return [(_CUDA_PROVIDER, _CUDA_OPTIONS), _CPU_PROVIDER] if compute_device() == CUDA else [_CPU_PROVIDER]


def check_opened(opened: ort.InferenceSession) -> None:
    """Raise NoComputeDevice if a graph was to be opened on a GPU, and none took it.

    ONNX Runtime itself goes back to the processor, and keeps silent.
    """
    if compute_device() == CUDA and _CUDA_PROVIDER not in opened.get_providers():
        raise NoComputeDevice(
            "compute device cuda: ONNX Runtime found no GPU that it can use; see that nvidia-smi lists one, "
            "and that CUDA and cuDNN are of the versions which onnxruntime-gpu asks for, or compute on cpu."
        )


class PlacedArrays:
    """Arrays of this process as ONNX Runtime reads and writes them: where they stand, or copies on a GPU.

    `push` and `pull` carry what one side has written to the other; on a processor there is nothing to carry.

    Args:
        device: What graphs are computed on.
        is_shared: Whether graphs see the arrays themselves.
    """

    def __init__(self, device: str, *, is_shared: bool) -> None:
        self._device, self._is_shared = device, is_shared
        # The arrays are kept, too: a number of an array that is gone may be given again.
        self._values: dict[int, tuple[npt.NDArray[Any], ort.OrtValue]] = {}

    @classmethod
    def here(cls) -> PlacedArrays:
        """Return none yet, of what this process computes on."""
        device = compute_device()
        return cls(device, is_shared=device == CPU)

    def value(self, array: npt.NDArray[Any]) -> ort.OrtValue:
        """Return the array as ONNX Runtime has it, each time the same."""
        if id(array) not in self._values:
            if self._is_shared:
                value = ort.OrtValue.ortvalue_from_numpy(array)
            else:
                value = ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, self._device, 0)
                value.update_inplace(array)
            self._values[id(array)] = array, value
        return self._values[id(array)][1]

    def push(self, arrays: Iterable[npt.NDArray[Any]]) -> None:
        """Let the graphs see what these arrays hold now."""
        if not self._is_shared:
            for array in arrays:
                self.value(array).update_inplace(array)

    def pull(self, arrays: Iterable[npt.NDArray[Any]]) -> None:
        """Let these arrays hold what the graphs have written."""
        if not self._is_shared:
            for array in arrays:
                np.copyto(array, self.value(array).numpy())
