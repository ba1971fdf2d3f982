"""The teacher of a fleet of text, a wider recurrent network, and how it and the students learn on the server.

Text is its own label, the next word, so that there is always something to teach. The teacher learns the
teaching set's next words; a student learns them and the teacher's soft labels of them, the k likeliest words
and a rest bucket (Hinton et al. 2015, arXiv 1503.02531).
"""

from __future__ import annotations

import torch
from fedstill_proto.arrays import IntArray, Parameters
from fedstill_proto.soft_labels.label_arrays import TopKSoftLabels
from torch import nn

from fedstill_server.config.fleet import FleetConfig, TextConfig
from fedstill_server.data.examples import DataError, Examples
from fedstill_server.families import build_student
from fedstill_server.families.language import GatedRecurrentNetwork
from fedstill_server.randomness import derived_seed
from fedstill_server.tasks.text.networks import fit_next_words, likeliest_next_words
from fedstill_server.training.fitting import FitPlan
from fedstill_server.training.networks import load_parameters, parameters_of


def build_text_teacher(config: FleetConfig, text: TextConfig) -> nn.Module:
    """As it starts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, 0, "teacher"))
        state_width = text.teacher_state_width or text.teacher_width
        return GatedRecurrentNetwork(config.classes, width=text.teacher_width, state_width=state_width)


def train_text_teacher(config: FleetConfig, text: TextConfig, teaching: Examples) -> Parameters:
    """The teacher after learning the teaching set's next words."""
    plan = _plan(config, text, epochs=config.teacher.epochs, learning_rate=config.teacher.learning_rate)
    teacher, seed = build_text_teacher(config, text), derived_seed(config.seed, 0, "teach")
    return parameters_of(fit_next_words(teacher, *_rows(teaching), plan=plan, seed=seed))


def distil_text_student(
    config: FleetConfig, text: TextConfig, family: str, teaching: Examples, teacher: Parameters
) -> Parameters:
    """A family's student after learning the next words and what the teacher says of them."""
    taught = load_parameters(build_text_teacher(config, text), teacher)
    temperature, (x, y) = config.teacher.temperature, _rows(teaching)
    soft_labels = likeliest_next_words(
        taught, x, k=min(text.kept, config.classes - 1), temperature=temperature
    )
    seed = derived_seed(config.seed, 0, f"student/{family}")
    student = build_student(family, config.input_shape, config.classes, seed=seed)
    plan = _plan(
        config,
        text,
        epochs=config.teacher.student_epochs,
        learning_rate=config.teacher.student_learning_rate,
        temperature=temperature,
    )
    seed = derived_seed(config.seed, 0, f"learn/{family}")
    return parameters_of(fit_next_words(student, x, y, plan=plan, seed=seed, soft_labels=soft_labels))


def text_student_learns(
    config: FleetConfig,
    family: str,
    student: Parameters,
    public: Examples,
    soft_labels: TopKSoftLabels,
    *,
    round_number: int,
) -> Parameters:
    """`student` after a round's learning of the public set and its soft labels, at the plan's temperature."""
    network = load_parameters(build_student(family, config.input_shape, config.classes), student)
    rate = config.teacher.student_learning_rate
    return _learns(config, network, public, soft_labels, rate, round_number=round_number, place=family)


def text_teacher_learns(
    config: FleetConfig,
    teacher: Parameters,
    public: Examples,
    soft_labels: TopKSoftLabels,
    *,
    round_number: int,
) -> Parameters:
    """The teacher after a round's learning, the same way."""
    assert config.text is not None
    network = load_parameters(build_text_teacher(config, config.text), teacher)
    rate = config.teacher.learning_rate
    return _learns(config, network, public, soft_labels, rate, round_number=round_number, place="teacher")


def _learns(
    config: FleetConfig,
    network: nn.Module,
    public: Examples,
    soft_labels: TopKSoftLabels,
    learning_rate: float,
    *,
    round_number: int,
    place: str,
) -> Parameters:
    assert config.text is not None
    plan = _plan(
        config,
        config.text,
        epochs=config.teacher.round_epochs,
        learning_rate=learning_rate,
        temperature=config.training.temperature,
        in_round=True,
    )
    seed = derived_seed(config.seed, round_number, f"learn/{place}")
    x, y = _rows(public)
    return parameters_of(fit_next_words(network, x, y, plan=plan, seed=seed, soft_labels=soft_labels))


def _plan(
    config: FleetConfig,
    text: TextConfig,
    *,
    epochs: int,
    learning_rate: float,
    temperature: float = 1.0,
    in_round: bool = False,
) -> FitPlan:
    teacher = config.teacher
    return FitPlan(
        epochs=epochs,
        batch_size=teacher.round_batch_size if in_round else teacher.batch_size,
        learning_rate=learning_rate,
        weight_decay=teacher.weight_decay,
        temperature=temperature,
        hard_weight=text.hard_weight,
    )


def _rows(examples: Examples) -> tuple[IntArray, IntArray]:
    if examples.y is None:
        raise DataError("rows of text without the words that come next (y)")
    return examples.x, examples.y
