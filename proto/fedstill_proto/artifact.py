"""Folders of a student's graphs: the training artifact and the deployable student.

A folder's manifest.json names each file with its size and SHA-256; nothing is returned before both are verified.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from google.protobuf import json_format

from fedstill_proto.codec import OPTIMIZERS, OPTIMIZERS_FROM_WIRE
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.messages import (
    MAX_UINT32,
    PROTOCOL_VERSION,
    Optimizer,
    Parameters,
    ParameterSpec,
    check_integer,
    check_name,
    check_parameters,
    parameter_specs,
)
from fedstill_proto.v1 import fedstill_pb2 as pb

MANIFEST_FILE = "manifest.json"
TRAINING_FILE = "training.onnx"
FORWARD_FILE = "forward.onnx"
INFERENCE_FILE = "inference.onnx"
PARAMETERS_FILE = "parameters.safetensors"

MANIFEST_LIMIT_BYTES = 1 << 20
PART_LIMIT_BYTES = 2 << 30


@dataclass(frozen=True)
class GraphPort:
    """An input or output of a graph; -1 in `shape` is any size, `element_type` is numpy's name."""

    name: str
    shape: tuple[int, ...]
    element_type: str

    def __post_init__(self) -> None:
        check_name("name", self.name)
        if not all(isinstance(size, int) and -1 <= size < 1 << 31 for size in self.shape):
            raise InvalidValue("shape", f"{self.shape} is not a shape")
        if self.element_type not in ("float32", "int64"):
            raise InvalidValue("element_type", f"{self.element_type!r} is neither float32 nor int64")


@dataclass(frozen=True)
class PackagePart:
    """A file beside the manifest; `sha256` in hexadecimal."""

    name: str
    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        check_name("name", self.name)
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise InvalidValue("sha256", f"{self.sha256[:70]!r} is not 64 hexadecimal digits")
        check_integer("size_bytes", self.size_bytes, 0, PART_LIMIT_BYTES)

    @classmethod
    def of(cls, name: str, content: bytes) -> PackagePart:
        return cls(name, hashlib.sha256(content).hexdigest(), len(content))


