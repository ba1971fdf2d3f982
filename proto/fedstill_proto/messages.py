"""What server and devices send each other, as values with numpy arrays inside.

The types mirror `v1/fedstill.proto`; `fedstill_proto.codec.api` turns them into bytes and back. Each is
checked when it is made, so a value that exists can be sent.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np

from fedstill_proto.arrays import BoolArray, FloatArray, IntArray, Parameters, check_parameters
from fedstill_proto.checks import MAX_UINT32, MAX_UINT64, check_integer, check_name, check_number
from fedstill_proto.errors import InvalidValue
from fedstill_proto.generation import FIRST_GENERATION, check_generation
from fedstill_proto.mixed_rows import MOST_MIXED_ROWS
from fedstill_proto.privacy.noising import Noising
from fedstill_proto.secure_sums.messages import SumKeys
from fedstill_proto.secure_sums.terms import Summing
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_proto.soft_labels.codec import MAX_CLASSES, SoftLabelCodec
from fedstill_proto.soft_labels.label_arrays import SoftLabels
from fedstill_proto.soft_labels.levels import NAME_BYTES, Levels

PROTOCOL_VERSION = 1
MAX_ANCHORS = 1024
MAX_START_EPOCHS = 10_000
FLOAT_WEIGHTS = 0
WEIGHT_BITS = (FLOAT_WEIGHTS, 8, 4)
"""Bits of a weight on the wire; FLOAT_WEIGHTS is float32."""


class Optimizer(enum.Enum):
    """The update rule of local training; "momentum" is SGD with momentum 0.9."""

    SGD = "sgd"
    MOMENTUM = "momentum"
    ADAMW = "adamw"


class StartSource(enum.Enum):
    """Which student of its own a device starts a round from."""

    INSTALLED = "installed"
    OWN = "own"


class SummaryKind(enum.Enum):
    """What a device answers."""

    NONE = "none"
    PUBLIC_SET = "public-set"
    CLASS_MEANS = "class-means"
    PARAMETERS = "parameters"
    CLASS_PROTOTYPES = "class-prototypes"


WITH_SOFT_LABELS = (SummaryKind.PUBLIC_SET, SummaryKind.CLASS_MEANS)
CAN_BE_NOISED = (*WITH_SOFT_LABELS, SummaryKind.PARAMETERS)
MAYBE_WITH_FEATURES = (*WITH_SOFT_LABELS, SummaryKind.CLASS_PROTOTYPES)


@dataclass(frozen=True)
class TrainingPlan:
    """The local work of one round.

    Attributes:
        epochs: Passes over the private examples.
        batch_size: Private examples in a step.
        learning_rate: The optimizer's.
        optimizer: The update rule.
        temperature: What softens soft labels.
        soft_weight: The weight of the soft term; that of the hard term is 1 - soft_weight.
        seed: Decides every random choice.
        held_out: The share of the private examples on which a device judges whether it is better off without
            the fleet's soft labels (see the client's own_labels.py); 0 judges nothing.
        proximal: The strength of a pull back to the student that the round started from, in each step.
        local_parameters: Names of parameters that stay on the device, and are not answered. Where the task
            does not bring them, they are those of its last round.
        local_epochs: Epochs, the first ones, in which only these learn, while in the others only all others
            do; with 0 all learn together.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: Optimizer
    temperature: float
    soft_weight: float
    seed: int
    held_out: float = 0.0
    proximal: float = 0.0
    local_parameters: tuple[str, ...] = ()
    local_epochs: int = 0

    def __post_init__(self) -> None:
        check_integer("epochs", self.epochs, 0, 1_000_000)
        check_integer("batch_size", self.batch_size, 1, 1 << 20)
        check_number("learning_rate", self.learning_rate, 0, 1e6)
        if not isinstance(self.optimizer, Optimizer):
            raise InvalidValue("optimizer", f"{self.optimizer!r} is not an Optimizer")
        check_number("temperature", self.temperature, 1e-3, 1e3)
        check_number("soft_weight", self.soft_weight, 0, 1)
        check_number("held_out", self.held_out, 0, 0.5)
        check_number("proximal", self.proximal, 0, 1e6)
        for name in self.local_parameters:
            check_name("local_parameters", name)
        if len(set(self.local_parameters)) != len(self.local_parameters):
            raise InvalidValue(
                "local_parameters", f"{', '.join(self.local_parameters)[:200]}: one appears twice"
            )
        check_integer("local_epochs", self.local_epochs, 0, 1_000_000)
        if self.local_epochs and (self.proximal or not self.local_parameters):
            raise InvalidValue(
                "local_epochs", f"{self.local_epochs}, with a pull or without local parameters"
            )
        check_integer("seed", self.seed, 0, MAX_UINT64)


