"""What a fleet of assistants starts its rounds with: students that a sentence model taught, and a teacher.

They are made of everyone's utterances once and for all runs on this machine, whatever their seed
(see `make_assistant`).
"""

from __future__ import annotations

from pathlib import Path

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.methods import build_method
from fedstill_server.state import FleetState
from fedstill_server.tasks import load_public
from fedstill_server.tasks.interface import Progress
from fedstill_server.tasks.utterances.pipeline import Assistant, AssistantPlan, make_assistant

from fedstill_sim.folder import cache_folder
from fedstill_sim.tasks.interface import DataRequest
from fedstill_sim.tasks.utterances.data import AssistantData
from fedstill_sim.tasks.utterances.fleet import drawn_assistant


def first_state(folder: Path, fleet: FleetConfig, wanted: DataRequest, on_progress: Progress) -> FleetState:
    """The state of round 0 of the run in `folder`."""
    data = drawn_assistant(devices=1, dirichlet=wanted.dirichlet, seed=fleet.seed)
    made = start_assistant(data, fleet, on_progress=on_progress)
    state = FleetState(teacher=made.teacher, students=made.students)
    return build_method(fleet, load_public(folder, fleet)).start(state)


def start_assistant(data: AssistantData, fleet: FleetConfig, *, on_progress: Progress) -> Assistant:
    """Made, or read where it was made before."""
    return make_assistant(
        [*(each.text for each in data.labelled), *data.public],
        [each.intent for each in data.labelled],
        AssistantPlan(families=fleet.families),
        cache_folder() / "assistants",
        classes=fleet.classes,
        on_progress=on_progress,
    )
