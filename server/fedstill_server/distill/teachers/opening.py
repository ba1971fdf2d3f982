"""A teacher by what a person names on the command line.

teacher.onnx                        an ONNX file
runs/demo                           the teacher of a fleet's run
packages/student                    a student package
my.models:big_network               a torch module or an estimator by import path, or a function without
                                    arguments that returns one
my.models:big_network@big.safetensors   the same with weights from a file
"""

from __future__ import annotations

import importlib
import traceback
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import nn

from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.teachers.estimator import EstimatorTeacher
from fedstill_server.distill.teachers.interface import Teacher
from fedstill_server.distill.teachers.onnx_file import OnnxTeacher
from fedstill_server.distill.teachers.saved import teacher_of_package, teacher_of_run
from fedstill_server.distill.teachers.torch_module import TorchTeacher


def open_teacher(text: str, *, classes: int) -> Teacher:
    """Raises DistillError for what cannot be a teacher."""
    path = Path(text)
    if path.suffix == ".onnx":
        return OnnxTeacher.of_file(path)
    if (path / "manifest.json").is_file():
        return teacher_of_package(path)
    if (path / "config.json").is_file():
        return teacher_of_run(path)
    if ":" not in text:
        raise DistillError(
            f"teacher: {text!r} is neither an .onnx file, nor the folder of a run or of a student package, "
            "nor an import path such as my.models:big_network"
        )
    place, _, weights = text.partition("@")
    found = imported(place)
    if isinstance(found, nn.Module):
        return TorchTeacher(with_weights(found, Path(weights)) if weights else found, name=text)
    if weights:
        raise DistillError(f"teacher: {place} is no torch module, and takes no weights")
    return EstimatorTeacher(found, classes=classes, name=text)


def imported(place: str) -> Any:
    """What `package.module:name` names; a function or class is called without arguments."""
    module_name, _, attribute = place.partition(":")
    try:
        found = importlib.import_module(module_name)
        for name in attribute.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError, ValueError) as error:
        raise DistillError(f"{place}: cannot be imported ({error}); is its folder on PYTHONPATH?") from None
    if isinstance(found, nn.Module) or hasattr(found, "classes_") or not callable(found):
        return found
    try:
        return found()
    except Exception as error:  # whatever a person's own code raises
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise DistillError(
            f"{place}: called without arguments, it raised {type(error).__name__}: {error} "
            f"({last.filename}, line {last.lineno})"
        ) from error


def with_weights(network: nn.Module, path: Path) -> nn.Module:
    """`network` with the weights of a safetensors file."""
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, safetensors.SafetensorError, RuntimeError) as error:
        raise DistillError(f"{path}: not the weights of this network ({str(error)[:300]})") from None
    return network