@dataclass(frozen=True, kw_only=True)
class StartPlan:
    """How a device makes the student that a round starts from, without weights from the server.

    It trains a student that it has on the task's soft labels of public rows, and on nothing else.
    Temperature, batch size, optimizer and seed are those of the training plan.

    Attributes:
        source: INSTALLED is the student of the device's signed package. OWN is the one that its last round
            left, or where it has none yet, the installed one.
        epochs: Passes over the public rows; 0 starts from the student as it is.
        learning_rate: The optimizer's in the first step; it falls evenly to 0.
        input_noise: Standard deviation of the noise on public rows, in units of x.
    """

    source: StartSource
    epochs: int = 0
    learning_rate: float = 0.0
    input_noise: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.source, StartSource):
            raise InvalidValue("source", f"{self.source!r} is not a StartSource")
        check_integer("epochs", self.epochs, 0, MAX_START_EPOCHS)
        check_number("learning_rate", self.learning_rate, 0, 1e6)
        check_number("input_noise", self.input_noise, 0, 1e6)


@dataclass(frozen=True, kw_only=True)
class PersonalPlan:
    """How a device makes its owner's student, from the student that the round started from.

    What this plan does not say is the training plan's. The soft labels are the task's; where it has none,
    those that the start itself gives the public set.

    Attributes:
        epochs: Passes over the private examples.
        learning_rate: The optimizer's.
        soft_weight: The weight of the soft labels; 0 does without.
        proximal: The strength of a pull of each step to the student that the round started from.
        own: Whether it goes on with the owner's student of the last round instead, where there is one.
    """

    epochs: int
    learning_rate: float
    soft_weight: float = 0.0
    proximal: float = 0.0
    own: bool = False

    def __post_init__(self) -> None:
        check_integer("epochs", self.epochs, 0, 1_000_000)
        check_number("learning_rate", self.learning_rate, 0, 1e6)
        check_number("soft_weight", self.soft_weight, 0, 1)
        check_number("proximal", self.proximal, 0, 1e6)


@dataclass(frozen=True, eq=False)
class PublicSoftLabels:
    """Soft labels of the public rows `public_rows` [n]: one a row, or for text one at each place of a row.

    Attributes:
        public_rows: The rows.
        soft_labels: The distributions.
        levels: The codes that these stand for, where they are such.
    """

    public_rows: IntArray
    soft_labels: SoftLabels
    levels: Levels | None = None

    def __post_init__(self) -> None:
        check_public_rows(self.public_rows)
        if self.levels is not None and self.levels.rows != self.soft_labels.rows:
            problem = f"{self.levels.rows} rows for {self.soft_labels.rows} soft labels"
            raise InvalidValue("levels", problem)
        public = len(self.public_rows)
        if self.soft_labels.rows != public and (public == 0 or self.soft_labels.rows % public):
            problem = f"{self.soft_labels.rows} rows for {public} public rows"
            raise InvalidValue("soft_labels.rows", problem)


@dataclass(frozen=True, eq=False)
class ClassSoftLabels:
    """One soft label for each of `present_classes` [m], which increase."""

    present_classes: IntArray
    soft_labels: SoftLabels

    def __post_init__(self) -> None:
        check_present_classes(self.present_classes, self.soft_labels)


SoftTargets = PublicSoftLabels | ClassSoftLabels


@dataclass(frozen=True)
class RowSelection:
    """Which of the asked public rows a device answers: those that it has learned something about.

    Attributes:
        least_density_ratio: The least ratio of a row's density under the device's own examples to that under
            the asked rows; 0 is off.
        most_ambiguity: The most entropy of the device's soft label, as a share of a uniform one's; 1 is off.
    """

    least_density_ratio: float = 0.0
    most_ambiguity: float = 1.0

    def __post_init__(self) -> None:
        check_number("least_density_ratio", self.least_density_ratio, 0, 1e6)
        check_number("most_ambiguity", self.most_ambiguity, 0, 1)


