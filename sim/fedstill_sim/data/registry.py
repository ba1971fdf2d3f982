"""Data sets by name: what a name stands for is imported when it is read.

A data set is a function that returns a fleet's data, a FleetData or a fedstill.Fleet. It is called by name
with those of `devices`, `dirichlet`, `seed` and `examples_per_device` that it has parameters for, and without
all but `seed` where nobody says anything of them, so that its own defaults hold:

    def machines(*, devices: int = 10, seed: int = 0) -> fedstill.Fleet: ...

It is named on a command line as `module:machines`, by an entry point of the group "fedstill.datasets", or by
`DATASETS.register`. An attribute `task` says what devices learn, where that is not "arrays".
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fedstill_server.plugins import PluginError, Registry, called
from fedstill_server.tasks import TASKS

from fedstill_sim.data.fleet import FleetData

_TASKS = {"digits": "arrays", "mnist1d": "arrays", "keyboard": "text", "assistant": "utterances"}
_GIVEN = ("devices", "dirichlet", "seed", "examples_per_device")


@dataclass(frozen=True)
class DataSet:
    """What a data set's name stands for.

    Attributes:
        make: Returns the data.
        takes: Those of devices, dirichlet, seed and examples_per_device that it has parameters for.
        task: What devices learn.
    """

    make: Callable[..., object]
    takes: tuple[str, ...]
    task: str = "arrays"


def dataset_of(found: object) -> DataSet:
    """The data set that a function is.

    Raises:
        PluginError: For anything else, and for a function with other parameters that have no default.
    """
    if isinstance(found, DataSet):
        return found
    if not callable(found):
        raise PluginError(f"a {type(found).__name__}; a data set is a function that returns a fleet's data")
    parameters = inspect.signature(found).parameters.values()
    needed = [
        each.name
        for each in parameters
        if each.default is each.empty
        and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        and each.name not in _GIVEN
    ]
    if needed:
        raise PluginError(
            f"it needs {', '.join(needed)}, and is called with {', '.join(_GIVEN)}, by name, and "
            "with nothing else: give the others defaults, or write a function that does"
        )
    takes = tuple(each.name for each in parameters if each.name in _GIVEN)
    return DataSet(found, takes, getattr(found, "task", "arrays"))


class DatasetRegistry(Registry[DataSet]):
    """The data sets; of built-in ones it is known without an import what devices learn."""

    def __init__(self) -> None:
        built_in = {
            "digits": "fedstill_sim.data.digits:load_digits",
            "mnist1d": "fedstill_sim.data.mnist1d:load_mnist1d",
            "keyboard": "fedstill_sim.tasks.text.fleet:load_keyboard_fleet",
            "assistant": "fedstill_sim.tasks.utterances.fleet:load_assistant_fleet",
        }
        super().__init__("data set", group="fedstill.datasets", built_in=built_in, check=dataset_of)

    def task_of(self, name: str) -> str:
        """What devices learn from a data set; only one of one's own is imported to be asked.

        Raises:
            UnknownName: For a name that is not there.
            PluginError: For one of one's own that cannot be imported, or is no data set.
        """
        return _TASKS[name] if name in _TASKS else self.load(name).task

    def refuse(self, name: str, given: Mapping[str, object]) -> None:
        """Refuse what a data set of one's own has no parameter for.

        Args:
            name: The data set.
            given: What a person says of devices, dirichlet and examples_per_device; None is nothing.

        Raises:
            PluginError: Naming the first option that it does not take.
        """
        if name in _TASKS and given.get("examples_per_device") is None:
            return
        takes = self.load(name).takes
        for each, value in given.items():
            if value is not None and each not in takes:
                told = ", ".join(map(_flag, takes)) or "no option"
                raise PluginError(f"{self.kind}: {name} takes no {_flag(each)}; it takes {told}")

    def read(
        self,
        name: str,
        *,
        devices: int | None,
        dirichlet: float | None,
        seed: int,
        examples_per_device: int | None = None,
    ) -> FleetData:
        """The data of a fleet, whose devices have no student families yet.

        Raises:
            FedstillError: For a name that is not there, and for what its own code raises.
        """
        found = self.load(name)
        given = {
            "devices": devices,
            "dirichlet": dirichlet,
            "seed": seed,
            "examples_per_device": examples_per_device,
        }
        chosen = {each: given[each] for each in found.takes if given[each] is not None}
        made = called(f"{self.kind}: {name}", lambda: found.make(**chosen))
        data = made if isinstance(made, FleetData) else getattr(made, "data", None)
        if not isinstance(data, FleetData):
            raise PluginError(
                f"{self.kind}: {name}: it returns a {type(made).__name__}, and neither a fedstill.Fleet "
                "nor a FleetData"
            )
        if name not in _TASKS:
            _check_labels(name, data, found.task)
        return data


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _check_labels(name: str, data: FleetData, task: str) -> None:
    """Refuse data whose labels do not stand where those of the task do."""
    form = TASKS.load(task, where=f"data set: {name}: task").form
    if data.target.is_single and data.label_shape != form.label_shape(data.input_shape):
        raise PluginError(
            f"data set: {name}: its labels are of shape {list(data.label_shape)} an example, and those of "
            f"its task {task!r} of {list(form.label_shape(data.input_shape))}"
        )


DATASETS = DatasetRegistry()
"""Every data set that has a name."""
