"""Folders of a student's graphs: the training artifact and the deployable student.

A folder's manifest.json names each file with its size and SHA-256; nothing is returned before both are
verified.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from fedstill_proto.arrays import FloatArray, Parameters, check_parameters
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.package.frozen import FROZEN_FILE, PREFIX_FILE, with_frozen
from fedstill_proto.package.graph_weights import with_weights
from fedstill_proto.package.manifest import (
    MANIFEST_LIMIT_BYTES,
    NEXT_PLACE,
    GraphPort,
    PackagePart,
    StudentManifest,
)
from fedstill_proto.package.package_weights import (
    PARAMETERS_FILE,
    check_specs,
    decode_parameters,
    decode_weights,
    encode_parameters,
    encode_weights,
    graph_weights,
)
from fedstill_proto.subwords.tokenizer_check import TOKENIZER_LIMIT_BYTES
from fedstill_proto.system.files import sync_folder

__all__ = [
    "BLOCK_FILE",
    "BLOCK_INT8_FILE",
    "CONSTRAINTS_FILE",
    "FORWARD_FILE",
    "FROZEN_FILE",
    "INFERENCE_FILE",
    "INT8_FILE",
    "INTENTS_FILE",
    "LEXICON_FILE",
    "MANIFEST_FILE",
    "PARAMETERS_FILE",
    "PREFIX_FILE",
    "PUBLIC_FILE",
    "SLOTS_FILE",
    "SLOTS_GRAPH_FILE",
    "STEP_FILE",
    "STEP_INT8_FILE",
    "TOKENIZER_FILE",
    "TRAINING_FILE",
    "VOCABULARY_FILE",
    "GraphPort",
    "PackagePart",
    "StudentManifest",
    "StudentPackage",
    "TrainingArtifact",
    "check_parts",
    "decode_parameters",
    "encode_parameters",
    "load_artifact",
    "load_student",
    "save_artifact",
    "save_package",
    "save_student",
]

MANIFEST_FILE = "manifest.json"
TRAINING_FILE = "training.onnx"
FORWARD_FILE = "forward.onnx"
INFERENCE_FILE = "inference.onnx"
INT8_FILE = "inference.int8.onnx"
BLOCK_FILE = "block.onnx"
BLOCK_INT8_FILE = "block.int8.onnx"
STEP_FILE = "step.onnx"
STEP_INT8_FILE = "step.int8.onnx"
PUBLIC_FILE = "public.safetensors"
VOCABULARY_FILE = "vocabulary.json"
INTENTS_FILE = "intents.json"
LEXICON_FILE = "lexicon.safetensors"
TOKENIZER_FILE = "tokenizer.json"
SLOTS_FILE = "slots.json"
SLOTS_GRAPH_FILE = "slots.onnx"
CONSTRAINTS_FILE = "constraints.json"
_ALWAYS = (INFERENCE_FILE, PARAMETERS_FILE)
_MAYBE = (
    INT8_FILE,
    STEP_FILE,
    STEP_INT8_FILE,
    BLOCK_FILE,
    BLOCK_INT8_FILE,
    TRAINING_FILE,
    FORWARD_FILE,
    PUBLIC_FILE,
    VOCABULARY_FILE,
    INTENTS_FILE,
    LEXICON_FILE,
    SLOTS_FILE,
    SLOTS_GRAPH_FILE,
    FROZEN_FILE,
    PREFIX_FILE,
    TOKENIZER_FILE,
    CONSTRAINTS_FILE,
)


@dataclass(frozen=True, eq=False)
class TrainingArtifact:
    """One training step and one forward pass of a student, as ONNX graphs.

    Where its manifest has a `prefix_shape`, both read what `prefix_graph` makes of examples. The graphs run
    once `whole` has put the frozen constants in.
    """

    manifest: StudentManifest
    training_graph: bytes
    forward_graph: bytes
    prefix_graph: bytes | None = None
    frozen: Parameters = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_parameters(self.frozen)
        check_specs(self.frozen, self.manifest.frozen, field="frozen")
        _check_prefix(self.manifest, self.prefix_graph)

    def whole(self, graph: bytes) -> bytes:
        """A graph of this artifact with the constants that it reads, for any ONNX runtime."""
        return with_frozen(graph, self.frozen)

    def contents(self) -> dict[str, bytes]:
        """The artifact's files by name, except the manifest."""
        files = {TRAINING_FILE: self.training_graph, FORWARD_FILE: self.forward_graph}
        return files | _frozen_contents(self.prefix_graph, self.frozen)


