"""Builds training artifacts: a training step and a forward pass of a stack of students, as ONNX graphs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from fedstill_proto.arrays import Parameters, ParameterSpec, parameter_specs
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import (
    FORWARD_FILE,
    PREFIX_FILE,
    TRAINING_FILE,
    StudentManifest,
    TrainingArtifact,
)
from fedstill_proto.package.manifest import Vocabulary
from torch import nn

from fedstill_server.data.forms import ExampleForm
from fedstill_server.export.apart import constants_apart
from fedstill_server.export.cache import cache_key, cached_artifact, keep_artifact
from fedstill_server.export.capture import StepBatch, capture_forward, capture_training_step
from fedstill_server.export.errors import ExportError
from fedstill_server.export.gate import verify_artifact
from fedstill_server.export.graph import OPSET
from fedstill_server.export.lowering import lower
from fedstill_server.export.ports import CapturedGraph
from fedstill_server.export.prefix import Cut, cut
from fedstill_server.export.structure import structure_of
from fedstill_server.export.student import inference_graph
from fedstill_server.families import FAMILIES, build_student
from fedstill_server.families.features import feature_width
from fedstill_server.families.state import frozen_tensors, student_state
from fedstill_server.plugins import called

SOFT_LABEL_FORMS = ("none", "dense", "top-k")
FORWARD_ROWS, FORWARD_VALUES = 64, 1 << 20
"""Examples of one forward pass at most, and logits; the last pass over a set is padded to it."""


@dataclass(frozen=True, kw_only=True)
class ArtifactOptions:
    """All that decides what an artifact is.

    Attributes:
        family: The student's.
        input_shape: The shape of one example.
        classes: How many classes the student tells apart, or words it knows.
        optimizer: The update rule of the training step.
        soft_labels: Their form in a step: "none", "dense" or "top-k".
        k: How many classes top-k soft labels name; 0 for the other forms.
        stack_size: Devices that take a step in one run.
        step_rows: Examples of one device in a step.
        step_vocabulary: Rows of a table of words that a step sees, the words of its batch; None for students
            without such tables.
        features: Whether the forward graph has a second output, what the student's last layer reads.
        cut: Whether examples go through the student's frozen first part once, where it has one, rather than
            in every step.
    """

    family: str
    input_shape: tuple[int, ...]
    classes: int
    optimizer: Optimizer
    soft_labels: str
    k: int = 0
    stack_size: int
    step_rows: int
    step_vocabulary: int | None = None
    features: bool = False
    cut: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_shape", tuple(self.input_shape))
        if self.soft_labels not in SOFT_LABEL_FORMS:
            raise ExportError(
                f"soft_labels {self.soft_labels!r} is not one of {', '.join(map(repr, SOFT_LABEL_FORMS))}"
            )
        self._check_words()
        if self.soft_labels == "top-k" and not 1 <= self.k < self.classes:
            raise ExportError(
                f"k = {self.k}: top-k soft labels of {self.classes} classes name 1 to {self.classes - 1}; "
                'use "dense" to name them all'
            )
        if self.soft_labels != "top-k" and self.k:
            raise ExportError(f"k = {self.k}, but {self.soft_labels!r} soft labels have no k; leave it 0")
        for name in ("stack_size", "step_rows"):
            if getattr(self, name) < 1:
                raise ExportError(f"{name} = {getattr(self, name)}; give at least 1")

    def _check_words(self) -> None:
        if bool(self.form.tables) != (self.step_vocabulary is not None):
            need = "needs" if self.form.tables else "has no table of words and takes no"
            raise ExportError(f"{self.family} {need} step_vocabulary, the words that a step of training sees")
        if self.step_vocabulary is not None and not 2 <= self.step_vocabulary <= self.classes:
            raise ExportError(f"step_vocabulary = {self.step_vocabulary}; give 2 to {self.classes} words")
        if self.step_vocabulary is not None and self.k >= self.step_vocabulary:
            raise ExportError(f"k = {self.k}; a step of {self.step_vocabulary} words has fewer to name")

    @property
    def form(self) -> ExampleForm:
        """What the family's examples are."""
        return FAMILIES.form_of(self.family)

    @property
    def folder_name(self) -> str:
        """The name of its entry in a cache."""
        sizes = {self.classes, self.step_vocabulary or self.classes}
        own = structure_of(self.family, self.input_shape, *sorted(sizes))
        key = cache_key(asdict(self) if own is None else {**asdict(self), "structure": own})
        return f"{self.family}-{self.optimizer.value}-c{self.stack_size}-{key}"


