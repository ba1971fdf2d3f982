"""One training run of one student, as a value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray, Parameters

from fedstill_server.config.codec import to_json
from fedstill_server.data.examples import Examples
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.technique import Technique
from fedstill_server.state import digest_of
from fedstill_server.teachers.interface import TeacherAnswers, TeacherModel

UNKNOWN = -1
"""The label of an example that has none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DistillJob:
    """What is trained, on what, and how.

    Attributes:
        family: The student's.
        classes: How many classes it tells apart, or how many words it knows.
        x: Examples [n, *input_shape]; int64 numbers of words [n, S] for text.
        labels: Their labels [n], or the next words [n, S] for text; UNKNOWN where there is none.
        plan: How it is trained.
        teacher: Whom the techniques ask.
        techniques: The terms of the loss beside the labels'.
        start: The student's first weights; None draws them from the plan's seed.
        answers: The teacher's answers to `x`, where they are known already.
        held_out: Labelled examples that no step learns, by which techniques adapt themselves.
    """

    family: str
    classes: int
    x: FloatArray
    labels: IntArray
    plan: DistillPlan
    teacher: TeacherModel | None = None
    techniques: tuple[Technique, ...] = ()
    start: Parameters | None = None
    answers: TeacherAnswers | None = None
    held_out: Examples | None = None

    def __post_init__(self) -> None:
        if len(self.x) == 0 or len(self.x) != len(self.labels):
            raise DistillError(f"examples: {len(self.x)} with {len(self.labels)} labels")
        if self.labels.min() < UNKNOWN or self.labels.max() >= self.classes:
            raise DistillError(f"labels: not from 0 to {self.classes - 1}")
        if self.teacher is None:  # a recipe may have techniques of its own, where there is one
            self.check_taught()

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.x.shape[1:]

    def check_taught(self) -> None:
        """Raises DistillError where there is nothing to learn from."""
        if not self.techniques and (self.labels == UNKNOWN).all():
            raise DistillError("examples: none has a label, and no technique teaches")

    def fingerprint(self) -> str:
        """SHA-256 of all that the outcome depends on."""
        described = {
            "family": self.family,
            "classes": self.classes,
            "plan": to_json(self.plan),
            "techniques": [{"name": technique.name, **to_json(technique)} for technique in self.techniques],
            "teacher": None if self.teacher is None else self.teacher.digest,
        }
        arrays: dict[str, np.ndarray] = {"x": self.x, "labels": self.labels}
        arrays |= {f"start/{name}": array for name, array in (self.start or {}).items()}
        if self.answers is not None:
            arrays["answers"] = self.answers.logits
        if self.held_out is not None and self.held_out.y is not None:
            arrays |= {"held_out/x": self.held_out.x, "held_out/y": self.held_out.y}
        text = json.dumps(described, sort_keys=True) + digest_of(arrays)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A trained student, and the further students that its techniques made.

    Attributes:
        family: The student's.
        parameters: Its weights.
        exits: The weights of the further students by family.
        seconds: How long the training took.
        loss: The mean loss of the last epoch.
    """

    family: str
    parameters: Parameters
    exits: Mapping[str, Parameters] = field(default_factory=dict)
    seconds: float = 0.0
    loss: float = 0.0


def gathered(*parts: Examples) -> tuple[FloatArray, IntArray]:
    """x [n, *input_shape] and labels [n] of all parts together, UNKNOWN where a part has none."""
    parts = tuple(part for part in parts if len(part))
    if not parts:
        raise DistillError("examples: none")
    x = np.concatenate([part.x for part in parts])
    labels = [np.full(len(part), UNKNOWN, np.int64) if part.y is None else part.y for part in parts]
    return x, np.concatenate(labels)