@dataclass(frozen=True, eq=False)
class StudentPackage:
    """A deployable student: its inference graph and its weights.

    A published package holds all that a device needs: the 8-bit inference graph, the two graphs of the
    training artifact, and the fleet's public set; for text also the vocabulary, the lexicon and the graphs of
    one word at a time, for utterances their intents, and a tagger of slots where its public text has marked
    some; for sub-words the tokenizer that makes them. Where the manifest has `external_weights`, the graphs
    run once `whole` has put the weights in.
    """

    manifest: StudentManifest
    inference_graph: bytes
    parameters: Parameters
    int8_graph: bytes | None = None
    training_graph: bytes | None = None
    forward_graph: bytes | None = None
    public_x: FloatArray | None = None  # [P, *input_shape]
    vocabulary: bytes | None = None  # vocabulary.json
    intents: bytes | None = None  # intents.json
    lexicon: bytes | None = None  # lexicon.safetensors
    slots: bytes | None = None  # slots.json
    slots_graph: bytes | None = None  # slots.onnx
    step_graph: bytes | None = None
    step_int8_graph: bytes | None = None
    block_graph: bytes | None = None  # the same of several words in a run
    block_int8_graph: bytes | None = None
    tokenizer: bytes | None = None  # tokenizer.json
    prefix_graph: bytes | None = None
    frozen: Parameters = field(default_factory=dict)
    constraints: bytes | None = None  # constraints.json

    def __post_init__(self) -> None:
        check_parameters(self.parameters)
        check_specs(self.parameters, self.manifest.parameters)
        check_parameters(self.frozen)
        check_specs(self.frozen, self.manifest.frozen, field="frozen")
        if self.training_graph is not None:
            _check_prefix(self.manifest, self.prefix_graph)
        if (self.training_graph is None) != (self.forward_graph is None):
            raise InvalidValue(
                "training_graph", "a package holds both graphs of the training artifact or none"
            )
        if (self.slots is None) != (self.slots_graph is None):
            raise InvalidValue("slots", "slots.json and the tagger slots.onnx belong together")
        if (self.step_graph is None) != (self.manifest.streaming is None):
            raise InvalidValue(
                "step_graph", "a graph of one word at a time, and what its state is, belong together"
            )
        if self.step_graph is not None and not self.manifest.external_weights:
            raise InvalidValue("step_graph", "its weights stand apart, and the manifest does not say so")
        if self.step_int8_graph is not None and (self.step_graph is None or self.int8_graph is None):
            raise InvalidValue("step_int8_graph", "is there without the graphs that it is the 8-bit form of")
        self._check_blocks()
        if (self.tokenizer is None) != (self.manifest.subwords is None):
            raise InvalidValue("tokenizer", "tokenizer.json, and what its numbers are, belong together")
        if self.tokenizer is not None and len(self.tokenizer) > TOKENIZER_LIMIT_BYTES:
            problem = f"{len(self.tokenizer):,d} bytes, more than {TOKENIZER_LIMIT_BYTES:,d}"
            raise InvalidValue("tokenizer", problem)
        if self.public_x is not None and self.public_x.shape[1:] != self.manifest.input_shape:
            problem = f"shape {self.public_x.shape} is not [P, *{self.manifest.input_shape}]"
            raise InvalidValue("public_x", problem)
        if self.public_x is not None:
            self._check_public(self.public_x)

    def _check_blocks(self) -> None:
        streaming = self.manifest.streaming
        if self.block_graph is not None and (streaming is None or not streaming.can_go_back):
            raise InvalidValue(
                "block_graph", f"is of several words, without a state of places that has {NEXT_PLACE!r}"
            )
        if self.block_int8_graph is not None and (self.block_graph is None or self.step_int8_graph is None):
            raise InvalidValue("block_int8_graph", "is there without the graphs that it is the 8-bit form of")

    def _check_public(self, x: npt.NDArray[Any]) -> None:
        if x.dtype != self.manifest.input_type:
            raise InvalidValue("public_x", f"is {x.dtype}, the student takes {self.manifest.input_type}")
        most = self.manifest.classes - 1
        if x.dtype.kind == "i" and x.size and not 0 <= x.min() <= x.max() <= most:
            problem = f"holds words {x.min()} to {x.max()}; the student knows 0 to {most}"
            raise InvalidValue("public_x", problem)

    @property
    def artifact(self) -> TrainingArtifact:
        """The training artifact; raises InvalidValue where the package has none."""
        if self.training_graph is None or self.forward_graph is None:
            raise InvalidValue(
                "training_graph", f"this package of {self.manifest.family!r} cannot be trained"
            )
        return TrainingArtifact(
            self.manifest, self.training_graph, self.forward_graph, self.prefix_graph, self.frozen
        )

    def whole(self, graph: bytes, *, int8: bool = False) -> bytes:
        """A graph of this package with its weights and frozen constants, for any ONNX runtime.

        Args:
            graph: The graph.
            int8: Whether it is one with 8-bit weights.
        """
        graph = with_frozen(graph, self.frozen)
        if not self.manifest.external_weights:
            return graph
        return with_weights(graph, graph_weights(self.parameters, self.manifest.quantized if int8 else ()))

    def contents(self) -> dict[str, bytes]:
        """The package's files by name, except the manifest."""
        files = {
            INFERENCE_FILE: self.inference_graph,
            PARAMETERS_FILE: encode_weights(self.manifest, self.parameters),
            INT8_FILE: self.int8_graph,
            TRAINING_FILE: self.training_graph,
            FORWARD_FILE: self.forward_graph,
            PUBLIC_FILE: None if self.public_x is None else _encode_public(self.public_x),
            VOCABULARY_FILE: self.vocabulary,
            INTENTS_FILE: self.intents,
            LEXICON_FILE: self.lexicon,
            SLOTS_FILE: self.slots,
            SLOTS_GRAPH_FILE: self.slots_graph,
            STEP_FILE: self.step_graph,
            STEP_INT8_FILE: self.step_int8_graph,
            BLOCK_FILE: self.block_graph,
            BLOCK_INT8_FILE: self.block_int8_graph,
            TOKENIZER_FILE: self.tokenizer,
            CONSTRAINTS_FILE: self.constraints,
        }
        present = {name: content for name, content in files.items() if content is not None}
        return present | _frozen_contents(self.prefix_graph, self.frozen)

    @classmethod
    def of_contents(cls, manifest: StudentManifest, contents: Mapping[str, bytes]) -> StudentPackage:
        """The package of files whose digests have been verified; raises WireError."""
        parameters = decode_weights(contents[PARAMETERS_FILE], manifest)
        public = contents.get(PUBLIC_FILE)
        try:
            return cls(
                manifest,
                contents[INFERENCE_FILE],
                parameters,
                int8_graph=contents.get(INT8_FILE),
                training_graph=contents.get(TRAINING_FILE),
                forward_graph=contents.get(FORWARD_FILE),
                public_x=None if public is None else _decode_public(public),
                vocabulary=contents.get(VOCABULARY_FILE),
                intents=contents.get(INTENTS_FILE),
                lexicon=contents.get(LEXICON_FILE),
                slots=contents.get(SLOTS_FILE),
                slots_graph=contents.get(SLOTS_GRAPH_FILE),
                step_graph=contents.get(STEP_FILE),
                step_int8_graph=contents.get(STEP_INT8_FILE),
                block_graph=contents.get(BLOCK_FILE),
                block_int8_graph=contents.get(BLOCK_INT8_FILE),
                tokenizer=contents.get(TOKENIZER_FILE),
                prefix_graph=contents.get(PREFIX_FILE),
                frozen=_decoded_frozen(contents, manifest),
                constraints=contents.get(CONSTRAINTS_FILE),
            )
        except InvalidValue as error:
            raise WireError(error.field, error.problem) from None


