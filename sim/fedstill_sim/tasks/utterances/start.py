"""What a fleet of assistants starts its rounds with: students that a sentence model taught, and a teacher.

They are made of everyone's utterances once and for all runs on this machine, whatever their seed
(see `make_assistant`). A folder of one's own starts from the labels of its public.csv, as other
data do.
"""

from __future__ import annotations

from pathlib import Path

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.methods import build_method
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.state import FleetState
from fedstill_server.tasks import load_public
from fedstill_server.tasks.interface import Progress
from fedstill_server.tasks.utterances.pipeline import Assistant, AssistantPlan, make_assistant

from fedstill_sim.config import RunConfig
from fedstill_sim.folder import cache_folder
from fedstill_sim.progress import RunProgress
from fedstill_sim.tasks.utterances.data import AssistantData
from fedstill_sim.tasks.utterances.fleet import drawn_assistant


def starts_distilled(config: RunConfig) -> bool:
    """Whether a run's students have learned from the sentence model before the first round."""
    fleet, own = config.fleet, config.simulation.data is not None
    utterances = fleet.task.name == "utterances"
    return utterances and not own and fleet.start == "distilled" and fleet.use_public_labels


def start_rounds(folder: Path, config: RunConfig, progress: RunProgress) -> None:
    """Commit round 0."""
    store = RunStore(folder)
    try:
        if store.latest() is None:
            simulation, fleet = config.simulation, config.fleet
            data = drawn_assistant(devices=1, dirichlet=simulation.dirichlet, seed=fleet.seed)
            made = start_assistant(
                data,
                fleet,
                on_progress=lambda what, done, total: progress.phase(f"{what}: {done} of {total}"),
            )
            state = FleetState(teacher=made.teacher, students=made.students)
            store.commit(0, build_method(fleet, load_public(folder, fleet)).start(state))
    finally:
        store.close()


def told(progress: RunProgress) -> Progress:
    """Shows what is being made, where that was not made before."""
    return lambda what, done, total: progress.phase(f"{what}: {done} of {total}")


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
