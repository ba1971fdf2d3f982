"""What a run is resolved to: the fleet's part belongs to the server, the simulation's part is here.

Both are written to <run>/config.json before anything starts, and a resumed run reads nothing else. What no
option decides is decided in here, so that config.json is complete.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedstill_server.config.choice import Choice
from fedstill_server.config.codec import from_json, to_json
from fedstill_server.config.fleet import ConfigError, FleetConfig
from fedstill_server.methods import completed, distils, shared_options
from fedstill_server.methods.checks import checked_fleet
from fedstill_server.resolve import FleetFacts
from fedstill_server.resolve import resolve as resolve_fleet
from fedstill_server.tasks import Task, task_of

from fedstill_sim.availability import Availability
from fedstill_sim.data.fleet import GLOBAL_TEST_FILE, PUBLIC_SET_FILE, VOCABULARY_FILE, FleetData
from fedstill_sim.folder import CONFIG_FILE, DATA_FOLDER
from fedstill_sim.privacy.budget import rule_for
from fedstill_sim.request import COMING_AND_GOING, RunRequest, command_line
from fedstill_sim.results.json_files import read_json, write_json

TRADEOFF_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 0.9)
DEFAULT_FAMILIES = ("mlp-small", "mlp-wide", "cnn")
UTTERANCE_FAMILIES = ("ngrams", "ngrams-small")
TEXT_FAMILIES = ("gru-80-224", "gru-24-96")  # the second for weak devices
DEFAULT_DEVICES = 10
ASYNC_SPEED_SPREAD = 0.5  # of the logarithm: of 20 devices, the fastest is about 6 times the slowest


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What a data set gets unless the command line says otherwise."""

    rounds: int = 20
    evaluate_every: int = 1  # rounds
    label_prior: float = 1.0


DEFAULTS = {
    "mnist1d": Defaults(rounds=40),
    "assistant": Defaults(rounds=10),
}
TEXT_DEFAULTS = Defaults(label_prior=0.0, evaluate_every=5)


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """What runs the devices; never a matter of the result. processes: None is one a core."""

    name: str = "cohort"
    processes: int | None = None


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """The simulator's part of a run's configuration.

    data: the folder of one's own data, else None. command: what asked for the run, without its folder.
    """

    command: str
    dataset: str
    data: str | None
    devices: int
    dirichlet: float | None
    label_prior: float
    baselines: tuple[str, ...]
    tradeoff: tuple[float, ...]
    participation: Availability | None = None  # None: every device is there, and time does not pass
    engine: EngineConfig = dataclasses.field(default_factory=EngineConfig)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A run's whole configuration."""

    fleet: FleetConfig
    simulation: SimulationConfig

    def to_json(self) -> dict[str, Any]:
        """As in config.json."""
        return {"fleet": self.fleet.to_json(), "simulation": to_json(self.simulation)}


def requested_data(request: RunRequest) -> FleetData:
    """The data that a request names, read anew."""
    if request.dataset is None and request.data is None:
        raise ConfigError(
            "the data of this run are in memory; name a data set, or a folder, to read them anew"
        )
    return _load(
        request.dataset,
        data=request.data,
        devices=request.devices,
        dirichlet=request.dirichlet,
        seed=request.seed,
        families=tuple(request.named_families) or None,
        is_text=request.is_text,
        is_assistant=request.is_assistant,
    )


def configured_data(config: RunConfig) -> FleetData:
    """The data that a configuration names, read anew."""
    return _load(
        config.simulation.dataset,
        data=config.simulation.data,
        devices=config.simulation.devices,
        dirichlet=config.simulation.dirichlet,
        seed=config.fleet.seed,
        families=config.fleet.families,
        is_text=config.fleet.task.name == "text",
        is_assistant=config.fleet.task.name == "utterances",
    )


def _load(
    dataset: str | None,
    *,
    data: str | None,
    devices: int | None,
    dirichlet: float | None,
    seed: int,
    families: Sequence[str] | None,
    is_text: bool,
    is_assistant: bool,
) -> FleetData:
    if is_text:
        from fedstill_sim.tasks.text.fleet import load_keyboard_fleet

        folder = None if data is None else Path(data)
        return load_keyboard_fleet(folder, devices=devices, seed=seed, families=families or TEXT_FAMILIES)
    if is_assistant:
        from fedstill_sim.tasks.utterances.fleet import load_assistant_fleet

        return load_assistant_fleet(
            None if data is None else Path(data),
            devices=devices,
            dirichlet=dirichlet,
            seed=seed,
            families=families or UTTERANCE_FAMILIES,
        )
    devices, families = devices or DEFAULT_DEVICES, families or DEFAULT_FAMILIES
    if data is not None:
        from fedstill_sim.data.folder import load_folder

        return load_folder(Path(data), families=families)
    if dataset == "mnist1d":
        from fedstill_sim.data.mnist1d import load_mnist1d

        return load_mnist1d(devices=devices, dirichlet=dirichlet, seed=seed, families=families)
    from fedstill_sim.data.digits import load_digits

    return load_digits(devices=devices, dirichlet=dirichlet, seed=seed, families=families)


