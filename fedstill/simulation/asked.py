"""What a run is asked for, as objects and names, made into a configuration before anything is trained."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedstill_proto.errors import FedstillError, unknown_name
from fedstill_server.config.codec import ConfigError
from fedstill_server.families import FAMILIES
from fedstill_sim.callbacks.interface import Callback, RoundFunction
from fedstill_sim.config import RunConfig, resolve
from fedstill_sim.data.columns.families import FamilyColumn
from fedstill_sim.data.fleet import MOST_LISTED, FleetData, FleetDataError
from fedstill_sim.progress import RunProgress, show_progress
from fedstill_sim.request import RunRequest
from fedstill_sim.results.run_result import RoundResult
from fedstill_sim.tasks import simulation_of, task_of_data
from fedstill_sim.tasks.interface import SimulatedTask
from rich.console import Console

from fedstill.chosen import (
    AnyMethod,
    as_students,
    chosen_attack,
    chosen_method,
    chosen_teacher,
    family_of_student,
)
from fedstill.fleet import Fleet
from fedstill.models import Student

if TYPE_CHECKING:
    from fedstill.chosen import AnyTeacher
    from fedstill.models import Network

OnRound = Callable[[RoundResult], object] | Callback

_FLAG = re.compile(r"(?<![\w-])--(?:no-)?([a-z][a-z-]*)")

_NAMED_APART = {
    *("method", "method_options", "dataset", "data", "devices", "dirichlet", "families"),
    *("teacher", "teacher_trained", "rounds", "seed"),
}
OPTIONS = tuple(field.name for field in fields(RunRequest) if field.name not in _NAMED_APART)
"""The options of a run that `fedstill.simulate` takes by name, besides its own parameters."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where a run lies, what is shown of it and what does its work, which is no matter of its result."""

    out: Path | str | None = None
    force: bool = False
    progress: bool = False
    executor: Executor | None = None

    @contextmanager
    def shown(self) -> Iterator[RunProgress]:
        """The progress on stderr, or none."""
        with show_progress(Console(stderr=True), quiet=not self.progress) as progress:
            yield progress


def split_options(options: Mapping[str, Any]) -> tuple[Surroundings, dict[str, Any]]:
    """A run's surroundings, and its own options.

    Raises:
        UnknownName: For an option that there is not.
    """
    around = [field.name for field in fields(Surroundings)]
    for name in options:
        if name not in (*around, *OPTIONS, "rounds", "seed"):
            raise unknown_name("simulate: option", name, [*around, *OPTIONS])
    where = Surroundings(**{name: value for name, value in options.items() if name in around})
    return where, {name: value for name, value in options.items() if name not in around}


def asked_run(
    fleet: Fleet,
    *,
    students: Sequence[Student | Network],
    method: AnyMethod,
    teacher: AnyTeacher | None,
    options: Mapping[str, Any],
) -> tuple[RunRequest, FleetData]:
    """What a run is asked for, and its data with a family for each device.

    Raises:
        FedstillError: Naming the argument that does not fit.
    """
    source, data, seed = fleet.source, fleet.data, options["seed"]
    if simulation_for(fleet).seeds_start and source.seed != seed:
        raise ConfigError(
            f"seed: {seed}, but the fleet was made with seed={source.seed}; of {source.dataset} both are the "
            "same: make the fleet with it, too"
        )
    choice = chosen_method(method, where="method")
    places, data = with_students(data, as_students(students) or as_students(usual_families(fleet)))
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in options.items()
    }
    baselines = options.get("baselines", ())
    given["baselines"] = tuple(chosen_method(one, where="baselines").name for one in baselines)
    given |= chosen_attack(options.get("attack"))
    request = RunRequest(
        method=choice.name,
        dataset=source.dataset,
        data=source.folder,
        dirichlet=source.dirichlet,
        families=tuple(f"{name}={place}" if place else name for name, place in places.items()),
        **chosen_teacher(teacher),
        method_options=dict(choice.options),
        **given,
    )
    return request, data


def configured(request: RunRequest, data: FleetData) -> RunConfig:
    """The whole configuration of a run."""
    config = resolve(request, data)
    if request.dataset is not None or request.data is not None:
        return config
    # The command that would ask for the same names no data.
    simulation = dataclasses.replace(config.simulation, command="fedstill.simulate, of arrays in memory")
    return dataclasses.replace(config, simulation=simulation)


@contextmanager
def argument_names() -> Iterator[None]:
    """Errors that name options of commands, as in "--learning-rate", name the arguments instead."""
    try:
        yield
    except FedstillError as error:
        error.args = tuple(
            _FLAG.sub(_argument, part) if isinstance(part, str) else part for part in error.args
        )
        raise


def usual_families(fleet: Fleet) -> tuple[str, ...]:
    """The families of a fleet whose students nobody names."""
    return simulation_for(fleet).families


def simulation_for(fleet: Fleet) -> SimulatedTask:
    """The simulator's side of what a fleet's data are of."""
    folder = None if fleet.source.folder is None else Path(fleet.source.folder)
    return simulation_of(task_of_data(fleet.source.dataset, folder))


def with_students(data: FleetData, students: Sequence[Student]) -> tuple[dict[str, str], FleetData]:
    """The families by name with the place of each own one, and the data with a family for each device."""
    if not students:
        raise FleetDataError(
            "students: none given; name a family, such as 'mlp-64-32', or give a class of torch modules"
        )
    places: dict[str, str] = {}
    dealt: list[str] = []
    of_device: dict[str, str] = {}
    for student in students:
        name, place = family_of_student(student)
        if name in places:
            raise FleetDataError(f"students: {name!r} is named twice; give one of them another name=")
        places[name] = place
        for device in student.devices:
            if device not in data.device_names:
                raise unknown_name(f"students: {name}: device", device, data.device_names[:MOST_LISTED])
            if device in of_device:
                raise FleetDataError(f"students: device {device!r} has both {of_device[device]} and {name}")
            of_device[device] = name
        if not student.devices:
            dealt.append(name)
    for device, family in zip(data.device_names, data.families, strict=True):
        if family and device not in of_device:  # as the data say
            FAMILIES.require([family], where=f"family of {device}")
            of_device[device] = family
            places.setdefault(family, "")
    rest = [device for device in data.device_names if device not in of_device]
    if rest and not dealt:
        raise FleetDataError(f"students: none is left for device {rest[0]!r}; give one without devices=")
    if dealt and not rest and not any(data.families):
        raise FleetDataError(f"students: no device is left for {dealt[0]!r}; every device has another one")
    of_device |= {device: dealt[turn % len(dealt)] for turn, device in enumerate(rest)}
    families = FamilyColumn.of([of_device[device] for device in data.device_names])
    used = {name: place for name, place in places.items() if name in families.names}
    return used, dataclasses.replace(data, families=families)


def chosen_callbacks(given: OnRound | Sequence[OnRound] | None) -> tuple[Callback, ...]:
    """Callbacks of functions and callbacks, of one or of several."""
    each = () if given is None else given if isinstance(given, Sequence) else (given,)
    for one in each:
        if not (isinstance(one, Callback) or callable(one)):
            raise ConfigError(f"on_round: {one!r} is neither a function nor a callback")
    return tuple(one if isinstance(one, Callback) else RoundFunction(one) for one in each)


def _argument(flag: re.Match[str]) -> str:
    """The argument of simulate for an option of a command."""
    own = {"families": "students", "lr": "learning_rate", "set": "method", "set-attack": "attack"}
    return own.get(flag[1], flag[1].replace("-", "_"))
