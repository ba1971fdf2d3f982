"""Teacher and students of a fleet of text, as the method next-words asks for them."""

from __future__ import annotations

from fedstill_proto.arrays import Parameters
from fedstill_proto.soft_labels.label_arrays import TopKSoftLabels

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.data.examples import Examples
from fedstill_server.tasks import training_of


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
    return training_of(config).student_learns(family, student, public, soft_labels, round_number=round_number)


def text_teacher_learns(
    config: FleetConfig,
    teacher: Parameters,
    public: Examples,
    soft_labels: TopKSoftLabels,
    *,
    round_number: int,
) -> Parameters:
    """The teacher after a round's learning, the same way."""
    return training_of(config).teacher_learns(teacher, public, soft_labels, round_number=round_number)
