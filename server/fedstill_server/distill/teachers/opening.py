"""A teacher by the name that it has on the command line.

teacher.onnx                        an ONNX file
runs/demo                           the teacher of a fleet's run
packages/student                    a student package
my.models:big_network               a torch module or an estimator by import path, or a function or class that
                                    makes one, of input_shape and classes if it has such parameters
my.models:big_network@big.safetensors   the same with weights from a file
big                                 the name in an installed distribution ("fedstill.teachers")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import nn

from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.teachers.saved import teacher_of_package, teacher_of_run
from fedstill_server.distill.teachers.torch_module import TorchTeacher
from fedstill_server.teachers.estimator import EstimatorTeacher
from fedstill_server.teachers.interface import TeacherModel
from fedstill_server.teachers.onnx_file import OnnxTeacher
from fedstill_server.teachers.registry import TEACHERS, load_teacher


def open_teacher(text: str, *, input_shape: tuple[int, ...], classes: int) -> TeacherModel:
    """Open the teacher of examples of this shape and so many classes.

    Raises:
        FedstillError: There is no such teacher, or it cannot be one.
    """
    path = Path(text)
    if path.suffix == ".onnx":
        return OnnxTeacher.of_file(path)
    if (path / "manifest.json").is_file():
        return teacher_of_package(path)
    if (path / "config.json").is_file():
        return teacher_of_run(path)
    place, _, weights = text.partition("@")
    if ":" not in place and place not in TEACHERS:
        installed = f", nor one of {', '.join(TEACHERS)}" if TEACHERS.names() else ""
        raise DistillError(
            f"teacher: {text!r} is neither an .onnx file, nor the folder of a run or of a student package, "
            f"nor an import path such as my.models:big_network{installed}"
        )
    loaded = load_teacher(place, input_shape, classes)
    if isinstance(loaded, nn.Module):
        return TorchTeacher(with_weights(loaded, Path(weights)) if weights else loaded, name=text)
    if weights:
        raise DistillError(f"teacher: {place} is no torch module, and takes no weights")
    estimator: Any = loaded
    return EstimatorTeacher(estimator, classes=classes, name=text)


def with_weights(network: nn.Module, path: Path) -> nn.Module:
    """`network` with the weights of a safetensors file."""
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, safetensors.SafetensorError, RuntimeError) as error:
        raise DistillError(f"{path}: not the weights of this network ({str(error)[:300]})") from None
    return network
