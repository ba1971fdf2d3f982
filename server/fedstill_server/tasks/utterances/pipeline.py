"""Makes what a fleet of assistants starts with: its teacher in rounds, and its students.

The sentence model learns the utterances that someone labelled, and says what it thinks of all of them. So
does a student of n-grams, which knows other things: languages that the sentence model never learned. The
students are distilled from the mean of both's logits; so is the teacher of the rounds, a wider student that
can learn anew in each round, which the sentence model is too large for.

Everything is kept under a digest of all that decides it, and made once for whoever asks for the same.

    <folder>/teacher-<digest>.safetensors, .npz         the sentence model, and what it answered
             labels-<digest>.safetensors                the student that learned the labels alone
             wide-<digest>.safetensors                  the teacher of the rounds
             student-<family>-<digest>.safetensors
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from fedstill_proto.arrays import FloatArray, Parameters
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.files import SHARED, replace_file
from fedstill_proto.text.ngrams import NgramHashing
from torch import nn

from fedstill_server.config.fleet import TeacherConfig
from fedstill_server.families import build_student
from fedstill_server.families.ngrams import wide_bag
from fedstill_server.randomness import derived_seed
from fedstill_server.tasks.interface import Progress, untold
from fedstill_server.tasks.utterances.students import (
    BY_LABELS,
    IntentPlan,
    IntentStudent,
    mean_answers,
    soft_labels_of,
    taught,
    trained_on_labels,
)
from fedstill_server.tasks.utterances.teacher import TeacherPlan, TrainedTeacher
from fedstill_server.training.array_cache import load_cached_parameters
from fedstill_server.training.networks import parameters_of

_VERSION = 2  # raised when the same plan would make other students
WIDE = "wide"
_OF_LABELS = "ngrams"  # the family of the student that learns the labels alone
_SEEN, _MOST_EPOCHS = 40_000, 150  # utterances that a student sees in all, and how often each


class AssistantError(FedstillError):
    """What was kept of an assistant is damaged."""


@dataclass(frozen=True, kw_only=True)
class AssistantPlan:
    """What is made of public utterances. hidden: of the teacher of the rounds, its hidden layer."""

    families: tuple[str, ...]
    teacher: TeacherPlan = field(default_factory=TeacherPlan)
    distilling: IntentPlan = field(default_factory=IntentPlan)
    hidden: int = max(TeacherConfig().hidden)


@dataclass(frozen=True, eq=False)
class Assistant:
    """What a fleet of assistants starts with. answers: the teachers' mean logits [texts, classes]."""

    answers: FloatArray
    teacher: Parameters
    students: dict[str, Parameters]


def make_assistant(
    texts: Sequence[str],
    intents: Sequence[int],  # of the first of the texts; nobody labelled the others
    plan: AssistantPlan,
    folder: Path,
    *,
    classes: int,
    on_progress: Progress = untold,
) -> Assistant:
    """The assistant of a plan, made of public utterances or read where it was made before.

    Raises EncoderError, with what to install, where the sentence model is not there.
    """
    sentence_model = TrainedTeacher(
        texts[: len(intents)],
        intents,
        classes=classes,
        plan=plan.teacher,
        cache=folder,
        on_epoch=lambda epoch, loss: on_progress("the sentence model learns", epoch, plan.teacher.epochs),
    )
    if not sentence_model.answered(texts):
        on_progress("what the sentence model says of utterances", 0, len(texts))
    by_labels = _learned_labels(texts[: len(intents)], intents, folder, classes=classes, plan=plan)
    answers = mean_answers(sentence_model.logits(texts), by_labels.logits(texts))
    making = _Making(folder, plan, classes, texts, answers, on_progress)
    made = {name: making.network(name) for name in (WIDE, *plan.families)}
    return Assistant(answers, made.pop(WIDE), made)


def _learned_labels(
    texts: Sequence[str], intents: Sequence[int], folder: Path, *, classes: int, plan: AssistantPlan
) -> IntentStudent:
    """The student of labels alone, trained or read back."""
    learning = replace(BY_LABELS, seed=plan.distilling.seed)
    about = [_VERSION, torch.__version__, asdict(learning), classes, list(texts), list(map(int, intents))]
    digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
    path, hashing = folder / f"labels-{digest}.safetensors", NgramHashing()
    if not path.exists():
        labels = np.asarray(intents, np.int64)
        student = trained_on_labels(_OF_LABELS, texts, labels, classes=classes, plan=learning)
        replace_file(path, safetensors.numpy.save(student.parameters), mode=SHARED)
    fresh = build_student(_OF_LABELS, (hashing.places,), classes)
    parameters = load_cached_parameters(path, fresh, name=_OF_LABELS, error=AssistantError)
    return IntentStudent(_OF_LABELS, classes, parameters, hashing)


@dataclass(frozen=True, eq=False)
class _Making:
    """The networks that are taught, each of which is read where it was taught before."""

    folder: Path
    plan: AssistantPlan
    classes: int
    texts: Sequence[str]
    answers: FloatArray
    on_progress: Progress

    def network(self, name: str) -> Parameters:
        """The parameters of a student family, or of the rounds' teacher, trained or read back."""
        path = self.folder / f"{'' if name == WIDE else 'student-'}{name}-{self._digest()}.safetensors"
        fresh = self._fresh(name)
        if not path.exists():
            self.on_progress(f"the student {name} learns from the sentence model", 0, 1)
            soft = soft_labels_of(self.answers)
            # Few utterances are seen more often.
            epochs = max(self.plan.distilling.epochs, min(_MOST_EPOCHS, _SEEN // len(self.texts)))
            plan = replace(self.plan.distilling, epochs=epochs)
            learned = taught(fresh, self.texts, soft, None, plan=plan)
            replace_file(path, safetensors.numpy.save(parameters_of(learned)), mode=SHARED)
        return load_cached_parameters(path, fresh, name=name, error=AssistantError)

    def _fresh(self, name: str) -> nn.Module:
        seed = self.plan.distilling.seed
        if name != WIDE:
            return build_student(name, (NgramHashing().places,), self.classes, seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, 0, "teacher"))
            return wide_bag(self.classes, hidden=self.plan.hidden)

    def _digest(self) -> str:
        about = [_VERSION, torch.__version__, asdict(self.plan.distilling), self.plan.hidden]
        digest = hashlib.sha256(json.dumps([about, list(self.texts)]).encode())
        digest.update(np.ascontiguousarray(self.answers, "<f4").tobytes())
        return digest.hexdigest()[:16]
