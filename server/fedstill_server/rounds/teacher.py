"""Teacher and students of a fleet, as methods ask for them: what the fleet's task says of each."""

from __future__ import annotations

from fedstill_proto.arrays import FloatArray, Parameters
from torch import nn

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.data.examples import Examples
from fedstill_server.tasks import training_of


def build_teacher(config: FleetConfig, parameters: Parameters | None = None) -> nn.Module:
    """The teacher with `parameters`, or as it starts."""
    return training_of(config).teacher(parameters)


def build_family(config: FleetConfig, family: str, parameters: Parameters | None = None) -> nn.Module:
    """A student of `family` with `parameters`, or as it starts."""
    return training_of(config).student(family, parameters)


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
    return training_of(config).student_learns(
        family, student, Examples(x), soft_labels, round_number=round_number, input_noise=input_noise
    )


def teacher_learns(
    config: FleetConfig, teacher: Parameters, x: FloatArray, soft_labels: FloatArray, *, round_number: int
) -> Parameters:
    """The teacher after a round's learning, the same way."""
    return training_of(config).teacher_learns(teacher, Examples(x), soft_labels, round_number=round_number)
