"""The material of the gate: random batches, and a stack of students that takes steps in ONNX Runtime."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime as ort
from fedstill_proto.arrays import Parameters
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentManifest, TrainingArtifact

from fedstill_server.export.optimizers import ADAMW_BETAS, RULES
from fedstill_server.export.reference import Arrays
from fedstill_server.families import FAMILIES
from fedstill_server.families.tokens import tokens_known

_LEARNING_RATES = {Optimizer.SGD: 0.1, Optimizer.MOMENTUM: 0.05, Optimizer.ADAMW: 1e-3}
# A gradient over thousands of words is small in each: at a lower rate, a float's rounding is what moves.
_MANY_WORDS = 1000
_OF_TEXT = {Optimizer.SGD: 1.0, Optimizer.MOMENTUM: 0.5, Optimizer.ADAMW: 1e-3}
TEMPERATURE = 2.0
SOFT_WEIGHT = 0.6
EPSILON = 1e-8
_DISTINCT = 2  # devices
_PROBE_RATE = 1024.0
"""So large a step that a plain SGD update is its gradient, to float32's precision."""


class StudentStack:
    """A stack of students in ONNX Runtime: the given ones at their places, and copies of the first."""

    def __init__(
        self, artifact: TrainingArtifact, file: str, students: Mapping[int, Parameters], *, threads: int
    ) -> None:
        manifest = artifact.manifest
        self._session = _session(artifact.whole(artifact.contents()[file]), threads=threads)
        self._prefix = None
        if artifact.prefix_graph is not None:
            self._prefix = _session(artifact.whole(artifact.prefix_graph), threads=threads)
        self._manifest = manifest
        self._shapes = {port.name: port.shape for port in self._session.get_inputs()}
        filled = [students.get(device, students[0]) for device in range(manifest.stack_size)]
        self.parameters = {name: np.stack([student[name] for student in filled]) for name in students[0]}
        self._slots = {
            f"{name}.{slot}": np.zeros_like(array)
            for slot in RULES[manifest.optimizer].slots
            for name, array in self.parameters.items()
            if name not in manifest.buffers
        }

    def restart(self, student: Arrays) -> None:
        """Let all devices stand where these parameters are, before a first step."""
        devices = self._manifest.stack_size
        self.parameters = {name: np.stack([student[name]] * devices) for name in self.parameters}
        self._slots = {name: np.zeros_like(array) for name, array in self._slots.items()}

    def step(self, batch: Arrays, step: int) -> np.ndarray:
        """One optimizer step; returns the losses [C]."""
        new = self._run(batch, step, learning_rate(self._manifest))
        for state in (self.parameters, self._slots):
            state.update({name: new[f"{name}.new"] for name in state})
        return new["loss"]

    def gradients(self, batch: Arrays) -> dict[str, np.ndarray]:
        """The gradients, read off a first step: the update of plain SGD, or what the first slot has taken
        in.
        """
        new = self._run(batch, 1, _PROBE_RATE)
        learning = {n: p for n, p in self.parameters.items() if n not in self._manifest.buffers}
        if not self._slots:
            return {n: (p - new[f"{n}.new"]) / np.float32(_PROBE_RATE) for n, p in learning.items()}
        slot = RULES[self._manifest.optimizer].slots[0]
        share = 1 - ADAMW_BETAS[0] if self._manifest.optimizer is Optimizer.ADAMW else 1.0
        return {name: new[f"{name}.{slot}.new"] / np.float32(share) for name in learning}

    def forward(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """Random examples [C, rows, ...] and the students' logits [C, rows, classes], and features if any."""
        shape = (*self._shapes["x"][:2], *self._manifest.input_shape)
        x = _in_turns(_examples_of(self._manifest, shape, np.random.default_rng(0)), self._manifest)
        names = ["logits", "features"] if self._manifest.feature_width else ["logits"]
        return x, self._session.run(names, {**self.parameters, "x": self._read(x)})

    def _read(self, x: np.ndarray) -> np.ndarray:
        """What the graph reads of examples x [C, rows, *input_shape]."""
        if self._prefix is None:
            return x
        few = x[:_DISTINCT]
        (h,) = self._prefix.run(["h"], {"x": few.reshape(-1, *self._manifest.input_shape)})
        read: np.ndarray = h.reshape(*few.shape[:2], *self._manifest.prefix_shape)
        return read[np.arange(len(x)) % len(few)]

    def _run(self, batch: Arrays, step: int, rate: float) -> dict[str, np.ndarray]:
        beta1, beta2 = ADAMW_BETAS
        scalars = {
            "lr": np.full(self._manifest.stack_size, rate, np.float32),
            "bias_correction1": np.array([1 - beta1**step], np.float32),
            "bias_correction2": np.array([1 - beta2**step], np.float32),
            "epsilon": np.array([EPSILON], np.float32),
        }
        feeds = {**self.parameters, **self._slots, **batch, "x": self._read(batch["x"]), **scalars}
        names = [port.name for port in self._session.get_outputs()]
        values = self._session.run(names, {name: feeds[name] for name in self._shapes})
        return dict(zip(names, values, strict=True))


def _session(graph: bytes, *, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def learning_rate(manifest: StudentManifest) -> float:
    """The rate of a trial's steps."""
    many_words = manifest.label_shape and manifest.classes >= _MANY_WORDS
    return (_OF_TEXT if many_words else _LEARNING_RATES)[manifest.optimizer]


def random_examples(
    family: str,
    shape: Sequence[int],
    *,
    input_shape: Sequence[int],
    classes: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Random examples [*shape] that a family's students take: normal numbers, or those of words or tokens."""
    form = FAMILIES.form_of(family)
    known = tokens_known(family, input_shape, classes)
    if known:
        return random.integers(0, known, shape).astype(form.input_type)
    return form.random(shape, classes=classes, random=random)


def _examples_of(manifest: StudentManifest, shape: Sequence[int], random: np.random.Generator) -> np.ndarray:
    return random_examples(
        manifest.family,
        shape,
        input_shape=manifest.input_shape,
        classes=manifest.classes,
        random=random,
    )


def _in_turns(x: np.ndarray, manifest: StudentManifest) -> np.ndarray:
    """Examples [C, ...]; those that go through a prefix, which is slow, are a few devices' in turns."""
    return x[np.arange(len(x)) % _DISTINCT] if manifest.prefix_shape else x


def random_batch(
    manifest: StudentManifest, seed: int, *, soft_weight: float = SOFT_WEIGHT, rows: int = 8
) -> Arrays:
    """A random batch of the whole stack.

    Few of its rows have a weight; the others, at least one, are padding. They are enough, and seldom
    bring an activation close to a kink.

    Args:
        manifest: What the graph takes.
        seed: Decides the batch.
        soft_weight: The weight of the soft labels, where the graph reads them; the labels' is the rest.
        rows: The most that have a weight.
    """
    random = np.random.default_rng(seed)
    places = (manifest.stack_size, manifest.step_rows, *manifest.label_shape)
    # The statistics of batch normalization need two rows at least.
    weighing = min(max(manifest.step_rows - 1, 2 if manifest.buffers else 1), rows, manifest.step_rows)
    weight = np.zeros(places, np.float32)
    weight[:, :weighing] = 1 / (weighing * math.prod(manifest.label_shape))
    scores = np.exp(2 * random.normal(size=(*places, manifest.classes)))
    soft = (scores / scores.sum(-1, keepdims=True)).astype(np.float32)
    indices = np.argsort(-soft, -1)[..., : manifest.k]
    labels: np.ndarray = random.integers(0, manifest.classes, places)
    if manifest.target.is_regression:  # a mean and a log variance
        labels, soft = (random.normal(size=size).astype(np.float32) for size in (places, soft.shape))
    return {
        "x": _in_turns(_examples_of(manifest, (*places[:2], *manifest.input_shape), random), manifest),
        "labels": labels,
        "hard_weight": weight * np.float32(1 - soft_weight),
        "soft_labels": soft,
        "soft_indices": indices,
        "soft_probabilities": np.take_along_axis(soft, indices, -1),
        "soft_weight": weight * np.float32(soft_weight),
        "temperature": np.array([TEMPERATURE], np.float32),
        **{
            port.name: random.random((manifest.stack_size, *port.shape), np.float32)
            for port in manifest.uniforms
        },
    }


def share(batch: Arrays, device: int) -> Arrays:
    """One device's part of a batch."""
    return {name: array if name == "temperature" else array[device] for name, array in batch.items()}