def save_artifact(artifact: TrainingArtifact, folder: Path) -> None:
    """Write a training artifact and its manifest into a folder."""
    _write_folder(folder, artifact.manifest, artifact.contents())


def load_artifact(folder: Path) -> TrainingArtifact:
    """Read a training artifact; raises WireError where a file is missing, altered or too large."""
    manifest, contents = _read_folder(
        folder, always=(TRAINING_FILE, FORWARD_FILE), maybe=(PREFIX_FILE, FROZEN_FILE)
    )
    try:
        return TrainingArtifact(
            manifest,
            contents[TRAINING_FILE],
            contents[FORWARD_FILE],
            contents.get(PREFIX_FILE),
            _decoded_frozen(contents, manifest),
        )
    except InvalidValue as error:
        raise WireError(error.field, error.problem) from None


def save_student(
    folder: Path, manifest: StudentManifest, inference_graph: bytes, parameters: Parameters
) -> None:
    """Write a student that can only answer: its inference graph, weights and manifest."""
    save_package(folder, StudentPackage(manifest, inference_graph, parameters))


def save_package(folder: Path, package: StudentPackage) -> None:
    """Write the package and the manifest of its files."""
    _write_folder(folder, package.manifest, package.contents())


def load_student(folder: Path) -> StudentPackage:
    """Read a package; raises WireError where a file is missing, altered or too large."""
    manifest, contents = _read_folder(folder, always=_ALWAYS, maybe=_MAYBE)
    return StudentPackage.of_contents(manifest, contents)