@dataclass(frozen=True, eq=False)
class SummaryRequest:
    """What a device is to answer, and how the answer is to be coded.

    Attributes:
        kind: What the answer holds.
        codec: How its soft labels are coded; None where it holds none.
        public_rows: The public rows that are asked for [n]; for PUBLIC_SET only, as the next three are.
        class_counts: Whether to count the private examples of each class, too.
        selection: Which of the rows to leave out; None answers all of them.
        relative: Whether to answer how far the student moved from where the round started it, p / p_start,
            normalized, instead of its soft label p.
        base: Names the task's levels that the answer may be coded against (see codec/task_base.py); empty
            where there are none.
        base_round: The round whose table of the device the server holds (see base_table.py); 0 is none.
        anchor_rows: The public rows whose cosines with an example are its relative features [W] (see the
            client's relative_features.py).
        noising: The answer is one vector with noise, and nothing else (see the client's noised_answer.py).
        summing: The vector is not sent, and the device takes part in a sum (see fedstill_proto.secure_sums).
    """

    kind: SummaryKind
    codec: SoftLabelCodec | None = None
    public_rows: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    class_counts: bool = False
    selection: RowSelection | None = None
    base: bytes = b""
    anchor_rows: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    base_round: int = 0
    relative: bool = False
    noising: Noising | None = None
    summing: Summing | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.kind, SummaryKind):
            raise InvalidValue("kind", f"{self.kind!r} is not a SummaryKind")
        with_labels = self.kind in WITH_SOFT_LABELS and self.noising is None
        if with_labels != (self.codec is not None):
            needs = "needs a codec" if with_labels else "holds no soft labels to code"
            raise InvalidValue("codec", f"a summary of kind {self.kind.value!r} {needs}")
        check_public_rows(self.public_rows)
        if (self.kind is SummaryKind.PUBLIC_SET) != (len(self.public_rows) > 0):
            problem = f"{len(self.public_rows)} rows asked for a summary of kind {self.kind.value!r}"
            raise InvalidValue("public_rows", problem)
        only_of_public_rows = {
            "class_counts": self.class_counts,
            "selection": self.selection is not None,
            "relative": self.relative,
        }
        for name, wanted in only_of_public_rows.items():
            if wanted and self.kind is not SummaryKind.PUBLIC_SET:
                raise InvalidValue(name, f"asked for in a summary of kind {self.kind.value!r}")
        self._check_anchors()
        if self.noising is not None:
            self._check_noised()
        elif self.summing is not None:
            raise InvalidValue("summing", "asked for without noising, which says what is summed")
        if self.base and (self.codec is None or not self.codec.delta or len(self.base) != NAME_BYTES):
            raise InvalidValue("base", f"{len(self.base)} bytes; with a delta, it is a name of {NAME_BYTES}")
        check_integer("base_round", self.base_round, 0, MAX_UINT32)
        if self.base_round and (self.codec is None or not self.codec.delta):
            raise InvalidValue("base_round", f"{self.base_round}, but no delta is asked for")

    def _check_noised(self) -> None:
        """Everything that is sent has noise: whatever would go beside it is refused."""
        if self.kind not in CAN_BE_NOISED:
            raise InvalidValue("noising", f"asked for in a summary of kind {self.kind.value!r}")
        if self.kind is SummaryKind.PUBLIC_SET and not self.relative:
            raise InvalidValue("noising", "of soft labels that are not relative; nothing bounds those")
        for name, wanted in {
            "class_counts": self.class_counts,
            "selection": self.selection is not None,
            "anchor_rows": len(self.anchor_rows) > 0,
        }.items():
            if wanted:
                raise InvalidValue(name, "asked for beside noised answers, and would have no noise")

    def _check_anchors(self) -> None:
        check_public_rows(self.anchor_rows, name="anchor_rows")
        anchors, needed = len(self.anchor_rows), self.kind is SummaryKind.CLASS_PROTOTYPES
        if anchors > MAX_ANCHORS or (anchors == 0 and needed) or (anchors and not self.may_have_features):
            raise InvalidValue("anchor_rows", f"{anchors} rows in a request of kind {self.kind.value!r}")

    @property
    def may_have_features(self) -> bool:
        """Whether a summary of this kind may come with relative features."""
        return self.kind in MAYBE_WITH_FEATURES


