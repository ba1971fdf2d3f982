"""What a simulated fleet may learn: one room for each task.

Nothing of torch is imported here, nor by what a name is found to stand for.
"""

from __future__ import annotations

from pathlib import Path

from fedstill_server.plugins import PluginError, Registry

from fedstill_sim.data.fleet import FleetData
from fedstill_sim.data.registry import DATASETS
from fedstill_sim.tasks.interface import DataRequest, SimulatedTask

_ARRAYS = "arrays"


def _simulated_task(found: object) -> type[SimulatedTask]:
    if not (isinstance(found, type) and issubclass(found, SimulatedTask)):
        raise PluginError("it is no subclass of fedstill_sim.tasks.interface.SimulatedTask")
    return found


SIMULATIONS: Registry[type[SimulatedTask]] = Registry(
    "simulated task",
    group="fedstill.simulations",
    built_in={
        _ARRAYS: "fedstill_sim.tasks.arrays:ArraySimulation",
        "text": "fedstill_sim.tasks.text.simulation:TextSimulation",
        "utterances": "fedstill_sim.tasks.utterances.simulation:UtteranceSimulation",
        "subwords": "fedstill_sim.tasks.subwords.simulation:TextClassSimulation",
        "next-subwords": "fedstill_sim.tasks.subwords.next_simulation:NextSubwordSimulation",
    },
    check=_simulated_task,
)


def simulation_of(task: str) -> SimulatedTask:
    """The simulator's side of a task; of one that has none of its own, that of arrays."""
    return SIMULATIONS.load(task if task in SIMULATIONS else _ARRAYS)(task=task)


def task_of_data(dataset: str | None, folder: Path | None) -> str:
    """The name of the task that a data set, or a folder of one's own, is of; arrays where none says so."""
    if dataset is not None:
        return DATASETS.task_of(dataset)
    if folder is not None:
        for name in SIMULATIONS:  # built-in ones first: the data of theirs are nobody else's
            if simulation_of(name).is_at(folder):
                return name
    return _ARRAYS


def load_data(wanted: DataRequest, *, task: str) -> FleetData:
    """The data of a fleet that learns a task: of a folder, or of a data set.

    Raises:
        FedstillError: For data that no fleet can be made of.
    """
    return simulation_of(task).load(wanted)
