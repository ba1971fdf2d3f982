"""Builds training artifacts: a training step and a forward pass of a stack of students, as ONNX graphs."""

from __future__ import annotations

import functools
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
from fedstill_proto.package.manifest import GraphPort, Vocabulary
from fedstill_proto.package.target import SINGLE_LABEL, Target
from torch import nn

from fedstill_server.data.forms import ExampleForm
from fedstill_server.export.apart import constants_apart
from fedstill_server.export.cache import cache_key, cached_artifact, keep_artifact
from fedstill_server.export.capture import StepBatch, capture_forward, capture_training_step
from fedstill_server.export.errors import ExportError, GateError
from fedstill_server.export.gate import verify_artifact
from fedstill_server.export.graph import OPSET
from fedstill_server.export.graph_checks import check_graphs
from fedstill_server.export.lowering import LoweringError, MissingOperator, lower, missing_operators
from fedstill_server.export.ports import CapturedGraph
from fedstill_server.export.prefix import Cut, cut
from fedstill_server.export.randomness import UNIFORM
from fedstill_server.export.stacks import same_bits
from fedstill_server.export.structure import structure_of
from fedstill_server.export.student import inference_graph
from fedstill_server.export.trial import random_examples
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
        target: What the student says of an example; classes are 2 unless it is one class.
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
    target: Target = SINGLE_LABEL

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
    def label_shape(self) -> tuple[int, ...]:
        """The shape of one example's labels."""
        return self.target.label_shape or self.form.label_shape(self.input_shape)

    @property
    def form(self) -> ExampleForm:
        """What the family's examples are."""
        return FAMILIES.form_of(self.family)

    @functools.cached_property
    def structure(self) -> str | None:
        """The digest of what a family of one's own computes; None for one that fedstill itself brings."""
        sizes = {self.target.outputs(self.classes), self.step_vocabulary or self.target.outputs(self.classes)}
        return structure_of(self.family, self.input_shape, *sorted(sizes))

    @property
    def folder_name(self) -> str:
        """The name of its entry in a cache."""
        own = self.structure
        decides = {**asdict(self), "target": self.target.document()}
        if self.target.is_single:
            del decides["target"]
        key = cache_key(decides if own is None else {**decides, "structure": own})
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
    captured = captured_student(options)
    if options.structure is None:
        artifact = captured.artifact(options.stack_size)
    else:
        artifact = called(
            f"{options.family}: no training step can be made of it",
            lambda: captured.own_artifact(options.stack_size),
        )
    if verify:
        _verify(artifact, options, cache)
        if folder is not None:
            keep_artifact(artifact, folder)
    return artifact


def _verify(artifact: TrainingArtifact, options: ArtifactOptions, cache: Path | None) -> None:
    """The gate; a stack of an own family is compared with one device alone, which passes it itself."""
    if options.structure is None or options.stack_size == 1:
        verify_artifact(artifact)
        return
    alone = build_artifact(replace(options, stack_size=1), cache=cache)
    check_graphs(artifact)
    if not same_bits(alone, artifact):
        raise GateError(
            f"{options.family}: a stack of {options.stack_size} devices has other bits than one alone"
        )


def captured_student(options: ArtifactOptions) -> CapturedStudent:
    """What was captured last, if it was of the same options but for the stack size, and the same network.

    Raises:
        PluginError: The code of a family of one's own cannot be captured.
    """
    alone, structure = replace(options, stack_size=1), options.structure
    place = f"{options.family}: no training step can be made of it"
    return called(place, lambda: _captured(alone, structure)) if structure else _captured(alone, structure)