@dataclass(frozen=True, eq=False)
class RoundTask:
    """What the server asks of a device in a round.

    Attributes:
        run: The run's name.
        round: The round, from 1.
        family: The family of the device's student.
        training: The local work.
        request: What the device is to answer.
        parameters: A student to install where the device has none yet; empty where every device has one.
        replace_student: Whether `parameters` replace the device's own student, too.
        soft_targets: The fleet's soft labels, which the device learns.
        start: How the device makes the student that it starts from; only in a task without parameters. None
            is its own, or what `parameters` bring.
        weight_bits: Bits of a weight in `parameters`, and in what a device's student moved from there, where
            students are asked for; FLOAT_WEIGHTS asks for them whole. Control variates are in as many.
        control_variates: Those of the fleet, in the shapes of `parameters`, which then replace the device's
            student; the answer holds how far the device's own move (see the client's control_variates.py).
        personal: How the device makes its owner's student; None keeps what was trained to answer.
        mixed_rows: How many rows the device mixes of those of its public set, with numbers that follow on the
            set's own (see mixed_rows.py).
        generation: Of the fleet's configuration, from 1: devices with a package of another one do not answer.
    """

    run: str
    round: int
    family: str
    training: TrainingPlan
    request: SummaryRequest
    parameters: Parameters = field(default_factory=dict)
    replace_student: bool = False
    soft_targets: SoftTargets | None = None
    start: StartPlan | None = None
    weight_bits: int = FLOAT_WEIGHTS
    control_variates: Parameters = field(default_factory=dict)
    personal: PersonalPlan | None = None
    mixed_rows: int = 0
    generation: int = FIRST_GENERATION

    def __post_init__(self) -> None:
        check_header(self.run, self.round, self.family)
        check_parameters(self.parameters)
        check_integer("mixed_rows", self.mixed_rows, 0, MOST_MIXED_ROWS)
        check_generation(self.generation)
        if self.weight_bits not in WEIGHT_BITS:
            raise InvalidValue("weight_bits", f"{self.weight_bits}, expected one of {WEIGHT_BITS}")
        if self.weight_bits != FLOAT_WEIGHTS and not self.replace_student:
            raise InvalidValue("weight_bits", f"{self.weight_bits}, but devices may start elsewhere")
        if self.control_variates:
            self._check_control_variates()
        if self.replace_student and not self.parameters:
            raise InvalidValue("replace_student", "no parameters to replace the student with")
        if self.start is not None:
            self._check_start(self.start)

    def _check_start(self, start: StartPlan) -> None:
        if self.parameters:
            raise InvalidValue("start", f"{start.source.value!r} in a task that brings parameters")
        if start.epochs and not isinstance(self.soft_targets, PublicSoftLabels):
            raise InvalidValue("start.epochs", f"{start.epochs}, but no soft labels of public rows")

    def _check_control_variates(self) -> None:
        check_parameters(self.control_variates)
        request, place = self.request, "control_variates"
        if not self.replace_student or request.kind is not SummaryKind.PARAMETERS:
            raise InvalidValue(place, "in a task that does not exchange whole students")
        if self.training.local_parameters:
            raise InvalidValue(place, "beside local parameters, which have none")
        if request.noising is not None:
            raise InvalidValue(
                place, "beside noised answers; how far a device's own move would have no noise"
            )
        shapes, own = (
            {n: v.shape for n, v in one.items()} for one in (self.parameters, self.control_variates)
        )
        if shapes != own:
            raise InvalidValue(place, "not one for each of the parameters")

    @property
    def starts_anew(self) -> bool:
        """Whether the round starts from another student than the device's own, even where it has one."""
        installed = self.start is not None and self.start.source is StartSource.INSTALLED
        return self.replace_student or installed

    @property
    def forgets(self) -> bool:
        """Whether nothing that the device's last round left has a part in this one."""
        goes_on = self.personal is not None and self.personal.own
        kept = goes_on or self.control_variates or self.training.local_parameters
        return self.starts_anew and not kept


