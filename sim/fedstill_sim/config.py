"""What a run is resolved to: the fleet's part belongs to the server, the simulation's part is here.

Both are written to <run>/config.json before anything starts, and a resumed run reads nothing else. What no
option decides is decided in here, so that config.json is complete.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.package.constraints.classes import class_numbers
from fedstill_proto.package.constraints.constraints import read_constraints
from fedstill_proto.package.input_rule import InputRule
from fedstill_proto.package.target_labels import target_kind
from fedstill_server.config.choice import Choice
from fedstill_server.config.codec import from_json, to_json
from fedstill_server.config.fleet import ConfigError, FleetConfig
from fedstill_server.data.examples import Examples
from fedstill_server.methods import (
    Method,
    build_method,
    completed,
    distils,
    method_of,
    shared_options,
)
from fedstill_server.methods.checks import check_learns, checked_fleet
from fedstill_server.resolve import FleetFacts, check_public
from fedstill_server.resolve import resolve as resolve_fleet
from fedstill_server.tasks import task_of

from fedstill_sim.attacks.registry import AttackPlan
from fedstill_sim.availability import Availability
from fedstill_sim.data.columns.samples import measured_number
from fedstill_sim.data.fleet import GLOBAL_TEST_FILE, PUBLIC_SET_FILE, FleetData
from fedstill_sim.data.own_data import OwnDataOptions
from fedstill_sim.energy.coefficients import EnergyRule
from fedstill_sim.folder import CONFIG_FILE, DATA_FOLDER
from fedstill_sim.privacy.budget import rule_for
from fedstill_sim.request import (
    COMING_AND_GOING,
    MOST_KEEPING,
    RunRequest,
    baselines_of,
    command_line,
)
from fedstill_sim.results.json_files import read_json, write_json
from fedstill_sim.stacks.eligible import AUTO, STACKS, FleetBehaviour, chosen_path
from fedstill_sim.tasks import load_data
from fedstill_sim.tasks.interface import DataRequest, Defaults
from fedstill_sim.traces.generated import GENERATED
from fedstill_sim.traces.rule import TraceRule

TRADEOFF_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 0.9)
ASYNC_SPEED_SPREAD = 0.5  # of the logarithm: of 20 devices, the fastest is about 6 times the slowest


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """What runs the devices; never a matter of the result, but for the last bits of a GPU's.

    processes: None is one a core. device: what stacks are computed on, "cpu" or "cuda". cluster: the address
    of a Ray cluster; None is this machine. path: how answers come together, see stacks/eligible.py.
    """

    name: str = "cohort"
    processes: int | None = None
    cluster: str | None = None
    path: str = AUTO
    device: str = "cpu"


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
    owner_share: float
    baselines: tuple[str, ...]
    tradeoff: tuple[float, ...]
    participation: Availability | None = None  # None: every device is there, and time does not pass
    trace: TraceRule | None = None  # what stands in its place where devices live by a trace
    engine: EngineConfig = dataclasses.field(default_factory=EngineConfig)
    attack: AttackPlan | None = None  # None: every device is honest
    normalize: str = "auto"
    channels: str = "auto"
    # Whatever the method is; otherwise the share is 0 where students know their owners.
    owner_share_asked: bool = False
    reading: OwnDataOptions = dataclasses.field(default_factory=OwnDataOptions)
    energy: EnergyRule = dataclasses.field(default_factory=EnergyRule)
    examples_per_device: int | None = None  # drawn with replacement; None is what suits the data
    evaluate_devices: int | None = None  # how many are measured at most; None is all
    keep_students: str = "all"  # all, sample or none: whose students a round leaves
    constraints: str = ""  # constraints.json of the packages that it leaves; "" for none


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A run's whole configuration."""

    fleet: FleetConfig
    simulation: SimulationConfig

    @property
    def owner_share(self) -> float:
        """How much of its label prior a device adds to its answers (see the client's label_prior.py)."""
        known = method_of(self.fleet.method).knows_owner and not self.simulation.owner_share_asked
        return 0.0 if known else self.simulation.owner_share

    def path(self, method: Method) -> str:
        """How answers come together under a bound method: "stacks" or "messages".

        Raises:
            ConfigError: It is asked for stacks, and cannot be.
        """
        simulation = self.simulation
        behaviour = FleetBehaviour(
            engine=simulation.engine.name,
            lies=simulation.attack is not None,
            takes_time=simulation.participation is not None or simulation.trace is not None,
        )
        return chosen_path(simulation.engine.path, self.fleet, behaviour, method)

    def to_json(self) -> dict[str, Any]:
        """As in config.json."""
        return {"fleet": self.fleet.to_json(), "simulation": to_json(self.simulation)}


