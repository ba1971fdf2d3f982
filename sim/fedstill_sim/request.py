"""What a person asked for on the command line, before data and defaults turn it into a configuration."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedstill_proto.errors import unknown_name
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.options import option, options_of
from fedstill_server.config.run_options import FLEET, LOCAL, RunOptions, read_settings
from fedstill_server.families import FAMILIES
from fedstill_server.families.places import split_name
from fedstill_server.methods import METHODS, methods_for, noised_methods
from fedstill_server.resolve import check_names
from fedstill_server.tasks import TASKS, Task, task_for

from fedstill_sim.attacks.registry import ATTACKS, AttackPlan, check_attack, planned_attack, suits
from fedstill_sim.cluster.connection import check_address
from fedstill_sim.data.columns.samples import MOST_MEASURED, measured_number
from fedstill_sim.data.own_data import OwnDataOptions
from fedstill_sim.data.registry import DATASETS
from fedstill_sim.stacks.eligible import AUTO, PATHS
from fedstill_sim.tasks import simulation_of, task_of_data
from fedstill_sim.tasks.interface import SimulatedTask
from fedstill_sim.traces.columns import INTERRUPTED, WHEN
from fedstill_sim.traces.generated import GENERATED, parse_generator

DEFAULT_DATASET = "digits"
MOST_KEEPING = 20_000
"""Devices that all keep their students where nobody says."""
DEFAULT_BASELINES = ("local", "fedavg")

# Panels of `--help`, beside those of every run.
COMING, MACHINE, OUTPUT = ("Devices that come, go and dawdle (in virtual time)", "This machine", "Output")
TRACED = "Devices that live by a trace (in virtual time)"
LYING = "Devices that lie"

# Fields of fedstill_sim.availability.Availability.
COMING_AND_GOING = (
    "stragglers",
    "slowdown",
    "speed_spread",
    "device_seconds",
    "vanish",
    "away",
    "away_rounds",
    "join_late",
)
# What says by which trace devices live; of these above, device_seconds may stand beside it.
TRACE_OPTIONS = (
    "trace",
    "trace_when",
    "interrupted",
    "rounds_a_day",
    "least_devices",
    "round_pause",
    "setup_seconds",
)
_NEVER_A_MATTER_OF_THE_RESULT = ("processes", "cluster", "path")


class RequestError(ConfigError):
    """The command line asks for something that does not exist or does not fit together."""


@dataclass(frozen=True, kw_only=True)
class RunRequest(RunOptions, OwnDataOptions):
    """One run as asked for: what every run may be asked, and what only simulations are.

    None leaves the choice to the data set's defaults (see fedstill_sim.config). Without a data set and a
    folder, the data are in memory.
    """

    dataset: str | None = option(
        None,
        "digits, mnist1d, keyboard or assistant, without a download, or your own as module:name, or a file "
        "as with --data; leave it out with --data.",
        panel=FLEET,
        flag="DATASET",
    )
    data: str | None = option(
        None,
        "Your own data: a folder with an .npz, a table or a folder of pictures for each device, beside "
        "public and test, or a table (.csv, .parquet); or of a keyboard, <user>.txt, a text a line, and "
        "public.txt; or of an assistant, <user>.csv and public.csv (text,label); or of texts for models of "
        "Hugging Face (--families hf:...), a table of text,label.",
        panel=FLEET,
        metavar="FOLDER|FILE",
    )
    devices: int | None = option(
        None,
        "Virtual devices; by default 10, 100 for the keyboard, one writer each, 20 for the assistant.",
        least=1,
        panel=FLEET,
    )
    dirichlet: float | None = option(
        None,
        "Skew of classes over devices: 0.1 is strong, 100 hardly any. Without it, up to ten devices are "
        "natural writers.",
        above=0,
        panel=FLEET,
    )
    examples_per_device: int | None = option(
        None,
        "Training examples of each device, drawn from the data set's pool with replacement, and a third as "
        "many to test it on; by default 32 to 64 once the pool has no 32 for each.",
        least=2,
        panel=FLEET,
    )
    owner_share: float | None = option(
        None,
        "Share of an app's questions that are like the owner's examples, and not like everyone's: how much a "
        "device weighs in how often it sees each class; 0.3, of text 0, and 0 where students learn last from "
        "own labels alone, as under local.",
        least=0,
        most=1,
        panel=LOCAL,
    )
    stragglers: float | None = option(
        None, "Share of devices that are --slowdown times as slow.", least=0, most=1, panel=COMING
    )
    slowdown: float | None = option(None, "How slow stragglers are; 5.", least=1, panel=COMING)
    speed_spread: float | None = option(
        None,
        "How much devices differ in speed: standard deviation of log seconds; 0, in mode async 0.5.",
        least=0,
        panel=COMING,
    )
    device_seconds: float | None = option(
        None, "Virtual seconds that an ordinary device takes for a round; 60.", above=0, panel=COMING
    )
    vanish: float | None = option(
        None, "Share of devices that vanish in some round, for ever.", least=0, most=1, panel=COMING
    )
    away: float | None = option(
        None,
        "Share of devices that vanish in some round and are back --away-rounds later.",
        least=0,
        most=1,
        panel=COMING,
    )
    away_rounds: int | None = option(None, "How long they are away; 3.", least=1, panel=COMING)
    join_late: float | None = option(
        None, "Share of devices that join in some later round.", least=0, most=1, panel=COMING
    )
    trace: str | None = option(
        None,
        "Availability, speed and network of each device: a folder or file of a trace (see fedstill-sim "
        "trace), or generated, or generated:churn=0.1,zones=0/1 with options of the generator.",
        panel=TRACED,
        metavar="FOLDER|FILE|generated",
    )
    trace_when: str | None = option(
        None,
        "When a device may be asked: while it is charging, or whenever it is online; charging.",
        choices=WHEN,
        panel=TRACED,
    )
    interrupted: str | None = option(
        None,
        "What becomes of a device's work when it is unplugged or goes offline: it fails, or resumes when the "
        "device is back; fail.",
        choices=INTERRUPTED,
        panel=TRACED,
    )
    rounds_a_day: int | None = option(
        None, "Rounds that begin in a day (UTC) at most; no limit.", least=1, panel=TRACED
    )
    least_devices: int | None = option(
        None,
        "Devices that have to be there when a round begins; as many as it waits for, or half of the fleet.",
        least=1,
        panel=TRACED,
    )
    round_pause: float | None = option(
        None,
        "Seconds from the end of a round to the beginning of the next: a round meets other devices an hour "
        "later; 0.",
        least=0,
        panel=TRACED,
    )
    setup_seconds: float | None = option(
        None,
        "Seconds of a device's round that are neither arithmetic nor bytes, such as waking up; 10.",
        least=0,
        panel=TRACED,
    )
    joules_per_gflop: float = option(
        1.0,
        "Energy of a device's arithmetic, which results count beside that of bytes.",
        least=0,
        panel=OUTPUT,
    )
    battery_wh: float = option(15.0, "Watt-hours of a device's full battery.", above=0, panel=OUTPUT)
    adversaries: float | None = option(
        None,
        "Share of the devices that lie, as --attack says; the seed draws which. All accuracies are those of "
        "the honest ones.",
        above=0,
        below=1,
        panel=LYING,
    )
    attack: str | None = option(
        None,
        f"How they lie: {', '.join(ATTACKS.built_in)}, or module:Class of your own.",
        panel=LYING,
    )
    attack_options: tuple[str, ...] = option(
        (),
        "An option of the attack; may be given several times.",
        panel=LYING,
        flag="--set-attack",
        metavar="OPTION=VALUE",
        repeated=True,
    )
    engine: str = option(
        "cohort",
        "cohort: this project's, for many devices at once. flower: Flower's own simulation on Ray, slower by "
        "far.",
        choices=("cohort", "flower"),
        panel=MACHINE,
    )
    path: str = option(
        AUTO,
        "How answers come together. stacks: folded where devices run, up to a million of them; messages: "
        "each is sent, and read at the server's gate; auto: stacks where it can be. Never changes a result.",
        choices=PATHS,
        panel=MACHINE,
    )
    processes: int | None = option(
        None,
        "Worker processes of one thread each; by default one a core. Never changes a result.",
        least=0,
        panel=MACHINE,
    )
    stacks_device: str = option(
        "cpu",
        "What the steps of stacks are computed on: cpu, or cuda, a GPU, where onnxruntime-gpu is installed "
        "in place of onnxruntime. Students of a GPU have other last bits.",
        choices=("cpu", "cuda"),
        panel=MACHINE,
    )
    cluster: str | None = option(
        None,
        "Have the machines of a Ray cluster do the devices' rounds: HOST:PORT where this machine is a node "
        "of it, ray://HOST:PORT from any other, auto for the one that runs here, or local to start one here. "
        "Never changes a result, on processors of one kind.",
        panel=MACHINE,
        metavar="ADDRESS",
    )
    evaluate_devices: str | None = option(
        None,
        "How many devices are measured, of each family its share, drawn by the seed; all, or by default all "
        f"up to {MOST_MEASURED:,} and else as many. Results then have 95 % intervals.",
        panel=FLEET,
        metavar="N|all",
    )
    suppress: str | None = option(
        None,
        "What students never answer, suggest or write: a constraints.json, or a .txt of a word a line. The "
        "packages that the run leaves carry it; accuracies are those of students without it.",
        panel=FLEET,
        metavar="FILE",
    )
    keep_students: str = option(
        "auto",
        "Whose own students are kept when a round is over: all, those of a sample (the devices that are "
        f"measured), or none when the run is; auto is all up to {MOST_KEEPING:,} devices, and else the "
        "sample where the method starts each round anew.",
        choices=("auto", "all", "sample", "none"),
        panel=MACHINE,
    )
    baselines: tuple[str, ...] = option(
        DEFAULT_BASELINES,
        "What runs beside it, with the same students and the same local work; none switches them off.",
        panel=OUTPUT,
    )
    tradeoff: bool = option(
        False,
        "Whether to measure, at the end, how soft_weight trades personal against global accuracy; of a small "
        "fleet it takes about as long as two of its rounds.",
        panel=OUTPUT,
        flag="--tradeoff/--no-tradeoff",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dataset is not None and self.data is None and _is_file(self.dataset):
            object.__setattr__(self, "data", self.dataset)
            object.__setattr__(self, "dataset", None)
        if self.dataset is not None and self.data is not None:
            raise RequestError(
                f"name one data set: one by its name ({', '.join(DATASETS)}) or --data FOLDER with your own"
            )
        in_memory = self.dataset is None and self.data is None
        if in_memory and (self.normalize, self.channels) != ("auto", "auto"):
            raise RequestError(
                "--normalize and --channels are of data that are read; give those of a fleet in memory to "
                "Fleet.from_arrays"
            )
        if in_memory and self.examples_per_device is not None:
            raise RequestError("--examples-per-device deals out a data set; a fleet in memory is dealt out")
        if self.dataset is not None:
            DATASETS.refuse(self.dataset, self.dealt)
        measured_number(self.evaluate_devices)
        if self.task:
            TASKS.require([self.task], where="--task")
        if not self.method:
            object.__setattr__(self, "method", self.task_class.default_method)
        check_methods("--method", [self.method], task=self.task_name)
        check_methods("--baselines", self.baselines, task=self.task_name)
        if self.families:
            self._check_families()
        simulation = self.simulation
        for one in options_of(type(self)):
            if one.name in simulation.refused and getattr(self, one.name) != one.default:
                raise RequestError(simulation.refused[one.name])
        self._check_own_data()
        self._check_privacy()
        self._check_attack()
        self._check_trace()
        if self.engine != "cohort":
            self._check_virtual_time()
        self._check_cluster()
        self._check_device()

    @property
    def task_name(self) -> str:
        """What devices learn: as asked, or what the data are of."""
        if not self.task and self.data is not None and any(map(split_name, self.families)):
            return task_for(tuple(self.named_families))
        return self.task or task_of_data(self.dataset, None if self.data is None else Path(self.data))

    @property
    def simulation(self) -> SimulatedTask:
        """The simulator's side of what devices learn."""
        return simulation_of(self.task_name)

    @property
    def task_class(self) -> type[Task]:
        """The server's side of it."""
        return TASKS.load(self.task_name, where="--task")

    def _check_device(self) -> None:
        if self.stacks_device == "cpu":
            return
        if self.engine != "cohort" or self.cluster is not None:
            beside = "--cluster" if self.cluster is not None else f"--engine {self.engine}"
            raise RequestError(
                f"--stacks-device {self.stacks_device} is this machine's cohort engine's; leave {beside} out"
            )
        from fedstill_client.model.placed import check_compute_device  # imports ONNX Runtime

        check_compute_device(self.stacks_device)

    def _check_cluster(self) -> None:
        if self.cluster is None:
            return
        check_address(self.cluster)
        if self.engine != "cohort":
            raise RequestError(
                f"--cluster: --engine {self.engine} starts a Ray of its own, on this machine; leave one out"
            )
        if self.processes == 0:
            raise RequestError("--processes 0 works in this process alone; leave it out beside --cluster")

    def _check_virtual_time(self) -> None:
        for one in options_of(type(self)):
            if one.name in (*COMING_AND_GOING, *TRACE_OPTIONS) and getattr(self, one.name) != one.default:
                raise RequestError(
                    f"{one.label} is a matter of virtual time, which --engine {self.engine} does not have; "
                    "leave one of the two out"
                )

    def _check_trace(self) -> None:
        """Refuse options of a trace without one, and beside one what a trace says itself."""
        if self.trace is None:
            self._belongs(TRACE_OPTIONS, "--trace")
            return
        self._beside_trace()
        if self.trace.partition(":")[0] == GENERATED:
            parse_generator(self.trace, where="--trace")
        elif not Path(self.trace).exists():
            raise RequestError(f"--trace {self.trace}: no such folder or file; name one, or generated")

    def _beside_trace(self) -> None:
        for one in options_of(type(self)):
            if one.name in COMING_AND_GOING and one.name != "device_seconds" and getattr(self, one.name):
                raise RequestError(f"{one.label}: --trace says who is there and how fast; leave one out")

    def _check_own_data(self) -> None:
        """Refuse options of one's own data where there are none."""
        if self.data is not None:
            return
        for one in options_of(OwnDataOptions):
            if getattr(self, one.name) != one.default:
                raise RequestError(f"{one.label} says how --data is read; leave it out, or give --data")

    @property
    def dealt(self) -> dict[str, float | None]:
        """How a data set's examples are dealt out, as asked."""
        return {
            "devices": self.devices,
            "dirichlet": self.dirichlet,
            "examples_per_device": self.examples_per_device,
        }

    @property
    def reading(self) -> OwnDataOptions:
        """How one's own data are read."""
        return OwnDataOptions(**{one.name: getattr(self, one.name) for one in options_of(OwnDataOptions)})

    def _check_privacy(self) -> None:
        if self.privacy is None:
            return
        if self.sums_securely and self.engine != "cohort":
            raise RequestError(
                f"--secure-sums: devices of --engine {self.engine} have no keys; leave one out"
            )
        if self.privacy == "local" and self.engine != "cohort":
            raise RequestError(
                f"--privacy local: the noise of --engine {self.engine} is the system's, and no run could be "
                "repeated; leave one of the two out"
            )
        for name in self.baselines:
            baseline = METHODS.load(name)
            if baseline.default_clip is None and baseline.exchanges:
                raise RequestError(
                    f"--baselines: {name!r} has no differential privacy; those that have it are "
                    f"{', '.join(noised_methods())}, and local sends nothing"
                )

    def _check_attack(self) -> None:
        """Refuse an attack that nobody makes, that the engine cannot, or that the method does not suit."""
        if self.attack is None or self.adversaries is None:
            if self.attack is not None or self.adversaries is not None or self.attack_options:
                raise RequestError("--adversaries SHARE and --attack NAME belong together")
            return
        _ = self.attack_plan
        if self.engine != "cohort":
            raise RequestError(f"--attack: --engine {self.engine} has honest devices only; leave one out")
        if self.privacy == "local" or self.sums_securely:
            raise RequestError(
                "--attack: answers that devices noise themselves, or that are summed unseen, have no lies; "
                "leave --privacy local, distributed or --secure-sums out"
            )
        check_attack(self.attack, self.method)
        if self.baselines != DEFAULT_BASELINES:  # of those by default, the ones that it suits are run
            for name in self.baselines:
                check_attack(self.attack, name, where="--baselines")

    @property
    def attack_plan(self) -> AttackPlan | None:
        """Which share of the devices lies, and how; None where all are honest."""
        if self.attack is None or self.adversaries is None:
            return None
        given = read_settings(self.attack_options, where="--set-attack")
        return planned_attack(self.attack, given, share=self.adversaries)

    @property
    def named_families(self) -> dict[str, str]:
        """The families by name, and where those of one's own lie."""
        return FAMILIES.named(self.families, where="--families")

    def _check_families(self) -> None:
        """Refuse names that are not there, and families of another task; one's own are not imported yet."""
        named = self.named_families
        suited = set(self.task_class.families_of)
        unsuited = self.simulation.unsuited
        for name in named:
            of_kind = {name, name.partition("-")[0]}  # ssm-64-128 is of ssm
            if FAMILIES.is_own(name) or (not of_kind & {*unsuited} and FAMILIES.task_of(name) in suited):
                continue
            known = [each for task in suited for each in FAMILIES.of_task(task) if each not in unsuited]
            raise RequestError(
                f"--families: {name!r} is of {FAMILIES.task_of(name)}, and the devices learn "
                f"{self.task_name}; there are {', '.join(known)}, sizes of them, or module:name of your own"
            )