def build_artifact(
    options: ArtifactOptions, *, cache: Path | None = None, verify: bool = True
) -> TrainingArtifact:
    """Build a training artifact: `stack_size` devices take a step of `step_rows` examples each in one run.

    The graph's step over one device is the same, to the last bit, in a stack of any size.

    Args:
        options: What the artifact is.
        cache: A folder that keeps artifacts which have passed the gate.
        verify: Whether the artifact must pass the gate; False to compare the speed of stack sizes, say.

    Raises:
        ExportError: The family has no such graph, or the artifact does not pass the gate.
    """
    folder = cache / options.folder_name if cache is not None else None
    artifact = cached_artifact(folder) if folder is not None else None
    if artifact is not None:
        return artifact
    if FAMILIES.is_own(options.family):
        artifact = called(f"{options.family}: no training step can be made of it", lambda: _build(options))
    else:
        artifact = _build(options)
    if verify:
        verify_artifact(artifact)
        if folder is not None:
            keep_artifact(artifact, folder)
    return artifact


def _build(options: ArtifactOptions) -> TrainingArtifact:
    student = build_student(options.family, options.input_shape, options.classes)
    words = options.step_vocabulary or options.classes
    form = options.form
    label_shape = form.label_shape(options.input_shape)
    input_type = getattr(torch, form.input_type)
    batch = StepBatch(
        rows=options.step_rows,
        input_shape=options.input_shape,
        classes=words,
        soft_labels=options.soft_labels,
        k=options.k,
        label_shape=label_shape,
        input_type=input_type,
    )
    step_student = build_student(options.family, options.input_shape, words)
    step = capture_training_step(step_student, batch, optimizer=options.optimizer)
    forward_rows = min(FORWARD_ROWS, max(1, FORWARD_VALUES // math.prod((*label_shape, options.classes))))
    forward = capture_forward(
        student,
        input_shape=options.input_shape,
        rows=forward_rows,
        input_type=input_type,
        features=options.features,
    )
    own, is_frozen = student_state(student), FAMILIES.is_own(options.family) and bool(frozen_tensors(student))
    found = _cut(options, student, step, forward) if is_frozen and options.cut else None
    if found is not None:
        step, forward = found.step, found.forward
    graphs = {
        TRAINING_FILE: lower(step, stack_size=options.stack_size, name=f"{options.family} training step"),
        FORWARD_FILE: lower(forward, stack_size=options.stack_size, name=f"{options.family} forward"),
    }
    stacked = tuple(graphs)
    if found is not None:
        graphs[PREFIX_FILE] = found.prefix
    frozen: Parameters = {}
    if is_frozen:
        graphs, frozen = constants_apart(graphs, stacked=stacked)
    manifest = StudentManifest(
        family=options.family,
        classes=options.classes,
        input_shape=options.input_shape,
        parameters=tuple(ParameterSpec(name, tuple(value.shape)) for name, value in own.tensors.items()),
        buffers=tuple(own.buffers),
        optimizer=options.optimizer,
        soft_labels=options.soft_labels,
        opset=OPSET,
        k=options.k,
        stack_size=options.stack_size,
        step_rows=options.step_rows,
        label_shape=label_shape,
        input_type=form.input_type,
        vocabulary=Vocabulary(options.classes, words, form.tables) if form.tables else None,
        feature_width=feature_width(student) if options.features else 0,
        frozen=parameter_specs(frozen),
        prefix_shape=() if found is None else found.shape,
    )
    artifact = TrainingArtifact(
        manifest, graphs[TRAINING_FILE], graphs[FORWARD_FILE], graphs.get(PREFIX_FILE), frozen
    )
    return replace(artifact, manifest=manifest.with_parts(artifact.contents()))


def _cut(
    options: ArtifactOptions, student: nn.Module, step: CapturedGraph, forward: CapturedGraph
) -> Cut | None:
    """The student cut where its frozen first part ends, if it has one; not of text, whose words vary."""
    form, shape = options.form, options.input_shape
    if form.tables:
        return None
    x = form.random(
        (max(options.step_rows, FORWARD_ROWS), *shape),
        classes=options.classes,
        random=np.random.default_rng(0),
    )
    inference = inference_graph(options.family, shape, options.classes)
    return cut(student, step, forward, inference, torch.from_numpy(x))
