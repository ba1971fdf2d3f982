"""Train a stack of students with a training artifact: ONNX Runtime and numpy, no torch.

The students live in two sets of arrays. A step reads one set and writes the other, and the next step goes
back: an output bound onto its own input can be overwritten before it has been read. All arrays are bound
once; a step binds and copies nothing.

A step of a text student sees the rows of its tables for the words of its batch (step_vocabulary.py): they are
gathered into the bound arrays before the step, and put back with their optimizer slots after it.

Training can stop after any step: `state` is all that the next step depends on besides its batch, and a
personalizer in another process that begins with it goes on bit for bit as this one would have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from fedstill_proto.arrays import FloatArray, IntArray, Parameters
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentManifest, TrainingArtifact

from fedstill_client.model.placed import PlacedArrays
from fedstill_client.model.prefix import prefix_of
from fedstill_client.model.runtime import Binding, session
from fedstill_client.model.step import StepArrays
from fedstill_client.model.step_vocabulary import StepVocabulary, gather_rows, scatter_rows
from fedstill_client.model.student_shapes import StudentMismatch, check_student

SLOTS: dict[Optimizer, tuple[str, ...]] = {
    Optimizer.SGD: (),
    Optimizer.MOMENTUM: ("momentum",),
    Optimizer.ADAMW: ("first_moment", "second_moment"),
}
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True, eq=False)
class PersonalizerState:
    """A stack of students in the middle of training."""

    parameters: Mapping[str, FloatArray]  # [C, *shape]
    slots: Mapping[str, FloatArray]  # the optimizer's "<parameter>.<slot>", [C, *shape]
    step: int  # steps taken since the slots were 0

    def __post_init__(self) -> None:
        if self.step < 0:
            raise StudentMismatch(f"a training state of {self.step} steps; give 0 or more.")

    @classmethod
    def start(cls, parameters: Mapping[str, FloatArray]) -> PersonalizerState:
        """Before the first step: the slots are 0. parameters: [C, *shape], or [*shape] for all devices."""
        return cls(parameters, {}, 0)


class StepSource(Protocol):
    """Batches by the number of their step, with or without an end.

    A round's are `fedstill_client.model.batches.StackPlan`; those of a device that learns on its own are
    `fedstill_client.learning.batch_schedule.BatchSchedule`.
    """

    @property
    def seed(self) -> int:
        """The seed of the words that the last step that was filled draws, where it is one of text."""

    def start(self, into: StepArrays) -> None:
        """Set what all steps share."""

    def fill(self, step: int, into: StepArrays) -> None:
        """Write one step's rows."""


class Steps(StepSource, Protocol):
    """A source of steps that has an end."""

    @property
    def steps(self) -> int:
        """Number of steps."""

    @property
    def steps_of(self) -> IntArray:
        """Steps in which each device trains, [C]."""


class StepChange(Protocol):
    """What happens to a step's result before the next one: GradientTerm, or Alternation."""

    def put_into(
        self, after: Mapping[str, FloatArray], before: Mapping[str, FloatArray], *, lr: FloatArray, step: int
    ) -> None:
        """Change what a step has written.

        Args:
            after: What it has written: parameters and optimizer slots, [C, *shape].
            before: What it has read.
            lr: Its learning rates [C].
            step: Its number among the round's, from 0.
        """


class Trainer(Protocol):
    """Trains the students of a stack, whatever computes it."""

    @property
    def manifest(self) -> StudentManifest:
        """The student's manifest: its shapes, its parameters, and how many students are in the stack."""

    def train(
        self,
        parameters: Mapping[str, FloatArray],
        steps: Steps,
        *,
        copy: bool = True,
        change: StepChange | None = None,
    ) -> tuple[Parameters, FloatArray]:
        """The trained parameters [C, *shape] and each device's mean loss [C].

        Args:
            parameters: [C, *shape], or [*shape] for all devices to start from.
            steps: What to train on.
            copy: Return arrays of their own; otherwise they may change in the next call.
            change: What happens to each step's result.
        """


