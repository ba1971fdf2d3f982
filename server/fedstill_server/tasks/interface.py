"""What a fleet learns: what its examples are, how it begins, and who learns them on the server, and how.

A task is a frozen dataclass of its options; torch is imported by what `training` returns, and not before. An
own one is a subclass in any module, most easily of ArrayTask:

    class WindowTraining(ServerTraining):
        def new_teacher(self) -> nn.Module:
            return MyWideNetwork(self.config.input_shape, self.config.classes)

    class WindowTask(ArrayTask):
        line = "windows of a sensor's readings"

        def training(self, config: FleetConfig) -> ServerTraining:
            return WindowTraining(config)

It is found by an entry point of the group "fedstill.tasks", by `TASKS.register`, or as `module:WindowTask`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fedstill_proto.arrays import Parameters
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.input_rule import InputRule
from fedstill_proto.package.subwords import Subwords
from fedstill_proto.package.target import SINGLE_LABEL, Target, TargetKind
from fedstill_proto.readers.columns import TableColumns
from fedstill_proto.soft_labels.codec import SoftLabelCodec

from fedstill_server.config.fleet import ConfigError, FleetConfig, TeacherConfig
from fedstill_server.config.options import WithOptions
from fedstill_server.config.reading import ReadOptions
from fedstill_server.data.examples import Examples
from fedstill_server.data.forms import ExampleForm
from fedstill_server.families import FAMILIES

if TYPE_CHECKING:
    from fedstill_server.tasks.training import ServerTraining

Progress = Callable[[str, int, int], None]
"""Told what is being made, how much of it is done, and of how much."""


def untold(what: str, done: int, total: int) -> None:
    """Progress that nobody wants to know of."""


@dataclass(frozen=True, kw_only=True)
class LocalWork:
    """What a device does in a round where nobody says otherwise.

    epochs are passes over the device's own examples, of which batch_size are in a step. soft_weight is that
    of the fleet's soft labels in the loss; None is what suits the method. start_epochs is the
    option of methods whose devices make the start of a round; None leaves it as the method has it.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: Optimizer
    soft_weight: float | None = None
    start_epochs: int | None = None


@dataclass(frozen=True, kw_only=True)
class FleetFiles:
    """What an operator makes a fleet of.

    Attributes:
        public: Everyone's examples, in a file or folder of a format of the task's own.
        test: The same, to measure on.
        families: Of the students.
        classes: How many there are, where the public examples do not say.
        teacher: How the teacher learns, where that is decided.
        folder: Of the fleet, which keeps what takes long to make.
        seed: Of every random draw.
        normalize: How inputs are scaled, as `InputRule.of` takes it.
        channels: Where the channels of an example are, as `InputRule.of` takes it.
    """

    public: Path
    test: Path | None = None
    families: tuple[str, ...]
    classes: int | None = None
    teacher: TeacherConfig | None = None
    folder: Path
    seed: int = 0
    on_progress: Progress = untold
    normalize: str = "auto"
    channels: str = "auto"
    reading: ReadOptions = field(default_factory=ReadOptions)  # how tables and pictures are read
    target: TargetKind = TargetKind.SINGLE_LABEL  # what labels say
    input_rule: InputRule | None = None  # of a fleet whose devices read by it; None makes one
    columns: TableColumns | None = None  # the same of a table