def requested_data(request: RunRequest) -> FleetData:
    """The data that a request names, read anew."""
    if request.dataset is None and request.data is None:
        raise ConfigError(
            "the data of this run are in memory; name a data set, or a folder, to read them anew"
        )
    wanted = DataRequest(
        dataset=request.dataset,
        folder=None if request.data is None else Path(request.data),
        devices=request.devices,
        dirichlet=request.dirichlet,
        seed=request.seed,
        families=tuple(request.named_families) or request.simulation.families,
        reading=request.reading,
        normalize=request.scaling,
        channels=request.channels,
        target=target_kind(request.target, where="--target"),
        examples_per_device=request.examples_per_device,
    )
    return load_data(wanted, task=request.task_name)


def configured_data(config: RunConfig) -> FleetData:
    """The data that a configuration names, read anew."""
    return load_data(data_request(config), task=config.fleet.task.name)


def data_request(config: RunConfig) -> DataRequest:
    """Which data a configuration names."""
    simulation = config.simulation
    return DataRequest(
        dataset=simulation.dataset,
        folder=None if simulation.data is None else Path(simulation.data),
        devices=simulation.devices,
        dirichlet=simulation.dirichlet,
        seed=config.fleet.seed,
        families=config.fleet.families,
        reading=simulation.reading,
        normalize=simulation.normalize,
        channels=simulation.channels,
        target=config.fleet.target.kind,
        examples_per_device=simulation.examples_per_device,
    )


def resolve(request: RunRequest, data: FleetData) -> RunConfig:
    """The request and its data set's defaults as a complete configuration."""
    defaults = request.simulation.defaults(request.dataset)
    fleet = _named(resolve_fleet(request, _facts(request, data, defaults)))
    plan = request.attack_plan
    for baseline in baselines_of(request):
        check_public(baseline, len(data.public_x), where="--baselines")
        check_learns(baseline, data.target.kind, where="--baselines")
    if data.target.is_regression and request.engine == "flower":
        raise ConfigError("--engine: 'flower' is not cohort, the engine of target regression")
    if plan is not None:
        if not data.target.is_single:
            raise ConfigError(
                f"--attack: devices lie about classes, and the target is {data.target.kind.value}"
            )
        plan.count(data.devices)
    if request.tradeoff:
        _check_tradeoff(defaults, fleet, attacked=plan is not None)
    simulation = SimulationConfig(
        command=command_line(request),
        dataset=request.dataset or data.name,
        data=request.data,
        devices=data.devices,
        dirichlet=request.dirichlet,
        owner_share=_chosen(request.owner_share, defaults.owner_share),
        owner_share_asked=request.owner_share is not None,
        baselines=baselines_of(request),
        tradeoff=TRADEOFF_WEIGHTS if request.tradeoff else (),
        participation=None if request.trace else _participation(request),
        trace=_trace(request, fleet, data.devices),
        engine=EngineConfig(
            name=request.engine,
            processes=request.processes,
            cluster=request.cluster,
            path=request.path,
            device=request.stacks_device,
        ),
        attack=plan,
        reading=request.reading,
        normalize=request.scaling,
        channels=request.channels,
        examples_per_device=request.examples_per_device,
        evaluate_devices=measured_number(request.evaluate_devices),
        keep_students=_keeping(request, fleet, devices=data.devices),
        constraints=_constraints(request, data),
    )
    config = RunConfig(fleet=fleet, simulation=simulation)
    if config.path(build_method(fleet, Examples(data.public_x, data.public_y))) == STACKS:
        return config
    return RunConfig(fleet=fleet, simulation=_by_messages(simulation, request))


def _constraints(request: RunRequest, data: FleetData) -> str:
    """constraints.json of the packages; raises ConfigError for a file that is none, or fits no class."""
    if request.suppress is None:
        return ""
    try:
        given = read_constraints(Path(request.suppress))
        if data.global_y.ndim == 1 or not data.target.is_single:  # no labels at each place, as text has
            count = data.target.size or data.classes
            class_numbers(given, classes=count, names=data.class_names, strict=True)
    except (WireError, InvalidValue) as error:
        raise ConfigError(f"--suppress: {error}") from None
    return given.with_named_classes(data.class_names).to_json().decode()


def _by_messages(simulation: SimulationConfig, request: RunRequest) -> SimulationConfig:
    """Where answers travel as messages, all devices are measured, and all keep their students."""
    asked = request.evaluate_devices is not None and simulation.evaluate_devices is not None
    if asked and (simulation.evaluate_devices or 0) < simulation.devices:
        raise ConfigError(
            f"--evaluate-devices: {request.evaluate_devices} of {simulation.devices} devices cannot be, "
            "where answers travel as messages (see --path); take all"
        )
    if request.keep_students in ("sample", "none"):
        raise ConfigError(
            f"--keep-students: {request.keep_students!r} cannot be, where answers travel as messages (see "
            "--path); take all"
        )
    return dataclasses.replace(simulation, evaluate_devices=None, keep_students="all")


def _keeping(request: RunRequest, fleet: FleetConfig, *, devices: int) -> str:
    """Whose students are kept, as asked, or as the method needs them."""
    needed = goes_on(fleet)
    if request.keep_students not in ("auto", "all") and needed:
        raise ConfigError(
            f"--keep-students: {request.keep_students!r} cannot be: under method {fleet.method.name!r} a "
            "device's next round goes on from its own student, so that all are kept; take all, or --rounds 1"
        )
    if request.keep_students != "auto":
        return request.keep_students
    return "all" if needed or devices <= MOST_KEEPING else "sample"