class Personalizer:
    """The training loop of one student family for a stack of C devices (1 on a device).

    `train` goes from a start to the end of a round's steps; `begin`, `take` and `state` let a learning stop
    after any step and go on in another process, bit for bit.

    Args:
        artifact: The family's training artifact, built for C devices.
        threads: Processor threads of a step.
    """

    def __init__(self, artifact: TrainingArtifact, *, threads: int = 1) -> None:
        self.manifest = artifact.manifest
        self._tables: dict[str, FloatArray] = {}  # a text student's, whole: [C, V, ...]; the sets hold U rows
        self._words: StepVocabulary | None = None
        prefix = prefix_of(artifact) if self.manifest.prefix_shape else None
        self._batch = self._whole_batch = StepArrays.empty(self.manifest, prefix=prefix)
        if (vocabulary := self.manifest.vocabulary) is not None:
            self._words = StepVocabulary(self.manifest, vocabulary)
            seen = StepArrays.empty(self.manifest, classes=vocabulary.step_size)
            self._batch = replace(seen, uniforms=self._whole_batch.uniforms)
        self._loss = np.zeros(self.manifest.stack_size, np.float32)
        self._corrections = {
            name: np.ones(1, np.float32) for name in ("bias_correction1", "bias_correction2")
        }
        self._sets = (self._zeros(), self._zeros())
        for table in () if vocabulary is None else vocabulary.tables:
            self._tables |= self._whole(table)
        self._taken = 0  # steps; after an even number of them the first set is the newest
        opened = session(artifact.whole(artifact.training_graph), threads=threads)
        self._says_loss = any(port.name == "loss" for port in opened.get_outputs())
        if not self._says_loss:  # as a simulator's graph does not
            self._loss.fill(np.nan)
        self._placed = PlacedArrays.here()
        self._read = {
            **self._batch.inputs(),
            **self._corrections,
            "epsilon": np.array([_EPSILON], np.float32),
        }
        self._bindings = (self._bind(opened, 0, 1), self._bind(opened, 1, 0))

    def train(
        self,
        parameters: Mapping[str, FloatArray],
        steps: Steps,
        *,
        copy: bool = True,
        change: StepChange | None = None,
    ) -> tuple[Parameters, FloatArray]:
        """Train a stack from its start to the end of the steps.

        Args:
            parameters: What the devices start from: [C, *shape], or [*shape] for all of them.
            steps: The batches.
            copy: Whether to return arrays of their own; otherwise they belong to the personalizer, until its
                next call.
            change: What happens to each step's result; not of text.

        Returns:
            The trained parameters [C, *shape], and each device's mean loss [C]; NaN where the training graph
            says none.
        """
        self._install(PersonalizerState.start(parameters))
        total = self.take(steps, 0, steps.steps, change=change)
        trained = self._trained(("",))
        if copy:
            trained = {name: array.copy() for name, array in trained.items()}
        return trained, (total / np.maximum(steps.steps_of, 1)).astype(np.float32)

    def begin(self, state: PersonalizerState) -> None:
        """Let the next step go on from `state`; raises StudentMismatch where it is of another student."""
        stacked = {
            name: np.broadcast_to(array, self._shape(name)) if state.step == 0 else array
            for name, array in state.parameters.items()
            if name in self._sets[0]
        }
        check_student({**state.parameters, **stacked}, self.manifest, stacked=True)
        if state.step > 0:
            self._check_slots(state.slots)
        self._install(state)

    def take(
        self, steps: StepSource, first: int, last: int, *, change: StepChange | None = None
    ) -> npt.NDArray[np.float64]:
        """Train on the steps from `first` up to, and without, `last`.

        Returns:
            The sum of each device's losses [C]; the loss of a step in which a device waits is 0.
        """
        if change is not None and self._words is not None:
            raise StudentMismatch(
                f"the student {self.manifest.family!r} reads words, and a step sees a part of its tables: "
                "nothing can change its result."
            )
        steps.start(self._whole_batch)
        total = np.zeros(self.manifest.stack_size)
        for step in range(first, last):
            steps.fill(step, self._whole_batch)
            self._correct_bias(self._taken + 1)
            if self._words is None:
                self._run()
            else:
                self._run_in_words(self._words, steps.seed)
            if change is not None:
                before, after = (self._learning(self._taken + past) for past in (0, 1))
                for learning in (before, after):
                    self._placed.pull(learning.values())
                change.put_into(after, before, lr=self._batch.lr, step=step)
                self._placed.push(after.values())
            self._taken += 1
            total += self._loss
        return total

    def _learning(self, taken: int) -> dict[str, FloatArray]:
        """The set after so many steps, but for the buffers, which no gradient changes."""
        newest = self._sets[taken % 2]
        return {name: array for name, array in newest.items() if name not in self.manifest.buffers}

    def state(self) -> PersonalizerState:
        """Where training stands, in arrays of their own."""
        slots = tuple(f".{slot}" for slot in SLOTS[self.manifest.optimizer])
        return PersonalizerState(
            {name: array.copy() for name, array in self._trained(("",)).items()},
            {name: array.copy() for name, array in self._trained(slots).items()},
            self._taken,
        )

    def _trained(self, suffixes: tuple[str, ...]) -> Parameters:
        """The arrays that the last step wrote, in the order of the manifest."""
        newest = self._sets[self._taken % 2]
        self._placed.pull(newest.values())
        final = {**newest, **self._tables}
        return {
            spec.name + suffix: final[spec.name + suffix]
            for suffix in suffixes
            for spec in self.manifest.parameters
            if spec.name + suffix in final
        }

    def _zeros(self) -> dict[str, FloatArray]:
        """Parameters and optimizer slots of the whole stack, as a step sees them."""
        stack, seen = self.manifest.stack_size, {spec.name: spec.shape for spec in self.manifest.parameters}
        if (vocabulary := self.manifest.vocabulary) is not None:
            for table in vocabulary.tables:
                seen[table] = (vocabulary.step_size, *seen[table][1:])
        return {
            name + slot: np.zeros((stack, *shape), np.float32)
            for slot in self._slots()
            for name, shape in seen.items()
            if not (slot and name in self.manifest.buffers)
        }

    def _whole(self, table: str) -> dict[str, FloatArray]:
        """A table of all words, and its optimizer slots."""
        shapes = {spec.name: spec.shape for spec in self.manifest.parameters}
        stack = self.manifest.stack_size
        return {table + slot: np.zeros((stack, *shapes[table]), np.float32) for slot in self._slots()}

    def _slots(self) -> tuple[str, ...]:
        """What follows a parameter's name in the names of its arrays."""
        return ("", *(f".{slot}" for slot in SLOTS[self.manifest.optimizer]))

    def _shape(self, name: str) -> tuple[int, ...]:
        """The shape of a parameter or slot of the whole stack."""
        return self._tables.get(name, self._sets[0][name]).shape

    def _run_in_words(self, words: StepVocabulary, seed: int) -> None:
        """Take a step on the rows of the tables for the words of its batch."""
        chosen = words.translate(self._whole_batch, self._batch, seed=seed, step=self._taken)
        source, target = self._sets[self._taken % 2], self._sets[(self._taken + 1) % 2]
        for name, table in self._tables.items():
            gather_rows(table, chosen, source[name])
        self._placed.push(source[name] for name in self._tables)
        self._run()
        self._placed.pull(target[name] for name in self._tables)
        for name, table in self._tables.items():
            scatter_rows(target[name], chosen, table)

    def _run(self) -> None:
        """Take the step whose batch is there."""
        self._placed.push(self._read.values())
        self._bindings[self._taken % 2].run()
        if self._says_loss:
            self._placed.pull([self._loss])

    def _bind(self, opened: ort.InferenceSession, source: int, target: int) -> Binding:
        new = {f"{name}.new": array for name, array in self._sets[target].items()}
        return Binding(
            opened,
            inputs={**self._sets[source], **self._read},
            outputs={**new, "loss": self._loss},
            placed=self._placed,
        )

    def _install(self, state: PersonalizerState) -> None:
        """Copy a state in; slots that it has none of start from nothing."""
        arrays = {**state.parameters, **state.slots}
        for name, array in {**self._sets[state.step % 2], **self._tables}.items():
            array[:] = arrays.get(name, 0)
        self._taken = state.step
        self._placed.push(self._sets[state.step % 2].values())

    def _check_slots(self, slots: Mapping[str, FloatArray]) -> None:
        expected = {name: self._shape(name) for name in self._sets[0]}
        for spec in self.manifest.parameters:
            del expected[spec.name]
        if {name: array.shape for name, array in slots.items()} != expected:
            raise StudentMismatch(
                f"a training state has optimizer slots {sorted(slots)[:6]}; {self.manifest.optimizer.value} "
                f"on {self.manifest.family!r} needs {sorted(expected)[:6]} of the stack's shapes."
            )

    def _correct_bias(self, step: int) -> None:
        # In float64: 1 - 0.999^t has three digits left in float32.
        self._corrections["bias_correction1"][0] = 1.0 - _BETA_1**step
        self._corrections["bias_correction2"][0] = 1.0 - _BETA_2**step