@dataclass(frozen=True, kw_only=True)
class FirstStudents:
    """The teacher, and the student of each family, before the first round.

    Attributes:
        teacher: Its parameters.
        students: Theirs, by family.
        files: Contents that take the place of `Material.files` of these names.
    """

    teacher: Parameters
    students: Mapping[str, Parameters]
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a task makes of an operator's files.

    Attributes:
        task: The task, with the options that follow from the files.
        public: The public set that devices get.
        classes: How many there are.
        files: What else the run's folder needs, by name.
        teacher: How the teacher learns, where nobody decides.
        test: To measure on.
        teaching: What is learned before the first round, where that is more than the public set.
        input_rule: How the public set and `test` were made of values as they are given.
        class_names: Of all classes, or none.
        target: What students say of an example.
        columns: How examples were made of a table's rows, where they are such.
        start: Makes the first students, where they are not to be taught by the fleet's teacher.
        notices: What an operator should know.
    """

    task: Task
    public: Examples
    classes: int
    teacher: TeacherConfig
    files: Mapping[str, bytes]
    test: Examples | None = None
    teaching: Examples | None = None
    start: Callable[[], FirstStudents] | None = None
    notices: tuple[str, ...] = ()
    input_rule: InputRule = field(default_factory=InputRule)
    class_names: tuple[str, ...] = ()
    target: Target = SINGLE_LABEL
    columns: TableColumns | None = None


@dataclass(frozen=True, kw_only=True)
class PackageFiles:
    """What a student's package holds for its task, besides graphs, weights and public examples."""

    vocabulary: bytes | None = None  # vocabulary.json: the words that numbers stand for
    lexicon: bytes | None = None  # lexicon.safetensors: a dictionary, frequencies and counts of words
    intents: bytes | None = None  # intents.json: what classes are called, and when an answer is sure
    slots: bytes | None = None  # slots.json: which parts of utterances are found
    slots_graph: bytes | None = None  # slots.onnx: what finds them
    tokenizer: bytes | None = None  # tokenizer.json: what makes sub-words of text
    subwords: Subwords | None = None  # what a manifest says of it
    constraints: bytes | None = None  # constraints.json: what is never answered, suggested or written


NO_FILES = PackageFiles()


class Task(WithOptions, ABC):
    """What a fleet learns: a frozen dataclass of its options, as every subclass is by itself.

    Attributes:
        line: What that is, in a line; the docstring's first unless it says.
        form: Of its examples.
        families_of: The tasks whose student families it takes, by name.
        default_method: By which it learns where nobody says.
        own_teacher: Whether the teacher may be a network that the configuration names.
        usual_codec: How soft labels of labels at each place travel where nobody says; None is the method's.
    """

    form: ClassVar[ExampleForm]
    families_of: ClassVar[tuple[str, ...]]
    default_method: ClassVar[str] = "fedstill"
    own_teacher: ClassVar[bool] = True
    usual_codec: ClassVar[SoftLabelCodec | None] = None

    def check(self, config: FleetConfig) -> None:
        """Refuse a configuration that does not suit the task.

        Raises:
            ConfigError: Naming the setting, its value and what would do.
        """
        for family in config.families:
            if FAMILIES.task_of(family) not in self.families_of:
                needed = f"one of {FAMILIES.in_words(self.families_of)}"
                raise ConfigError(f"families: {family!r} is not {needed}")
        if config.teacher.network and not self.own_teacher:
            raise ConfigError(
                f"teacher.network: {config.teacher.network!r} cannot teach here, where the task has its own; "
                "leave it out"
            )

    @abstractmethod
    def training(self, config: FleetConfig) -> ServerTraining:
        """How teacher and students of a fleet learn on the server."""

    @abstractmethod
    def default_work(self, *, labelled: bool) -> LocalWork:
        """What a device does in a round; labelled: whether labels of the public set are used."""

    def plain_work(self, *, labelled: bool) -> LocalWork:
        """The same under methods whose devices take plain gradient steps."""
        return self.default_work(labelled=labelled)

    @abstractmethod
    def default_teacher(self, examples: int, *, made: bool) -> TeacherConfig:
        """How the teacher learns so many examples, and the students from it.

        Args:
            examples: Those that are learned before the first round.
            made: Whether teacher and students are made of more than the public set (see Material.start).
        """

    @abstractmethod
    def read(self, files: FleetFiles) -> Material:
        """What an operator's files come to.

        Raises:
            FedstillError: For files that no fleet of this task can be made of.
        """

    def begins_anew(self, before: Task) -> bool:
        """Whether students made by this task take the place of those made by `before`, of the same shapes."""
        return False

    def step_words(self, config: FleetConfig) -> int | None:
        """Words that a device's step of training sees, where students have tables of words."""
        return None

    def package_files(
        self, folder: Path, config: FleetConfig, family: str, parameters: Parameters, test: Examples | None
    ) -> PackageFiles:
        """What the package of a family's student with these parameters holds besides.

        Args:
            folder: Of the run.
            config: Of the run.
            family: The student's.
            parameters: The student's.
            test: The fleet's test set, if it has one.
        """
        return NO_FILES

    def stranger(self, folder: Path, config: FleetConfig, package: StudentPackage) -> str:
        """Why a package's student means something else than the fleet's by the same numbers; "" if not so."""
        return ""