@dataclass(frozen=True)
class StudentManifest:
    """What a student's graphs are: enough for a device to run them without guessing.

    `soft_labels` is what the training graph takes ("none", "dense" or "top-k"); `stack_size` devices are trained
    together by one run of it, on `step_rows` examples each. `inputs` and `outputs` are the inference graph's.
    """

    family: str
    classes: int
    input_shape: tuple[int, ...]  # of one example
    parameters: tuple[ParameterSpec, ...]
    optimizer: Optimizer
    soft_labels: str
    opset: int
    k: int = 0
    stack_size: int = 1
    step_rows: int = 1
    parts: tuple[PackagePart, ...] = ()
    inputs: tuple[GraphPort, ...] = ()
    outputs: tuple[GraphPort, ...] = ()

    def __post_init__(self) -> None:
        check_name("family", self.family)
        check_integer("classes", self.classes, 1, MAX_UINT32)
        ParameterSpec("input_shape", self.input_shape)
        if self.soft_labels not in ("none", "dense", "top-k"):
            raise InvalidValue("soft_labels", f"{self.soft_labels!r} is none of none, dense, top-k")
        if self.soft_labels == "top-k":
            check_integer("k", self.k, 1, self.classes)
        elif self.k:
            raise InvalidValue("k", f"{self.k}, but the graph takes no top-k labels")
        for name in ("opset", "stack_size", "step_rows"):
            check_integer(name, getattr(self, name), 1, MAX_UINT32)
        for name in ("parameters", "parts", "inputs", "outputs"):
            names = [entry.name for entry in getattr(self, name)]
            if len(set(names)) != len(names):
                raise InvalidValue(name, "a name appears twice")

    @property
    def parameter_count(self) -> int:
        return sum(spec.size for spec in self.parameters)

    def with_parts(self, contents: Mapping[str, bytes]) -> StudentManifest:
        """The manifest of these files."""
        return replace(self, parts=tuple(PackagePart.of(name, content) for name, content in contents.items()))

    def to_json(self) -> str:
        return json_format.MessageToJson(_to_message(self), preserving_proto_field_name=True, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> StudentManifest:
        """Raises WireError, naming the field."""
        if len(text) > MANIFEST_LIMIT_BYTES:
            raise WireError("manifest", f"{len(text)} bytes, more than the limit of {MANIFEST_LIMIT_BYTES}")
        try:
            message = json_format.Parse(text, pb.StudentManifest())
        except (json_format.ParseError, UnicodeError, RecursionError) as error:
            raise WireError("manifest", f"not a manifest: {str(error)[:200]}") from None
        return _from_message(message)


@dataclass(frozen=True, eq=False)
class TrainingArtifact:
    """One training step and one forward pass of a student, as ONNX graphs."""

    manifest: StudentManifest
    training_graph: bytes
    forward_graph: bytes


@dataclass(frozen=True, eq=False)
class StudentPackage:
    """A deployable student: its inference graph and its weights."""

    manifest: StudentManifest
    inference_graph: bytes
    parameters: Parameters

    def __post_init__(self) -> None:
        check_parameters(self.parameters)
        _check_specs(self.parameters, self.manifest.parameters)


def save_artifact(artifact: TrainingArtifact, folder: Path) -> None:
    contents = {TRAINING_FILE: artifact.training_graph, FORWARD_FILE: artifact.forward_graph}
    _write_folder(folder, artifact.manifest, contents)


def load_artifact(folder: Path) -> TrainingArtifact:
    """Raises WireError where a file is missing, altered or too large."""
    manifest, contents = _read_folder(folder, (TRAINING_FILE, FORWARD_FILE))
    return TrainingArtifact(manifest, contents[TRAINING_FILE], contents[FORWARD_FILE])


def save_student(
    folder: Path, manifest: StudentManifest, inference_graph: bytes, parameters: Parameters
) -> None:
    package = StudentPackage(manifest, inference_graph, parameters)
    contents = {INFERENCE_FILE: inference_graph, PARAMETERS_FILE: encode_parameters(package.parameters)}
    _write_folder(folder, manifest, contents)


def load_student(folder: Path) -> StudentPackage:
    """Raises WireError where a file is missing, altered or too large."""
    manifest, contents = _read_folder(folder, (INFERENCE_FILE, PARAMETERS_FILE))
    parameters = decode_parameters(contents[PARAMETERS_FILE], manifest.parameters, field=PARAMETERS_FILE)
    return StudentPackage(manifest, contents[INFERENCE_FILE], parameters)


def encode_parameters(parameters: Parameters) -> bytes:
    """As a safetensors file."""
    arrays = {name: np.ascontiguousarray(array) for name, array in parameters.items()}
    return bytes(safetensors.numpy.save(arrays))


def decode_parameters(data: bytes, specs: Iterable[ParameterSpec], *, field: str) -> Parameters:
    """A safetensors file that holds exactly `specs`, in their order; raises WireError."""
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
        _check_specs(parameters, specs)
    except InvalidValue as error:
        raise WireError(f"{field}: {error.field}", error.problem) from None
    return parameters


def _check_specs(parameters: Parameters, specs: tuple[ParameterSpec, ...]) -> None:
    got = parameter_specs(parameters)
    if got == specs:
        return
    missing = [spec.name for spec in specs if spec not in got] or [
        spec.name for spec in got if spec not in specs
    ]
    raise InvalidValue(
        "parameters", f"not as the manifest says: {', '.join(missing)[:200] or 'another order'}"
    )


def _write_folder(folder: Path, manifest: StudentManifest, contents: Mapping[str, bytes]) -> None:
    """Write all files beside `folder` and rename: a reader sees the old folder or the new one, never half."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    files = {**contents, MANIFEST_FILE: manifest.with_parts(contents).to_json().encode()}
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        new.chmod(0o755)
        for name, content in files.items():
            _write_file(new / name, content)
        _sync_directory(new)
        _replace_folder(folder, new)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _write_file(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _replace_folder(folder: Path, new: Path) -> None:
    old = new.with_name(new.name + ".old")
    if folder.exists():
        # Two renames, since POSIX replaces no folder that holds files; between them there is none.
        folder.rename(old)
    new.rename(folder)
    _sync_directory(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync_directory(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_folder(folder: Path, names: tuple[str, ...]) -> tuple[StudentManifest, dict[str, bytes]]:
    manifest = StudentManifest.from_json(_read_file(folder / MANIFEST_FILE, MANIFEST_LIMIT_BYTES))
    if {part.name for part in manifest.parts} != set(names):
        listed = ", ".join(part.name for part in manifest.parts)[:200]
        raise WireError("parts", f"{folder} lists {listed or 'nothing'}, expected {', '.join(names)}")
    contents = {}
    for part in manifest.parts:
        content = _read_file(folder / part.name, part.size_bytes)
        if PackagePart.of(part.name, content) != part:
            raise WireError(
                f"parts[{part.name}]", f"{folder / part.name} is not the file that the manifest describes"
            )
        contents[part.name] = content
    return manifest, contents


def _read_file(path: Path, limit_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit_bytes + 1)
    except OSError as error:
        raise WireError(path.name, f"cannot read {path}: {error.strerror}") from None
    if len(content) > limit_bytes:
        raise WireError(path.name, f"{path} is larger than {limit_bytes} bytes")
    return content


def _to_message(manifest: StudentManifest) -> pb.StudentManifest:
    return pb.StudentManifest(
        protocol_version=PROTOCOL_VERSION,
        family=manifest.family,
        classes=manifest.classes,
        input_shape=manifest.input_shape,
        parameters=[pb.ParameterSpec(name=spec.name, shape=spec.shape) for spec in manifest.parameters],
        parameter_count=manifest.parameter_count,
        optimizer=OPTIMIZERS[manifest.optimizer],
        soft_labels=manifest.soft_labels,
        k=manifest.k,
        stack_size=manifest.stack_size,
        step_rows=manifest.step_rows,
        opset=manifest.opset,
        parts=[pb.PackagePart(name=p.name, sha256=p.sha256, size_bytes=p.size_bytes) for p in manifest.parts],
        inputs=[_port(port) for port in manifest.inputs],
        outputs=[_port(port) for port in manifest.outputs],
    )


def _port(port: GraphPort) -> pb.GraphPort:
    return pb.GraphPort(name=port.name, shape=port.shape, element_type=port.element_type)


def _from_message(message: pb.StudentManifest) -> StudentManifest:
    if message.protocol_version != PROTOCOL_VERSION:
        raise WireError(
            "protocol_version", f"{message.protocol_version}, this side speaks {PROTOCOL_VERSION}"
        )
    optimizer = OPTIMIZERS_FROM_WIRE.get(message.optimizer)
    if optimizer is None:
        raise WireError("optimizer", f"unknown value {message.optimizer}")
    try:
        manifest = StudentManifest(
            family=message.family,
            classes=message.classes,
            input_shape=tuple(message.input_shape),
            parameters=tuple(ParameterSpec(spec.name, tuple(spec.shape)) for spec in message.parameters),
            optimizer=optimizer,
            soft_labels=message.soft_labels,
            opset=message.opset,
            k=message.k,
            stack_size=message.stack_size,
            step_rows=message.step_rows,
            parts=tuple(PackagePart(part.name, part.sha256, part.size_bytes) for part in message.parts),
            inputs=_ports(message.inputs),
            outputs=_ports(message.outputs),
        )
    except InvalidValue as error:
        raise WireError(error.field, error.problem) from None
    if message.parameter_count != manifest.parameter_count:
        problem = f"{message.parameter_count}, but the parameters hold {manifest.parameter_count} values"
        raise WireError("parameter_count", problem)
    return manifest


def _ports(ports: Iterable[pb.GraphPort]) -> tuple[GraphPort, ...]:
    return tuple(GraphPort(port.name, tuple(port.shape), port.element_type) for port in ports)