def _check_prefix(manifest: StudentManifest, prefix_graph: bytes | None) -> None:
    if (prefix_graph is None) != (not manifest.prefix_shape):
        raise InvalidValue("prefix_graph", "it and the shape of what it makes belong together")


def _frozen_contents(prefix_graph: bytes | None, frozen: Parameters) -> dict[str, bytes]:
    files = {} if prefix_graph is None else {PREFIX_FILE: prefix_graph}
    return files | ({FROZEN_FILE: encode_parameters(frozen)} if frozen else {})


def _decoded_frozen(contents: Mapping[str, bytes], manifest: StudentManifest) -> Parameters:
    """The frozen constants; none where there is no such file, which the manifest then must not name."""
    if FROZEN_FILE not in contents:
        return {}
    return decode_parameters(contents[FROZEN_FILE], manifest.frozen, field=FROZEN_FILE)


def _encode_public(public_x: npt.NDArray[Any]) -> bytes:
    """The public set as a file; words take as few bytes as the largest needs."""
    x = np.ascontiguousarray(public_x)
    if x.dtype == np.int64:
        x = x.astype(np.min_scalar_type(int(x.max(initial=0))))
    return bytes(safetensors.numpy.save({"x": x}))


def _decode_public(data: bytes) -> FloatArray:
    try:
        loaded = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise WireError(PUBLIC_FILE, f"not a safetensors file: {error}") from None
    x = loaded.get("x")
    is_words = x is not None and x.dtype in (np.uint8, np.uint16, np.uint32, np.int64)
    if (
        set(loaded) != {"x"}
        or x is None
        or not (is_words or (x.dtype == np.float32 and np.isfinite(x).all()))
    ):
        raise WireError(PUBLIC_FILE, "not one array x of finite float32 or whole numbers, and nothing else")
    return x.astype(np.int64) if is_words else np.asarray(x)


def _write_folder(folder: Path, manifest: StudentManifest, contents: Mapping[str, bytes]) -> None:
    """Write all files beside `folder` and rename: a reader sees the old folder or the new one, never half."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    files = {**contents, MANIFEST_FILE: manifest.with_parts(contents).to_json().encode()}
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        new.chmod(0o755)
        for name, content in files.items():
            _write_file(new / name, content)
        sync_folder(new)
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
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _read_folder(
    folder: Path, *, always: tuple[str, ...], maybe: tuple[str, ...] = ()
) -> tuple[StudentManifest, dict[str, bytes]]:
    manifest = StudentManifest.from_json(_read_file(folder / MANIFEST_FILE, MANIFEST_LIMIT_BYTES))
    check_parts(manifest, always=always, maybe=maybe)
    contents = {}
    for part in manifest.parts:
        content = _read_file(folder / part.name, part.size_bytes)
        if PackagePart.of(part.name, content) != part:
            raise WireError(
                f"parts[{part.name}]", f"{folder / part.name} is not the file that the manifest describes"
            )
        contents[part.name] = content
    return manifest, contents


def check_parts(
    manifest: StudentManifest, *, always: tuple[str, ...] = _ALWAYS, maybe: tuple[str, ...] = _MAYBE
) -> None:
    """Raise WireError unless the manifest lists all of `always`, and nothing else but some of `maybe`."""
    listed = {part.name for part in manifest.parts}
    if not set(always) <= listed <= {*always, *maybe}:
        problem = f"lists {', '.join(sorted(listed))[:200] or 'nothing'}, expected {', '.join(always)}"
        raise WireError("parts", problem + (f", and maybe {', '.join(maybe)}" if maybe else ""))


def _read_file(path: Path, limit_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit_bytes + 1)
    except OSError as error:
        raise WireError(path.name, f"cannot read {path}: {error.strerror}") from None
    if len(content) > limit_bytes:
        raise WireError(path.name, f"{path} is larger than {limit_bytes} bytes")
    return content