@dataclass(frozen=True, eq=False)
class PrivateStatistics:
    """What private data has gone into; noise is added here and nowhere else.

    Attributes:
        soft_labels: Those of the public rows, or the mean of each present class.
        present_classes: The classes of the means, or of the counts that go with public rows [m].
        class_examples: The private examples of each present class [m].
        parameters: A student.
        examples: Its weight in the average.
        answered: Which of the n asked rows a selection answers [n].
        features: Cosines with the W anchors of the request [rows, W]: for each answered public row, or for
            each present class the mean over its examples.
        noised: An answer with noise, in whole steps of its grid [d]; there is then nothing else.
        control_variates: Beside a student, how far the device's own have moved.
    """

    soft_labels: SoftLabels | None = None
    present_classes: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    class_examples: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    parameters: Parameters = field(default_factory=dict)
    examples: int = 0
    answered: BoolArray | None = None
    features: FloatArray | None = None
    noised: IntArray | None = None
    control_variates: Parameters = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.noised is not None:
            self._check_noised(self.noised)
        check_integer("examples", self.examples, 0, MAX_UINT32)
        check_parameters(self.parameters)
        check_parameters(self.control_variates)
        if self.features is not None:
            check_features(self.features)
        if self.answered is not None:
            check_answered(self.answered, self.soft_labels)
        if not _is_row(self.class_examples) or len(self.class_examples) != len(self.present_classes):
            raise InvalidValue("class_examples", "not an int64 array with a count for each class")
        if len(self.class_examples) == 0:
            return
        if self.class_examples.min() < 1 or self.class_examples.max() > MAX_UINT32:
            raise InvalidValue(
                "class_examples", f"{self.class_examples.min()} examples behind a class, at least 1 needed"
            )

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it."""
        arrays = (self.soft_labels, self.answered, self.features, self.noised)
        return (
            all(array is None for array in arrays)
            and not (self.parameters or self.control_variates or self.examples)
            and not (len(self.present_classes) or len(self.class_examples))
        )

    def _check_noised(self, noised: IntArray) -> None:
        if not _is_row(noised):
            raise InvalidValue("noised", "not an int64 array [d]")
        others = (self.soft_labels, self.answered, self.features)
        tensors = self.parameters or self.control_variates
        if any(other is not None for other in others) or tensors or self.examples:
            raise InvalidValue("noised", "not alone")
        if len(self.present_classes) or len(self.class_examples):
            raise InvalidValue("noised", "not alone")


@dataclass(frozen=True, eq=False)
class SoftLabelSummary:
    """What a device answers in a round.

    Attributes:
        run: The run's name.
        round: The round of the task.
        family: The student's family.
        kind: What the statistics are.
        statistics: What private data has gone into.
        table: What the server holds of the device from now on, where answers are coded as deltas.
        sum_keys: What the device offers for a sum; there are then no statistics.
    """

    run: str
    round: int
    family: str
    kind: SummaryKind
    statistics: PrivateStatistics
    table: BaseTable | None = None
    sum_keys: SumKeys | None = None

    def __post_init__(self) -> None:
        check_header(self.run, self.round, self.family)
        statistics, kind = self.statistics, self.kind
        if self.sum_keys is not None:
            if kind not in CAN_BE_NOISED or not statistics.empty:
                raise InvalidValue("sum_keys", f"beside statistics, or in a summary of kind {kind.value!r}")
            return
        if statistics.noised is not None:
            if kind not in CAN_BE_NOISED:
                raise InvalidValue("statistics.noised", f"present in a summary of kind {kind.value!r}")
            return
        with_labels = kind in WITH_SOFT_LABELS
        if with_labels != (statistics.soft_labels is not None):
            state = "missing" if with_labels else "present"
            raise InvalidValue("statistics.soft_labels", f"{state} in a summary of kind {kind.value!r}")
        if (kind is SummaryKind.PARAMETERS) != bool(statistics.parameters):
            problem = f"{len(statistics.parameters)} arrays in a summary of kind {kind.value!r}"
            raise InvalidValue("statistics.parameters", problem)
        if statistics.control_variates and kind is not SummaryKind.PARAMETERS:
            raise InvalidValue("statistics.control_variates", f"present in a summary of kind {kind.value!r}")
        if kind is not SummaryKind.PARAMETERS and statistics.examples:
            raise InvalidValue("statistics.examples", f"{statistics.examples} in kind {kind.value!r}")
        if kind is SummaryKind.CLASS_MEANS and statistics.soft_labels is not None:
            check_present_classes(statistics.present_classes, statistics.soft_labels, prefix="statistics.")
        elif kind is SummaryKind.PUBLIC_SET and statistics.soft_labels is not None:
            classes = statistics.soft_labels.classes
            check_increasing_classes(statistics.present_classes, classes, place="statistics.present_classes")
        elif kind is SummaryKind.CLASS_PROTOTYPES:
            check_increasing_classes(
                statistics.present_classes, MAX_CLASSES, place="statistics.present_classes"
            )
        elif len(statistics.present_classes):
            raise InvalidValue("statistics.present_classes", f"not empty in kind {kind.value!r}")
        self._check_features()
        if statistics.answered is not None and kind is not SummaryKind.PUBLIC_SET:
            raise InvalidValue("statistics.answered", f"present in kind {kind.value!r}")

    def _check_features(self) -> None:
        """A row for each class, or for each answered public row."""
        statistics, place = self.statistics, "statistics.features"
        if statistics.features is None:
            if self.kind is SummaryKind.CLASS_PROTOTYPES:
                raise InvalidValue(place, f"missing in a summary of kind {self.kind.value!r}")
            return
        if self.kind not in MAYBE_WITH_FEATURES:
            raise InvalidValue(place, f"present in a summary of kind {self.kind.value!r}")
        public = self.kind is SummaryKind.PUBLIC_SET and statistics.soft_labels is not None
        rows = (
            statistics.soft_labels.rows
            if public and statistics.soft_labels
            else len(statistics.present_classes)
        )
        if len(statistics.features) != rows:
            raise InvalidValue(place, f"{len(statistics.features)} rows, expected {rows}")


def check_header(run: str, round_number: int, family: str) -> None:
    """Raise InvalidValue unless these can name a run, a round and a family."""
    check_name("run", run)
    check_integer("round", round_number, 0, MAX_UINT32)
    check_name("family", family)


def _is_row(array: IntArray) -> bool:
    return isinstance(array, np.ndarray) and array.dtype == np.int64 and array.ndim == 1


def check_public_rows(rows: IntArray, *, name: str = "public_rows") -> None:
    """Raise InvalidValue unless these are distinct rows of a public set, int64 [n]."""
    if not _is_row(rows):
        raise InvalidValue(name, "not an int64 array [n]")
    if len(rows) == 0:
        return
    if rows.min() < 0 or rows.max() > MAX_UINT32:
        raise InvalidValue(name, f"{rows.min()} to {rows.max()} are not rows of a public set")
    if len(rows) > 1 and not (rows[1:] > rows[:-1]).all() and len(np.unique(rows)) != len(rows):
        raise InvalidValue(name, "a row appears twice")


def check_features(features: FloatArray) -> None:
    """Raise InvalidValue unless these are cosines, float32 [rows, anchors]."""
    if not isinstance(features, np.ndarray) or features.dtype != np.float32 or features.ndim != 2:
        raise InvalidValue("features", "not a float32 array [rows, anchors]")
    # A cosine may round to just above 1; NaN compares false.
    if features.size and not np.abs(features).max() <= 1.001:
        raise InvalidValue("features", "holds a value that is no cosine")


def check_present_classes(present: IntArray, labels: SoftLabels, *, prefix: str = "") -> None:
    """Raise InvalidValue unless each of the increasing classes [m] has a soft label."""
    place = f"{prefix}present_classes"
    if not _is_row(present):
        raise InvalidValue(place, "not an int64 array [m]")
    if labels.rows != len(present):
        problem = f"{labels.rows} rows for {len(present)} present classes"
        raise InvalidValue(f"{prefix}soft_labels.rows", problem)
    check_increasing_classes(present, labels.classes, place=place)


def check_increasing_classes(present: IntArray, classes: int, *, place: str) -> None:
    """Raise InvalidValue unless these are increasing class numbers below `classes`, int64 [m]."""
    if not _is_row(present):
        raise InvalidValue(place, "not an int64 array [m]")
    if len(present) == 0:
        return
    if present[0] < 0 or present[-1] >= classes or not (present[1:] > present[:-1]).all():
        shown = ", ".join(map(str, present[:20]))
        raise InvalidValue(place, f"{shown} are not increasing class numbers in 0 to {classes - 1}")


def check_answered(answered: BoolArray, labels: SoftLabels | None) -> None:
    """Raise InvalidValue unless as many rows are answered, bool [n], as there are soft labels."""
    if not isinstance(answered, np.ndarray) or answered.dtype != np.bool_ or answered.ndim != 1:
        raise InvalidValue("answered", "not a bool array [n]")
    rows = 0 if labels is None else labels.rows
    if rows != int(answered.sum()):
        raise InvalidValue("answered", f"{int(answered.sum())} rows answered, {rows} soft labels")