class CapturedStudent:
    """A family's step and forward pass, captured once for stacks of any size.

    Args:
        options: What the artifacts are, but for the stack size.
    """

    def __init__(self, options: ArtifactOptions) -> None:
        self._options = options
        student = build_student(options.family, options.input_shape, options.classes, target=options.target)
        words, form = options.step_vocabulary or options.classes, options.form
        label_shape = options.label_shape
        input_type = getattr(torch, form.input_type)
        batch = StepBatch(
            rows=options.step_rows,
            input_shape=options.input_shape,
            classes=words,
            soft_labels=options.soft_labels,
            k=options.k,
            label_shape=label_shape,
            input_type=input_type,
            target=options.target,
        )
        step_student = build_student(options.family, options.input_shape, words, target=options.target)
        self._step = capture_training_step(step_student, batch, optimizer=options.optimizer)
        values = math.prod((*label_shape, options.classes))
        self._forward = capture_forward(
            student,
            input_shape=options.input_shape,
            rows=min(FORWARD_ROWS, max(1, FORWARD_VALUES // values)),
            input_type=input_type,
            features=options.features,
        )
        own = student_state(student)
        self._is_frozen = FAMILIES.is_own(options.family) and bool(frozen_tensors(student))
        self._cut: Cut | None = None
        if self._is_frozen and options.cut:
            self._cut = _cut(options, student, self._step, self._forward)
        if self._cut is not None:
            self._step, self._forward = self._cut.step, self._cut.forward
        self._manifest = StudentManifest(
            family=options.family,
            classes=options.classes,
            input_shape=options.input_shape,
            parameters=tuple(ParameterSpec(name, tuple(value.shape)) for name, value in own.tensors.items()),
            buffers=tuple(own.buffers),
            uniforms=tuple(
                GraphPort(port.name, port.shape, "float32")
                for port in self._step.inputs
                if port.name.startswith(UNIFORM)
            ),
            optimizer=options.optimizer,
            soft_labels=options.soft_labels,
            opset=OPSET,
            k=options.k,
            step_rows=options.step_rows,
            label_shape=label_shape,
            input_type=form.input_type,
            vocabulary=Vocabulary(options.classes, words, form.tables) if form.tables else None,
            feature_width=feature_width(student) if options.features else 0,
            prefix_shape=() if self._cut is None else self._cut.shape,
            target=options.target,
        )

    def missing(self) -> list[MissingOperator]:
        """All operators that keep the graphs from being made, each once."""
        found = {
            str(each): each for graph in (self._step, self._forward) for each in missing_operators(graph)
        }
        return list(found.values())

    def artifact(self, stack_size: int) -> TrainingArtifact:
        """The graphs of a stack."""
        family = self._options.family
        graphs = {
            TRAINING_FILE: lower(self._step, stack_size=stack_size, name=f"{family} training step"),
            FORWARD_FILE: lower(self._forward, stack_size=stack_size, name=f"{family} forward"),
        }
        stacked = tuple(graphs)
        if self._cut is not None:
            graphs[PREFIX_FILE] = self._cut.prefix
        frozen: Parameters = {}
        if self._is_frozen:
            graphs, frozen = constants_apart(graphs, stacked=stacked)
        manifest = replace(self._manifest, stack_size=stack_size, frozen=parameter_specs(frozen))
        artifact = TrainingArtifact(
            manifest, graphs[TRAINING_FILE], graphs[FORWARD_FILE], graphs.get(PREFIX_FILE), frozen
        )
        return replace(artifact, manifest=manifest.with_parts(artifact.contents()))

    def own_artifact(self, stack_size: int) -> TrainingArtifact:
        """The graphs of a stack of a family of one's own, of which nobody knows whether it can be stacked.

        Raises:
            ExportError: It is to be a stack, and the family takes one device at a time.
        """
        if not self.one_at_a_time:
            return self.artifact(stack_size)
        if stack_size != 1:
            raise ExportError(
                f"{self._options.family}: {self.one_at_a_time}; build its graphs for one device at a time"
            )
        alone = self.artifact(1)
        return replace(alone, manifest=replace(alone.manifest, one_at_a_time=True))

    @functools.cached_property
    def one_at_a_time(self) -> str:
        """Why devices cannot be stacked, in words; empty where they can."""
        alone = self.artifact(1)
        try:
            pair = self.artifact(2)
        except LoweringError as error:
            return f"there is no graph of several devices ({error})"
        return "" if same_bits(alone, pair) else "a stack would not give each device the bits it gives itself"


@functools.lru_cache(maxsize=2)
def _captured(options: ArtifactOptions, structure: str | None) -> CapturedStudent:
    """What was captured last, for its next stack; `structure` tells own families of one name apart."""
    return CapturedStudent(options)


def _cut(
    options: ArtifactOptions, student: nn.Module, step: CapturedGraph, forward: CapturedGraph
) -> Cut | None:
    """The student cut where its frozen first part ends, if it has one; not of text, whose words vary."""
    form, shape = options.form, options.input_shape
    if form.tables:
        return None
    x = random_examples(
        options.family,
        (max(options.step_rows, FORWARD_ROWS), *shape),
        input_shape=shape,
        classes=options.classes,
        random=np.random.default_rng(0),
    )
    inference = inference_graph(options.family, shape, options.classes)
    return cut(student, step, forward, inference, torch.from_numpy(x))