def resolve(request: RunRequest, data: FleetData) -> RunConfig:
    """The request and its data set's defaults as a complete configuration."""
    kind = "assistant" if request.is_assistant else request.dataset or ""
    defaults = TEXT_DEFAULTS if data.is_text else DEFAULTS.get(kind, Defaults())
    fleet = _named(resolve_fleet(request, _facts(request, data, defaults)))
    own = request.data is not None
    simulation = SimulationConfig(
        command=command_line(request),
        dataset=data.name,
        data=request.data,
        devices=data.devices,
        dirichlet=None if own else request.dirichlet,
        label_prior=_chosen(request.label_prior, defaults.label_prior),
        baselines=tuple(name for name in request.baselines if name != request.method),
        tradeoff=TRADEOFF_WEIGHTS if request.tradeoff and _distils(fleet) and not data.is_text else (),
        participation=_participation(request),
        engine=EngineConfig(name=request.engine, processes=request.processes),
    )
    return RunConfig(fleet=fleet, simulation=simulation)


def baseline_config(config: RunConfig, method: str) -> RunConfig:
    """The same fleet under another method, as a run in <run>/baselines/<method>."""
    up = Path("..") / ".."
    fleet = dataclasses.replace(
        config.fleet,
        method=_beside(config.fleet, method),
        privacy=rule_for(method, config.fleet.privacy),
        public_set=str(up / config.fleet.public_set),
        test_set=None if config.fleet.test_set is None else str(up / config.fleet.test_set),
    )
    simulation = dataclasses.replace(config.simulation, baselines=(), tradeoff=())
    return RunConfig(fleet=_named(fleet), simulation=simulation)


def _beside(fleet: FleetConfig, method: str) -> Choice:
    """A baseline's method: with the values of those options that it shares with the run's own."""
    return completed(method, shared_options(method, fleet.method), of_names=not task_of(fleet).form.amounts)


def write_config(config: RunConfig, folder: Path) -> None:
    """Write config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG_FILE, config.to_json())


def read_config(folder: Path) -> RunConfig:
    """Read config.json; says which setting is wrong when one is."""
    path = folder / CONFIG_FILE
    document = read_json(path)
    if not isinstance(document, dict) or not {"fleet", "simulation"} <= document.keys():
        raise ConfigError(f"{path}: not a run's configuration; it needs `fleet` and `simulation`")
    where = f"{path}: fleet"
    return RunConfig(
        fleet=checked_fleet(FleetConfig.from_json(document["fleet"], where=where), where=where),
        simulation=from_json(SimulationConfig, document["simulation"], where=f"{path}: simulation"),
    )


def _facts(request: RunRequest, data: FleetData, defaults: Defaults) -> FleetFacts:
    labelled = data.public_y is not None
    taught = labelled and request.use_public_labels is not False
    drawn = request.data is None and taught and request.start in (None, "distilled")
    return FleetFacts(
        run="0" * 8,
        task=_task(request, data),
        families=tuple(dict.fromkeys(data.families)),
        classes=data.classes,
        input_shape=data.input_shape,
        public_rows=len(data.public_x),
        labelled=labelled,
        public_set=f"{DATA_FOLDER}/{PUBLIC_SET_FILE}",
        test_set=f"{DATA_FOLDER}/{GLOBAL_TEST_FILE}",
        teacher=request.task.default_teacher(len(data.public_x), made=data.is_text or drawn),
        rounds=defaults.rounds,
        evaluate_every=defaults.evaluate_every,
        simulated=True,
    )


def _task(request: RunRequest, data: FleetData) -> Task:
    if not data.is_text:
        return request.task
    from fedstill_server.tasks.text.task import TextTask

    from fedstill_sim.tasks.text.start import keyboard_plan

    plan = keyboard_plan(())
    return TextTask(
        vocabulary=f"{DATA_FOLDER}/{VOCABULARY_FILE}",
        step_vocabulary=data.classes,
        teacher_width=plan.width,
        teacher_state_width=plan.state_width,
    )


def _participation(request: RunRequest) -> Availability | None:
    """As asked for; in mode async devices differ in speed, unless the request says how much."""
    asked = {name: value for name in COMING_AND_GOING if (value := getattr(request, name)) is not None}
    if request.mode == "async" and request.engine == "cohort":
        asked = {"speed_spread": ASYNC_SPEED_SPREAD, **asked}
    return Availability(**asked) if asked else None


def _distils(fleet: FleetConfig) -> bool:
    """Whether devices learn from soft labels at all."""
    return distils(fleet.method.name) and fleet.training.soft_weight > 0


def _named(fleet: FleetConfig) -> FleetConfig:
    """Named by what it is to do: the same configuration is the same run, wherever its folder lies."""
    document = json.dumps(dataclasses.replace(fleet, run="0" * 8).to_json(), sort_keys=True)
    return dataclasses.replace(fleet, run=hashlib.sha256(document.encode()).hexdigest()[:8])


def _chosen(value: Any, default: Any) -> Any:
    return default if value is None else value
