"""What happens before the first round: a teacher from the public set, and a starting student a family."""

from __future__ import annotations

from fedstill_server.config import FleetConfig
from fedstill_server.methods import Method
from fedstill_server.networks import parameters_of
from fedstill_server.public_set import Examples
from fedstill_server.state import FleetState
from fedstill_server.teacher import build_family, distil_student, train_teacher


def prepare(
    config: FleetConfig, public: Examples, method: Method, *, teaching: Examples | None = None
) -> FleetState:
    """The state of round 0. Students start `distilled` from the teacher, or `random`.

    A teacher that has learned nothing has nothing to distil: without public labels both starts are the same.
    teaching: what is learned before the first round, where that is more than the public set that devices get.
    """
    teaching = public if teaching is None else teaching
    teacher = train_teacher(config, teaching)
    taught = teaching.y is not None and config.use_public_labels
    students = {}
    for family in config.families:
        if config.start == "distilled" and taught:
            students[family] = distil_student(config, family, teaching, teacher)
        else:
            students[family] = parameters_of(build_family(config, family))
    return method.start(FleetState(teacher=teacher, students=students))