def goes_on(fleet: FleetConfig) -> bool:
    """Whether devices need the students that their last round left, as they do from the second round on."""
    return fleet.rounds > 1 and method_of(fleet.method).goes_on


def baseline_config(config: RunConfig, method: str) -> RunConfig:
    """The same fleet under another method, as a run in <run>/baselines/<method>."""
    up, privacy = Path("..") / "..", rule_for(method, config.fleet.privacy)
    fleet = dataclasses.replace(
        config.fleet,
        method=_beside(config.fleet, method),
        privacy=privacy,
        secure_sums=None if privacy is None else config.fleet.secure_sums,
        public_set=str(up / config.fleet.public_set),
        test_set=None if config.fleet.test_set is None else str(up / config.fleet.test_set),
    )
    simulation = dataclasses.replace(config.simulation, baselines=(), tradeoff=())
    if simulation.engine.path == STACKS:  # which one method can, and another cannot
        simulation = dataclasses.replace(simulation, engine=dataclasses.replace(simulation.engine, path=AUTO))
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
    simulation, distilled = request.simulation, taught and request.start in (None, "distilled")
    made = simulation.is_made(own=request.data is not None, distilled=distilled)
    task = simulation.server_task(data)
    return FleetFacts(
        run="0" * 8,
        task=task,
        families=data.families.names,
        classes=data.classes,
        input_shape=data.input_shape,
        public_rows=len(data.public_x),
        labelled=labelled,
        public_y=data.public_y,
        public_set=f"{DATA_FOLDER}/{PUBLIC_SET_FILE}",
        test_set=f"{DATA_FOLDER}/{GLOBAL_TEST_FILE}",
        teacher=task.default_teacher(len(data.public_x), made=made),
        rounds=defaults.rounds,
        evaluate_every=defaults.evaluate_every,
        simulated=True,
        input_rule=_input_rule(data, amounts=task.form.amounts),
        class_names=data.class_names,
        columns=data.columns,
        target=data.target,
    )


def _input_rule(data: FleetData, *, amounts: bool) -> InputRule:
    """The data's; of data that nobody made a rule of, one that says what magnitudes are usual."""
    if not amounts or data.input_rule != InputRule() or data.columns is not None or not len(data.public_x):
        return data.input_rule
    return InputRule.of(data.public_x, normalize="none", channels="first")


def _participation(request: RunRequest) -> Availability | None:
    """As asked for; in mode async devices differ in speed, unless the request says how much."""
    asked = {name: value for name in COMING_AND_GOING if (value := getattr(request, name)) is not None}
    if request.mode == "async" and request.engine == "cohort":
        asked = {"speed_spread": ASYNC_SPEED_SPREAD, **asked}
    return Availability(**asked) if asked else None


def _check_tradeoff(defaults: Defaults, fleet: FleetConfig, *, attacked: bool) -> None:
    """Refuse to weigh personal against global accuracy where devices weigh nothing."""
    reasons = {
        "in this task nothing is weighed": not defaults.tradeoff,
        f"under {fleet.method.name} devices learn from no soft labels": not distils(fleet.method.name),
        "with soft_weight 0 devices learn from no soft labels": fleet.training.soft_weight == 0,
        "devices that lie would personalize, too": attacked,  # every device does there
    }
    for reason, holds in reasons.items():
        if holds:
            raise ConfigError(f"--tradeoff: {reason}; leave it out")


def _trace(request: RunRequest, fleet: FleetConfig, devices: int) -> TraceRule | None:
    """The trace as asked for, read and checked: a hole in it is told before anything is trained."""
    if request.trace is None:
        return None
    asked: dict[str, Any] = {
        "when": request.trace_when,
        "interrupted": request.interrupted,
        "rounds_a_day": request.rounds_a_day,
        "least_devices": request.least_devices,
        "round_pause": request.round_pause,
        "device_seconds": request.device_seconds,
        "setup_seconds": request.setup_seconds,
    }
    source = request.trace
    if source.partition(":")[0] != GENERATED:
        source = str(Path(source).absolute())
    rule = TraceRule(source=source, **{name: value for name, value in asked.items() if value is not None})
    trace = rule.trace(devices, seed=fleet.seed)
    rule.check(trace, fleet.cohort)
    return dataclasses.replace(rule, digest=trace.digest())


def _named(fleet: FleetConfig) -> FleetConfig:
    """Named by what it is to do: the same configuration is the same run, wherever its folder lies."""
    document = json.dumps(dataclasses.replace(fleet, run="0" * 8).to_json(), sort_keys=True)
    return dataclasses.replace(fleet, run=hashlib.sha256(document.encode()).hexdigest()[:8])


def _chosen(value: Any, default: Any) -> Any:
    return default if value is None else value
