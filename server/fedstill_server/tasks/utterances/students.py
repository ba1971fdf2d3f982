"""An assistant's students: distilled from the teacher's answers to utterances that nobody labelled.

    loss = KL(teacher(u) || student(u)) over public utterances u (Hinton et al., 2015, arXiv:1503.02531)

and the labelled ones are among them. The teacher is the mean of two: the sentence model, and a student that
learned the labels alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray, Parameters
from fedstill_proto.errors import InvalidValue
from fedstill_proto.messages import Optimizer
from fedstill_proto.text.intents import OUT_OF_SCOPE, IntentSchema
from fedstill_proto.text.ngrams import NgramHashing
from scipy.special import softmax
from torch import nn

from fedstill_server.export.build import ArtifactOptions
from fedstill_server.families import FAMILIES, UTTERANCES, build_student
from fedstill_server.families.ngrams import weigh_terms
from fedstill_server.tasks.utterances.confidence import Confidence
from fedstill_server.training.fitting import FitPlan, fit
from fedstill_server.training.networks import (
    load_parameters,
    logits_of,
    one_deterministic_thread,
    parameters_of,
)

STEP_ROWS = 32  # of a device's step of training: 16 of its own, 16 of the public set
PUBLIC_ROWS = 512  # that a package brings, to keep a student from forgetting


@dataclass(frozen=True, kw_only=True)
class IntentPlan:
    """How a student learns."""

    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.3
    label_smoothing: float = 0.2  # of labels; soft labels are what they are
    ngram_dropout: float = 0.3  # the share of an utterance's n-grams that are left out each time it is seen
    seed: int = 0

    def fitting(self) -> FitPlan:
        return FitPlan(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            label_smoothing=self.label_smoothing,
            input_dropout=self.ngram_dropout,
        )


BY_LABELS = IntentPlan(ngram_dropout=0.5)
"""How a student learns labels alone, which are fewer than what a teacher answers."""


@dataclass(frozen=True, eq=False)
class IntentStudent:
    """A student of utterances, with its weights."""

    family: str
    classes: int
    parameters: Parameters
    hashing: NgramHashing

    @property
    def parameter_count(self) -> int:
        return sum(array.size for array in self.parameters.values())

    def logits(self, texts: Sequence[str]) -> FloatArray:
        """[texts, classes]"""
        student = build_student(self.family, (self.hashing.places,), self.classes)
        x = np.asarray(self.hashing.encode_all(texts), np.float32)
        with one_deterministic_thread():
            return logits_of(load_parameters(student, self.parameters), x)

    def schema(self, names: Sequence[str], confidence: Confidence) -> IntentSchema:
        """What its package says of its intents; a class more than names is what asks for nothing."""
        nothing = OUT_OF_SCOPE if self.classes == len(names) + 1 else None
        known = (*names, OUT_OF_SCOPE) if nothing else tuple(names)
        return IntentSchema(known, confidence.temperature, confidence.threshold, self.hashing, nothing)

    def artifact_options(self) -> ArtifactOptions:
        """The options of the training step with which it learns on a device."""
        shape = (self.hashing.places,)
        return ArtifactOptions(
            family=self.family,
            input_shape=shape,
            classes=self.classes,
            optimizer=Optimizer.MOMENTUM,
            soft_labels="dense",
            k=0,
            stack_size=1,
            step_rows=STEP_ROWS,
        )


def distilled(
    family: str, texts: Sequence[str], answers: FloatArray, *, plan: IntentPlan | None = None
) -> IntentStudent:
    """A student of the teacher's logits [texts, classes]."""
    return _student(family, texts, soft_labels_of(answers), None, answers.shape[1], plan or IntentPlan())


def trained_on_labels(
    family: str, texts: Sequence[str], labels: IntArray, *, classes: int, plan: IntentPlan | None = None
) -> IntentStudent:
    """A student of labels [texts] alone; of few, it sees each as often as a student sees 8,000."""
    chosen = plan or BY_LABELS
    epochs = max(chosen.epochs, min(100, chosen.epochs * 8000 // max(len(texts), 1)))
    return _student(family, texts, None, labels, classes, replace(chosen, epochs=epochs))


def mean_answers(sentence_models: FloatArray, by_labels: FloatArray) -> FloatArray:
    """The mean logits [texts, classes] of two teachers: a product of experts, in which each may object."""
    return np.asarray((sentence_models + by_labels) / 2, np.float32)


def soft_labels_of(answers: FloatArray) -> FloatArray:
    """The soft labels of the teacher's logits [texts, classes]."""
    return np.asarray(softmax(answers.astype(np.float64), axis=-1), np.float32)


def taught(
    network: nn.Module,
    texts: Sequence[str],
    soft: FloatArray | None,
    labels: IntArray | None,
    *,
    plan: IntentPlan,
) -> nn.Module:
    """`network`, of n-grams' numbers, after learning soft labels [texts, classes] or labels [texts]."""
    x = np.asarray(NgramHashing().encode_all(texts), np.float32)
    with one_deterministic_thread():
        return fit(weigh_terms(network, x), x, soft, plan=plan.fitting(), seed=plan.seed, labels=labels)


def _student(
    family: str,
    texts: Sequence[str],
    soft: FloatArray | None,
    labels: IntArray | None,
    classes: int,
    plan: IntentPlan,
) -> IntentStudent:
    if FAMILIES.task_of(family) != UTTERANCES:
        raise InvalidValue("family", f"{family!r} is none of utterances")
    hashing = NgramHashing()
    student = build_student(family, (hashing.places,), classes, seed=plan.seed)
    learned = taught(student, texts, soft, labels, plan=plan)
    return IntentStudent(family, classes, parameters_of(learned), hashing)
