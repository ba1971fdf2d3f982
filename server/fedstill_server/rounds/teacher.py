"""The teacher, a larger network on the server, and the students that start from it.

The teacher is trained on the labelled public set. A student is distilled from the teacher's soft labels of
the public set (Hinton et al. 2015, arXiv 1503.02531). Without public labels there is nothing to train a
teacher on yet: it and the students start untrained and learn from the fleet's consensus.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from fedstill_proto.arrays import FloatArray, Parameters
from torch import nn

from fedstill_server.config.fleet import FleetConfig, TeacherConfig
from fedstill_server.data.examples import DataError, Examples
from fedstill_server.families import build_student
from fedstill_server.families.ngrams import wide_bag
from fedstill_server.families.sized import DeepPerceptron
from fedstill_server.randomness import derived_seed
from fedstill_server.tasks.text.fleet_teacher import (
    build_text_teacher,
    distil_text_student,
    train_text_teacher,
)
from fedstill_server.tasks.text.networks import next_word_accuracy
from fedstill_server.training.fitting import FitPlan, fit
from fedstill_server.training.networks import accuracy_of, load_parameters, parameters_of, soft_labels_of

# Of a whole keyboard, which has learned the public texts: rounds change teacher and students gently.
KEYBOARD_TEACHER = TeacherConfig(
    learning_rate=2e-4, student_learning_rate=2e-4, weight_decay=0.0, input_noise=0.0, temperature=1.0
)


def build_teacher(config: FleetConfig, parameters: Parameters | None = None) -> nn.Module:
    """A perceptron, or of text a recurrent network, with `parameters`, or as it starts.

    Of utterances it is a wider bag of n-grams than the students are.
    """
    if config.text is not None:
        speaking = build_text_teacher(config, config.text)
        return load_parameters(speaking, parameters) if parameters is not None else speaking
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, 0, "teacher"))
        if config.hears_utterances:
            teacher: nn.Module = wide_bag(config.classes, hidden=max(config.teacher.hidden, default=1))
        else:
            teacher = DeepPerceptron(config.input_shape, config.classes, hidden=config.teacher.hidden)
    return load_parameters(teacher, parameters) if parameters is not None else teacher


def utterance_teacher(examples: int, *, made: bool = False) -> TeacherConfig:
    """How a fleet of utterances learns so many of them before its first round: few ones are seen more often.

    Without noise, for the numbers of n-grams are names. made: teacher and students were made of more than the
    public set (tasks/utterances/pipeline.py), which rounds with a higher rate would forget.
    """
    epochs = min(150, max(20, 40_000 // max(examples, 1)))
    usual = TeacherConfig(epochs=epochs, student_epochs=epochs, temperature=1.0, input_noise=0.0)
    return replace(usual, student_learning_rate=1e-3, weight_decay=0.0) if made else usual


def build_family(config: FleetConfig, family: str, parameters: Parameters | None = None) -> nn.Module:
    """A student of `family` with `parameters`, or as it starts."""
    seed = derived_seed(config.seed, 0, f"student/{family}")
    student = build_student(family, config.input_shape, config.classes, seed=seed)
    return load_parameters(student, parameters) if parameters is not None else student


def train_teacher(config: FleetConfig, public: Examples) -> Parameters:
    """The teacher after learning the public labels, or next words; untrained if there are none to use."""
    if config.text is not None:
        return train_text_teacher(config, config.text, public)
    teacher = build_teacher(config)
    if public.y is not None and config.use_public_labels:
        plan = _plan(config.teacher, epochs=config.teacher.epochs, input_noise=config.teacher.input_noise)
        fit(teacher, public.x, None, plan=plan, seed=derived_seed(config.seed, 0, "teach"), labels=public.y)
    return parameters_of(teacher)


def distil_student(config: FleetConfig, family: str, public: Examples, teacher: Parameters) -> Parameters:
    """A family's student after learning the teacher's soft labels of the public set."""
    if config.text is not None:
        return distil_text_student(config, config.text, family, public, teacher)
    temperature = config.teacher.temperature
    soft_labels = soft_labels_of(build_teacher(config, teacher), public.x, temperature=temperature)
    return _learn(
        config,
        build_family(config, family),
        public.x,
        soft_labels,
        temperature=temperature,
        epochs=config.teacher.student_epochs,
        place=family,
    )


def student_learns(
    config: FleetConfig,
    family: str,
    student: Parameters,
    x: FloatArray,
    soft_labels: FloatArray,
    *,
    round_number: int,
    input_noise: float = 0.0,
) -> Parameters:
    """`student` after a round's learning of `soft_labels` (softened at the plan's temperature) for `x`.

    input_noise: standard deviation, in units of the input.
    """
    return _learn(
        config,
        build_family(config, family, student),
        x,
        soft_labels,
        temperature=config.training.temperature,
        epochs=config.teacher.round_epochs,
        place=family,
        round_number=round_number,
        input_noise=input_noise,
    )


def teacher_learns(
    config: FleetConfig, teacher: Parameters, x: FloatArray, soft_labels: FloatArray, *, round_number: int
) -> Parameters:
    """The teacher after a round's learning, the same way."""
    network = build_teacher(config, teacher)
    temperature = config.training.temperature
    plan = _plan(config.teacher, epochs=config.teacher.round_epochs, temperature=temperature, in_round=True)
    seed = derived_seed(config.seed, round_number, "learn/teacher")
    return parameters_of(fit(network, x, soft_labels, plan=plan, seed=seed))


def share_right(config: FleetConfig, network: nn.Module, test: Examples) -> float:
    """The share of labelled examples that a network is right about; of text, of places."""
    if test.y is None:
        raise DataError("examples without labels (y) to measure on")
    accuracy = accuracy_of if config.text is None else next_word_accuracy
    return accuracy(network, test.x, test.y)


def _learn(
    config: FleetConfig,
    student: nn.Module,
    x: FloatArray,
    soft_labels: FloatArray,
    *,
    temperature: float,
    epochs: int,
    place: str,
    round_number: int = 0,
    input_noise: float = 0.0,
) -> Parameters:
    plan = _plan(
        config.teacher,
        epochs=epochs,
        learning_rate=config.teacher.student_learning_rate,
        temperature=temperature,
        input_noise=input_noise,
        in_round=round_number > 0,
    )
    seed = derived_seed(config.seed, round_number, f"learn/{place}")
    return parameters_of(fit(student, x, soft_labels, plan=plan, seed=seed))


def _plan(
    config: TeacherConfig,
    *,
    epochs: int,
    learning_rate: float | None = None,
    temperature: float = 1.0,
    input_noise: float = 0.0,
    in_round: bool = False,
) -> FitPlan:
    return FitPlan(
        epochs=epochs,
        batch_size=config.round_batch_size if in_round else config.batch_size,
        learning_rate=config.learning_rate if learning_rate is None else learning_rate,
        weight_decay=config.weight_decay,
        temperature=temperature,
        input_noise=input_noise,
    )