def baselines_of(request: RunRequest) -> tuple[str, ...]:
    """What runs beside a run: not its own method, and under an attack only methods that it suits."""
    attack = request.attack
    return tuple(
        name
        for name in request.baselines
        if name != request.method and (attack is None or suits(attack, name))
    )


def _is_file(word: str) -> bool:
    """Whether a word that stands for a data set is a file of one's own."""
    return word not in DATASETS and bool(Path(word).suffix) and Path(word).is_file()


def check_methods(where: str, names: Sequence[str], *, task: str) -> None:
    """Refuse a method that is not there, one of another task, and one that is named twice."""
    labels = TASKS.load(task, where="--task").form.labels
    for name in names:
        if labels not in METHODS.load(name, where=where).label_places:
            raise RequestError(
                f"{where}: {name!r} is not of {task}; there are {', '.join(methods_for(labels))}"
            )
    if len(set(names)) != len(names):
        raise RequestError(f"{where}: {', '.join(names)} names one twice")


def check_compared(run: RunRequest, methods: Sequence[str], *, reference: str | None) -> None:
    """Refuse methods, and options of them, that cannot be compared.

    Args:
        run: The run that each of them makes.
        methods: Two or more.
        reference: That of them which all others are held against, if it is one.
    """
    check_methods("--methods", methods, task=run.task_name)
    check_names(run, methods)
    if len(methods) < 2:
        raise RequestError(
            "--methods: name at least two to compare; for a single one there is `fedstill-sim run`"
        )
    if reference is not None and reference not in methods:
        raise unknown_name("--reference", reference, methods)


def names(text: str | None) -> tuple[str, ...] | None:
    """Comma-separated names; "none" is no name at all."""
    if text is None:
        return None
    return () if text.strip() == "none" else tuple(part.strip() for part in text.split(",") if part.strip())


def command_line(request: RunRequest) -> str:
    """The `fedstill-sim run` command of a request, without --out and without what never changes a result."""
    return shlex.join(["fedstill-sim", "run", *option_words(request), "--out", "DIR"])


def option_words(request: RunRequest, *, skip: Sequence[str] = ()) -> list[str]:
    """The words of a command line that ask for this request."""
    first = [] if request.dataset is None or "dataset" in skip else [request.dataset]
    return [*first, *request.words(skip=("dataset", *_NEVER_A_MATTER_OF_THE_RESULT, *skip))]


def method_options_of(request: RunRequest, method: str) -> dict[str, object]:
    """The options which a request sets and this method has."""
    known = {one.name for one in options_of(METHODS.load(method))}
    return {name: value for name, value in request.method_options.items() if name in known}
