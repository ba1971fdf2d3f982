"""What a fleet's run is asked to do: frozen, validated values, to and from JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from fedstill_proto.checks import MAX_UINT32, check_name
from fedstill_proto.generation import FIRST_GENERATION, check_generation
from fedstill_proto.messages import TrainingPlan
from fedstill_proto.package.input_rule import InputRule, check_class_names
from fedstill_proto.package.target import SINGLE_LABEL, Target
from fedstill_proto.readers.columns import TableColumns, check_columns
from fedstill_proto.secure_sums.terms import Summing, SumNoise
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec

from fedstill_server.config.choice import Choice
from fedstill_server.config.codec import ConfigError as ConfigError
from fedstill_server.config.codec import from_json, to_json
from fedstill_server.config.secret_labels import checked_labels
from fedstill_server.families import FAMILIES
from fedstill_server.privacy.rule import PrivacyRule
from fedstill_server.secure_sums.rule import SecureSumsRule
from fedstill_server.teachers.registry import require_network

STARTS = ("distilled", "random")
MODES = ("rounds", "async")
SELECTIONS = ("random", "oort")
_SUM_NOISE = {"central": SumNoise.NONE, "local": SumNoise.OWN, "distributed": SumNoise.SHARED}


def _check(holds: bool, field_name: str, value: object, needed: str) -> None:
    if not holds:
        raise ConfigError(f"{field_name}: {value!r} is not {needed}")


@dataclass(frozen=True, kw_only=True)
class CohortRule:
    """Which devices a round asks, and when it has heard enough."""

    goal_count: int = 0  # good summaries that end a round; 0 asks all devices and waits for all
    fraction: float = 0.0  # the same as a share of the devices that are there; 0 is off
    over_selection: float = 1.0  # devices asked for each summary wanted
    deadline_s: float = 600.0
    select: str = "random"  # or "oort": devices whose answers say much, and come soon (rounds/oort.py)

    def __post_init__(self) -> None:
        _check(self.goal_count >= 0, "goal_count", self.goal_count, "0 (all devices) or a number of devices")
        _check(0 <= self.fraction <= 1, "fraction", self.fraction, "0 (off) or a share of up to 1")
        _check(
            self.goal_count == 0 or self.fraction == 0,
            "fraction",
            self.fraction,
            f"0 beside a goal_count of {self.goal_count}; name one of the two",
        )
        _check(
            math.isfinite(self.over_selection) and self.over_selection >= 1,
            "over_selection",
            self.over_selection,
            "a factor of 1 or more",
        )
        _check(0 < self.deadline_s < math.inf, "deadline_s", self.deadline_s, "a number of seconds above 0")
        _check(self.select in SELECTIONS, "select", self.select, f"one of {', '.join(SELECTIONS)}")
        asks_all = self.goal_count == 0 and self.fraction == 0
        _check(
            self.select == "random" or not asks_all,
            "select",
            self.select,
            "random where every device is asked; give --goal-count or --participation",
        )


@dataclass(frozen=True, kw_only=True)
class AsyncRule:
    """When the server learns in mode async, and what an old summary still counts.

    A summary's age is the number of times that the server has learned since the state that it answers.
    """

    buffer: int = 10  # good summaries that make the server learn
    max_age: int = 10  # older summaries are quarantined
    exponent: float = 0.5  # a summary counts (1 + age)^-exponent times

    def __post_init__(self) -> None:
        _check(self.buffer >= 1, "buffer", self.buffer, "1 or more summaries")
        _check(0 <= self.max_age <= 1000, "max_age", self.max_age, "an age from 0 to 1000")
        _check(0 <= self.exponent <= 10, "exponent", self.exponent, "a number from 0 to 10")


DEVICES = ("auto", "cpu", "cuda")
"""Where torch may compute on the server."""


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """The teacher, and how it and the students are trained on the server.

    `network` names the teacher's network: a student family, one that is installed or registered as a teacher,
    or `module:name`; it is empty for what suits the task, of arrays a perceptron with layers of `hidden`.
    Where it is a network that is made already, `digest` is that of its weights. One that is `trained` learns
    no labels before the first round, and one that is `frozen` never learns anything: an ONNX file, an
    estimator, or a network that is to stay as it is. `device` says where torch computes for a fleet of
    arrays: "cpu", "cuda", or "auto", which takes CUDA where there is one for networks of many parameters.
    `epochs` and `student_epochs` are those before the first round, as is `temperature`, with which students
    are distilled from the teacher then; `round_epochs` are those of each round.
    """

    network: str = ""
    digest: str = ""
    trained: bool = False
    frozen: bool = False
    hidden: tuple[int, ...] = (256, 128)
    epochs: int = 60
    student_epochs: int = 60
    round_epochs: int = 30
    batch_size: int = 32
    round_batch_size: int = 64
    learning_rate: float = 1e-3
    student_learning_rate: float = 3e-3
    weight_decay: float = 0.01
    temperature: float = 4.0
    input_noise: float = 0.1  # standard deviation, in units of the input; for the teacher only
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.network:
            require_network(self.network, where="network")
        _check(self.device in DEVICES, "device", self.device, f"one of {', '.join(DEVICES)}")
        _check(all(width >= 1 for width in self.hidden), "hidden", self.hidden, "a list of layer widths")
        for name in ("epochs", "student_epochs", "round_epochs"):
            _check(getattr(self, name) >= 0, name, getattr(self, name), "a number of epochs")
        for name in ("batch_size", "round_batch_size"):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("learning_rate", "student_learning_rate"):
            _check(0 < getattr(self, name) < math.inf, name, getattr(self, name), "a rate above 0")
        _check(1e-3 <= self.temperature <= 1e3, "temperature", self.temperature, "0.001 to 1000")
        for name in ("weight_decay", "input_noise"):
            _check(0 <= getattr(self, name) < math.inf, name, getattr(self, name), "a number of 0 or more")


@dataclass(frozen=True, kw_only=True)
class FleetConfig:
    """A run of the server. Paths are relative to the run's folder unless they are absolute."""

    run: str  # 8 hex digits
    method: Choice
    rounds: int
    seed: int
    families: tuple[str, ...]
    classes: int
    input_shape: tuple[int, ...]
    public_set: str  # .npz with x [n, *input_shape], and y [n, *label_shape] if it is labelled
    training: TrainingPlan
    task: Choice = field(default_factory=lambda: Choice(name="arrays"))  # what the fleet learns
    own_families: dict[str, str] = field(default_factory=dict)  # "module:attribute" of those of one's own
    use_public_labels: bool = True
    secret_labels: dict[str, int] = field(default_factory=dict)  # classes by public row; for the fold alone
    test_set: str | None = None  # .npz with x and y; only to report the teacher's accuracy
    start: str = "distilled"
    mode: str = "rounds"  # or "async": `cohort` then says how many devices work at a time
    cohort: CohortRule = field(default_factory=CohortRule)
    asynchronous: AsyncRule = field(default_factory=AsyncRule)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    public_batch: int = 0  # public rows that a device answers in a round; 0 is all
    public_targets: int = 0  # public rows whose soft labels a task carries; 0 is all
    uplink: SoftLabelCodec = field(default_factory=lambda: SoftLabelCodec(Encoding.UINT8))
    downlink: SoftLabelCodec = field(default_factory=lambda: SoftLabelCodec(Encoding.UINT8))
    evaluate_every: int = 1  # rounds; the last round is always evaluated, 0 evaluates no other
    privacy: PrivacyRule | None = None  # None: nothing bounds what answers tell
    secure_sums: SecureSumsRule | None = None  # None: the server sees each answer
    input_rule: InputRule = field(default_factory=InputRule)  # made the public set of values as given
    class_names: tuple[str, ...] = ()  # of all classes, or none
    columns: TableColumns | None = None  # what made the examples of a table's rows
    generation: int = FIRST_GENERATION  # this configuration's number among those of the fleet
    begins_after: int = 0  # the last round of the generation before; `rounds` counts on from there
    continuous: bool = False  # rounds go on after `rounds`, which is then the horizon of what decays
    target: Target = SINGLE_LABEL  # what students say of an example; classes are 2 unless it is one class

    def __post_init__(self) -> None:
        check_name("run", self.run)
        _check(self.rounds >= 1, "rounds", self.rounds, "1 or more")
        check_generation(self.generation)
        before = self.generation > FIRST_GENERATION
        _check(
            0 <= self.begins_after <= before * MAX_UINT32, "begins_after", self.begins_after, "a last round"
        )
        _check(
            self.rounds > self.begins_after, "rounds", self.rounds, f"above begins_after {self.begins_after}"
        )
        _check(0 <= self.seed < 1 << 63, "seed", self.seed, "a whole number from 0")
        _check(self.start in STARTS, "start", self.start, f"one of {', '.join(STARTS)}")
        _check(self.mode in MODES, "mode", self.mode, f"one of {', '.join(MODES)}")
        _check(bool(self.families), "families", self.families, "a list of at least one student family")
        _check(len(set(self.families)) == len(self.families), "families", self.families, "free of repeats")
        for name, place in self.own_families.items():
            _check(name in self.families, "own_families", name, "one of the fleet's families")
            FAMILIES.know(name, place, where="own_families")
        FAMILIES.require(self.families, where="families")
        _check(self.classes >= 2, "classes", self.classes, "2 or more")
        answers = self.target.is_single or self.classes == 2
        _check(
            answers,
            "classes",
            self.classes,
            f"2, the numbers of an answer of target {self.target.kind.value}",
        )
        shape_holds = bool(self.input_shape) and min(self.input_shape) >= 1
        _check(shape_holds, "input_shape", self.input_shape, "the shape of one example")
        self.input_rule.check(self.input_shape)
        check_class_names(self.class_names, self.target.size or self.classes)
        check_columns(self.columns, self.input_shape)
        _check(self.public_batch >= 0, "public_batch", self.public_batch, "0 (all) or a number of rows")
        _check(self.public_targets >= 0, "public_targets", self.public_targets, "0 (all) or a number of rows")
        if self.secret_labels:
            checked_labels(self.secret_labels, rows=None, classes=self.classes, where="secret_labels")
            _check(not self.use_public_labels, "secret_labels", "labels", "without use_public_labels: false")
        _check(self.evaluate_every >= 0, "evaluate_every", self.evaluate_every, "0 or a number of rounds")

        bounded = not (self.continuous and self.privacy is not None)
        _check(bounded, "continuous", self.continuous, "there with privacy, whose noise is of so many rounds")
        if self.cohort.select != "random":
            self._check_selection()
        if self.privacy is None:
            _check(self.secure_sums is None, "secure_sums", self.secure_sums, "there without privacy")
        elif self.privacy.mode == "distributed":
            _check(self.secure_sums is not None, "secure_sums", None, "enough for noise that is distributed")
        elif self.privacy.mode == "central" and self.secure_sums is not None:
            fold = self.secure_sums.fold  # of anything else, the noise would have to be another
            _check(fold == "mean", "secure_sums.fold", fold, "mean, the fold of sums without noise")

    def _check_selection(self) -> None:
        """Refuse to choose devices by answers that the server is not to look at."""
        select = self.cohort.select
        _check(self.mode == "rounds", "cohort.select", select, "random in mode async, without cohorts")
        if self.privacy is not None:
            hidden = {
                "central": "whom it asks would tell of single answers, which only their noised sum may",
                "local": "answers are noise to the server",
                "distributed": "the server sees sums alone",
            }[self.privacy.mode]
            raise ConfigError(
                f"cohort.select: {select!r} is not random, the selection with privacy: {hidden}; "
                "leave --select or --privacy out"
            )

    @property
    def own_rounds(self) -> int:
        """The rounds of this generation."""
        return self.rounds - self.begins_after

    def progress(self, round_number: int) -> float:
        """How far a round is in its generation: 0 is the first round, 1 the last and all that come later."""
        return min((round_number - self.begins_after - 1) / max(self.own_rounds - 1, 1), 1.0)

    @property
    def summing(self) -> Summing | None:
        """What a device is asked where the server sees sums alone."""
        if self.secure_sums is None or self.privacy is None:
            return None
        return Summing(
            noise=_SUM_NOISE[self.privacy.mode],
            dropouts=self.secure_sums.dropouts,
            colluders=self.secure_sums.colluders,
        )

    def to_json(self) -> dict[str, Any]:
        document = to_json(self)
        assert isinstance(document, dict)
        return document

    @classmethod
    def from_json(cls, document: object, *, where: str = "fleet") -> FleetConfig:
        """Raises ConfigError, naming the place, for anything that is unknown, missing or out of range.

        Whether its names stand for something, and fit together, is what fedstill_server.methods.checked_fleet
        says.
        """
        if isinstance(document, dict) and "text" in document:
            raise ConfigError(
                f"{where}.text: what a fleet learns is said in {where}.task, unlike in an earlier release; "
                "start this run, or prepare this fleet, anew"
            )
        if isinstance(document, dict) and isinstance(document.get("method"), str):
            raise ConfigError(
                f"{where}.method: {document['method']!r} is a name without its options, as an earlier "
                "release wrote it; start this run, or prepare this fleet, anew"
            )
        return from_json(cls, document, where=where)
