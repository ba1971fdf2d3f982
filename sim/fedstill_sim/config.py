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

from fedstill_proto.messages import Optimizer, TrainingPlan
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_server.config.choice import Choice
from fedstill_server.config.codec import from_json, to_json
from fedstill_server.config.fleet import (
    AsyncRule,
    CohortRule,
    ConfigError,
    FleetConfig,
    TeacherConfig,
)
from fedstill_server.config.options import options_of
from fedstill_server.methods import METHODS, completed, distils
from fedstill_server.methods.checks import checked_fleet
from fedstill_server.tasks import TASKS, Task, choice_of, task_of

from fedstill_sim.availability import Availability
from fedstill_sim.data.fleet import GLOBAL_TEST_FILE, PUBLIC_SET_FILE, VOCABULARY_FILE, FleetData
from fedstill_sim.folder import CONFIG_FILE, DATA_FOLDER
from fedstill_sim.privacy.budget import privacy_rule, rule_for
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
    encoding: Encoding = Encoding.UINT8
    label_prior: float = 1.0
    start: str = "distilled"


DEFAULTS = {
    "mnist1d": Defaults(rounds=40),
    "assistant": Defaults(rounds=10),
}
TEXT_DEFAULTS = Defaults(label_prior=0.0)
TEXT_EVALUATED_EVERY = 5  # rounds


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
    fleet = _named(checked_fleet(_fleet(request, data, defaults)))
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
    own = options_of(METHODS.load(fleet.method.name))
    shared = {one.name for one in options_of(METHODS.load(method)) if one in own}
    given = {name: value for name, value in fleet.method.options.items() if name in shared}
    return completed(method, given, of_names=not task_of(fleet).form.amounts)


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


def _fleet(request: RunRequest, data: FleetData, defaults: Defaults) -> FleetConfig:
    encoding = Encoding(_chosen(request.encoding, defaults.encoding.value))
    codec = SoftLabelCodec(encoding, request.k or 0)
    suited = METHODS.load(request.method).defaults
    uplink = codec if request.encoding is not None else suited.uplink
    if request.privacy is not None and uplink.entropy:  # a length tells of what was coded
        uplink = dataclasses.replace(uplink, entropy=False, delta=False)
    labelled = data.public_y is not None
    taught = labelled and request.use_public_labels is not False
    usual = _task(request).default_work(labelled=taught)
    training = TrainingPlan(
        epochs=_chosen(request.epochs, usual.epochs),
        batch_size=_chosen(request.batch_size, usual.batch_size),
        learning_rate=_chosen(request.learning_rate, usual.learning_rate),
        optimizer=Optimizer(_chosen(request.optimizer, usual.optimizer.value)),
        temperature=_chosen(request.temperature, suited.temperature),
        soft_weight=_chosen(request.soft_weight, _chosen(usual.soft_weight, suited.soft_weight)),
        seed=request.seed,
    )
    rounds = _chosen(request.rounds, defaults.rounds)
    families, named = tuple(dict.fromkeys(data.families)), request.named_families
    return FleetConfig(
        run="0" * 8,
        method=_method(request),
        rounds=rounds,
        seed=request.seed,
        families=families,
        own_families={name: place for name, place in named.items() if place and name in families},
        classes=data.classes,
        input_shape=data.input_shape,
        public_set=f"{DATA_FOLDER}/{PUBLIC_SET_FILE}",
        test_set=f"{DATA_FOLDER}/{GLOBAL_TEST_FILE}",
        training=training,
        use_public_labels=taught,
        start=_chosen(request.start, defaults.start if labelled else "random"),
        mode=request.mode,
        cohort=_cohort(request),
        asynchronous=_asynchronous(request),
        public_batch=min(_chosen(request.public_batch, suited.public_batch), len(data.public_x)),
        public_targets=_chosen(request.public_targets, 0),
        uplink=uplink if request.uplink is None else parse_codec(request.uplink),
        downlink=_downlink(request, codec, data),
        teacher=_teacher(request, data, labelled=taught),
        evaluate_every=_chosen(request.evaluate_every, TEXT_EVALUATED_EVERY if data.is_text else 1),
        task=choice_of(_resolved_task(request, data)),
        privacy=privacy_rule(request, rounds=rounds),
    )


def _downlink(request: RunRequest, codec: SoftLabelCodec, data: FleetData) -> SoftLabelCodec:
    if request.downlink is not None:
        return parse_codec(request.downlink)
    return METHODS.load(request.method).defaults.uplink if data.is_text else codec


def _teacher(request: RunRequest, data: FleetData, *, labelled: bool) -> TeacherConfig:
    suited = METHODS.load(request.method).defaults.passes(labelled=labelled)
    round_epochs = _chosen(request.round_epochs, suited)
    drawn = request.data is None and labelled and _chosen(request.start, "distilled") == "distilled"
    usual = _task(request).default_teacher(len(data.public_x), made=data.is_text or drawn)
    return dataclasses.replace(usual, round_epochs=round_epochs)


def _task(request: RunRequest) -> Task:
    name = "text" if request.is_text else "utterances" if request.is_assistant else "arrays"
    return TASKS.load(name)()


def _resolved_task(request: RunRequest, data: FleetData) -> Task:
    if not data.is_text:
        return _task(request)
    from fedstill_server.tasks.text.task import TextTask

    from fedstill_sim.tasks.text.start import keyboard_plan

    plan = keyboard_plan(())
    return TextTask(
        vocabulary=f"{DATA_FOLDER}/{VOCABULARY_FILE}",
        step_vocabulary=data.classes,
        teacher_width=plan.width,
        teacher_state_width=plan.state_width,
    )


def _method(request: RunRequest) -> Choice:
    """The method, with those of its options that the request says."""
    names = () if request.is_text else [one.name for one in options_of(METHODS.load(request.method))]
    asked = {name: getattr(request, name) for name in names if hasattr(request, name)}
    if request.is_assistant:
        asked.pop("propagation_width", None)
    given = {name: value for name, value in asked.items() if value is not None}
    given |= dict(request.method_options)
    return completed(request.method, given, of_names=request.is_assistant)


def _cohort(request: RunRequest) -> CohortRule:
    rule = CohortRule(
        goal_count=request.goal_count,
        fraction=_chosen(request.participation, 0.0),
        over_selection=request.over_selection,
    )
    return rule if request.deadline is None else dataclasses.replace(rule, deadline_s=request.deadline)


def _asynchronous(request: RunRequest) -> AsyncRule:
    rule = AsyncRule()
    return AsyncRule(
        buffer=_chosen(request.buffer, rule.buffer),
        max_age=_chosen(request.max_age, rule.max_age),
        exponent=_chosen(request.age_exponent, rule.exponent),
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
