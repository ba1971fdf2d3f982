"""What a method is: which task a device gets, what of its answer is summed, what the server learns from it.

A device does what its task describes, whatever the method: methods live on the server only. A method is a
frozen dataclass of its options. Without a fleet it only holds them, `Fedstill(server_step=0.4)`; what `bind`
returns knows its fleet, too. An own one is a subclass in any module:

    class Gentle(Fedstill):
        line = "fedstill, whose steps get shorter with every round"
        halving: int = option(10, "Rounds in which a step gets half as long.", least=1)

        def step_length(self, round_number: int) -> float:
            return self.server_step * 0.5 ** (round_number / self.halving)

Its option is found in `--help`, in a run's configuration and in its report; `--method module:Gentle` runs it.
"""

from __future__ import annotations

import copy
import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from fedstill_proto.arrays import Float64Array, FloatArray, Parameters
from fedstill_proto.messages import (
    RoundTask,
    SoftLabelSummary,
    SoftTargets,
    StartPlan,
    StartSource,
    SummaryKind,
    SummaryRequest,
    TrainingPlan,
)
from fedstill_proto.mixed_rows import rows_with_mixed
from fedstill_proto.package.target import TargetKind
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec

from fedstill_server.config.fleet import ConfigError, FleetConfig
from fedstill_server.config.options import WithOptions, option
from fedstill_server.consensus.aggregation import Statistics, fold
from fedstill_server.consensus.folds.norms import Norms
from fedstill_server.consensus.noised_mean import NoisedMean
from fedstill_server.consensus.row_stack import Parts
from fedstill_server.data.examples import Examples
from fedstill_server.data.forms import Labels
from fedstill_server.state import FleetState
from fedstill_server.tasks import training_of

if TYPE_CHECKING:
    from fedstill_server.tasks.training import ServerTraining


TASK = "task"
"""`start_from` where tasks bring weights; its other values are those of StartSource."""


class SoftLabelUse(enum.Enum):
    """Which soft labels a device reads in a training step."""

    NONE = "none"
    PRIVATE_ROWS = "private rows"  # one for each private example of the step
    PUBLIC_ROWS = "public rows"  # a private batch, and as many public examples with theirs


@dataclass(frozen=True, kw_only=True)
class MethodDefaults:
    """What suits a method, where nobody says otherwise."""

    temperature: float = 4.0
    soft_weight: float = 0.35  # of the soft labels in a device's loss
    public_batch: int = 130  # public rows that a round asks about, at most
    uplink: SoftLabelCodec = field(default_factory=lambda: SoftLabelCodec(Encoding.UINT8))
    round_epochs: int = 30  # of the public set, in which teacher and students learn on the server each round
    unlabelled_round_epochs: int | None = None  # where no public labels hold them in place; None: as many
    plain_steps: bool = False  # whether devices' moves have to be sums of gradients, which Adam's are not

    def passes(self, *, labelled: bool) -> int:
        """round_epochs, as the public set's labels are used or not."""
        if labelled or self.unlabelled_round_epochs is None:
            return self.round_epochs
        return self.unlabelled_round_epochs


class _Fleet(NamedTuple):
    config: FleetConfig
    public: Examples
    mixed_rows: int


class Method(WithOptions, ABC):
    """One round is: task, contribution of each summary, bounded, bounded_zero + these, settled, learn.

    A subclass becomes a frozen dataclass by itself, whose fields are its options. A bound method has
    `config`, the fleet's configuration, and `public`, its public set.
    """

    line: ClassVar[str] = ""  # what it does, and where it is from; the docstring's first line unless it says
    soft_labels: ClassVar[SoftLabelUse] = SoftLabelUse.NONE
    features: ClassVar[bool] = False  # whether devices say something of their students' features
    exchanges: ClassVar[bool] = True  # whether devices send anything
    learns_public: ClassVar[bool] = False  # whether the server learns public examples itself
    makes_starts: ClassVar[bool] = False  # whether each round starts from a student made for it
    answers: ClassVar[SummaryKind] = SummaryKind.PUBLIC_SET  # the kind of what they send
    label_places: ClassVar[tuple[Labels, ...]] = (Labels.ONE,)  # where an example's labels may stand
    target_kinds: ClassVar[tuple[TargetKind, ...]] = (TargetKind.SINGLE_LABEL,)  # what students may say
    defaults: ClassVar[MethodDefaults] = MethodDefaults()
    default_clip: ClassVar[float | None] = (
        None  # of a device's released vector; None: answers cannot be noised
    )
    _fleet: ClassVar[_Fleet | None] = None  # a bound instance has its own
    start_from: str = option(
        StartSource.INSTALLED.value,
        "Where a device's first student is from: installed, that of the device's signed package; or task, "
        "the server's weights, which come with a task, and which a hostile server can make traps of.",
        choices=(TASK, StartSource.INSTALLED.value),
    )

    def bind(self, config: FleetConfig, public: Examples) -> Self:
        """The same method, of a fleet and its public set."""
        bound, own, rows = copy.copy(self), len(public), self.rows_of(len(public))
        whole = Examples(rows_with_mixed(public.x, np.arange(rows)), public.y)
        object.__setattr__(bound, "_fleet", _Fleet(config, whole, rows - own))
        return bound

    def rows_of(self, public_rows: int) -> int:
        """How many public rows are answered, of a set of so many; those beyond it are mixed."""
        return public_rows

    @classmethod
    def reads_public(cls) -> bool:
        """Whether a fleet needs a public set to learn by it."""
        answers = cls.exchanges and cls.answers is SummaryKind.PUBLIC_SET
        learns = cls.soft_labels is SoftLabelUse.PUBLIC_ROWS or cls.makes_starts or cls.learns_public
        return answers or learns or cls.features

    @property
    def config(self) -> FleetConfig:
        """The fleet's configuration."""
        return self._bound.config

    @property
    def public(self) -> Examples:
        """The public set; where rows are mixed they follow on it, without labels."""
        return self._bound.public

    @property
    def training(self) -> TrainingPlan:
        """What a device does in a round."""
        return self.config.training

    @property
    def start_plan(self) -> StartPlan | None:
        """How devices make the student that a round starts from; None where they have it, or it is sent."""
        return None

    @property
    def knows_owner(self) -> bool:
        """Whether students learn last from their owners' labels, and so how frequent classes are there.

        Their devices need no label prior besides: counted twice, it takes from both accuracies.
        """
        return False

    @property
    def goes_on(self) -> bool:
        """Whether a device's next round goes on from what its last one left of its own student.

        Where none does, a simulation need not keep the student of a device that nobody asks for.
        """
        return True

    @property
    def graph_labels(self) -> SoftLabelUse:
        """Which soft labels a device's training graph reads: those of a round, or for its owner's student."""
        return self.soft_labels

    @property
    def usual_downlink(self) -> SoftLabelCodec | None:
        """How a task's soft labels are coded where nobody says; None is a byte for each probability."""
        return None

    @property
    def shares_starts(self) -> bool:
        """Whether all devices of a family make the same start, which a simulator then makes once."""
        return False

    @property
    def _bound(self) -> _Fleet:
        if self._fleet is None:
            raise ConfigError(
                f"{type(self).__name__}: it knows no fleet yet; bind(config, public) returns one that does"
            )
        return self._fleet

    def check(self, config: FleetConfig) -> None:
        """Raise ConfigError, naming the option, for what cannot be with a fleet's configuration."""

    def start(self, state: FleetState) -> FleetState:
        """`state` with what the method remembers before the first round."""
        return state

    @property
    def runs_students(self) -> bool:
        """Whether `contribution` runs students, for which the server needs torch."""
        return False

    # What a method that chooses between others overrides (auto.py); all others are themselves in each round.

    def of_round(self, state: FleetState, *, round_number: int) -> Method:
        """The bound method whose round it is, of the state before the round."""
        return self

    def compares_after(self, round_number: int) -> bool:
        """Whether devices measure their students after a round for the method itself; see `measured`."""
        return False

    def measured(
        self, state: FleetState, accuracies: Mapping[str, float], *, round_number: int
    ) -> FleetState:
        """The state after a round, once devices have measured themselves: personal accuracies by device."""
        return state

    def notice(self, state: FleetState, *, round_number: int) -> str:
        """What people are to be told after a round, in a sentence; empty in most.

        Whoever prepares a fleet is told that of its first round at once.
        """
        return ""

    @abstractmethod
    def task(self, state: FleetState, *, round_number: int, family: str, newcomer: bool) -> RoundTask:
        """What a device of `family` is asked; a newcomer has no student of its own yet."""

    def evaluation(self, state: FleetState, *, round_number: int, family: str, newcomer: bool) -> RoundTask:
        """Which student a device of `family` is to be measured with: its own, a newcomer with its start."""
        return self.asking(
            round_number=round_number,
            family=family,
            request=SummaryRequest(SummaryKind.NONE),
            parameters=state.students[family] if newcomer else {},
        )

    @abstractmethod
    def zero(self, *, round_number: int) -> Statistics:
        """The sum over no devices."""

    @abstractmethod
    def contribution(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[SoftLabelSummary], Statistics]:
        """How a summary of the round is turned into what it adds to the sum."""

    # The same of several devices at once, `stacked_...`: no other bits, but fewer steps (row_stack.py).
    # Where a subclass overrides what is done with one device alone, they are left alone.

    def stacked_contribution(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[Sequence[SoftLabelSummary]], Parts]:
        """`contribution` of several summaries."""
        one = self.contribution(state, round_number=round_number)
        return lambda summaries: [one(summary) for summary in summaries]

    # What keeps one device from deciding for all (consensus/folds); without it, answers are added up.

    @property
    def compares(self) -> bool:
        """Whether the answers of a round are measured in a first pass, to bound each by the others."""
        return False

    def norms(self, part: Any) -> Norms:
        """What the first pass notes of one device's contribution."""
        return Norms()

    def stacked_norms(self, parts: Parts) -> Norms:
        """`norms` of several contributions."""
        return fold(map(self.norms, parts), Norms())

    def bounded(self, norms: Norms, state: FleetState, *, round_number: int) -> Callable[[Any], Statistics]:
        """How a contribution is turned into what is summed; `norms` of all answers of the round."""
        return lambda part: part

    def stacked_bounded(
        self, norms: Norms, state: FleetState, *, round_number: int
    ) -> Callable[[Parts], Parts]:
        """`bounded` of several contributions."""
        one = self.bounded(norms, state, round_number=round_number)
        return lambda parts: [one(part) for part in parts]

    def bounded_zero(self, *, round_number: int) -> Statistics:
        """The sum over no devices of what `bounded` makes."""
        return self.zero(round_number=round_number)

    def settled(self, total: Any, *, round_number: int) -> Any:
        """What `learn` takes, of the sum over at least one device."""
        return total

    @abstractmethod
    def learn(self, state: FleetState, consensus: Any, *, round_number: int) -> FleetState:
        """The state after learning from the sum over at least one device."""

    def released_parts(self, state: FleetState, *, round_number: int) -> Mapping[str, int]:
        """Where answers are noised: numbers in a vector, by family, or of ALL_FAMILIES in one."""
        return {}

    def released_vector(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[SoftLabelSummary], Float64Array]:
        """How an answer without noise is turned into its vector (see fedstill_proto.privacy.vectors)."""
        raise ConfigError(f"method: {self.config.method.name!r} has no noised answers")

    def consensus_of(
        self, means: Mapping[str, NoisedMean], state: FleetState, *, round_number: int
    ) -> Statistics:
        """What `learn` takes, of the noised means by family."""
        raise ConfigError(f"method: {self.config.method.name!r} has no noised answers")

    # What methods are made of.

    def asking(
        self,
        *,
        round_number: int,
        family: str,
        request: SummaryRequest,
        parameters: Parameters,
        replace_student: bool = False,
        soft_targets: SoftTargets | None = None,
        start: StartPlan | None = None,
    ) -> RoundTask:
        """A task of this run.

        Args:
            round_number: The round.
            family: The devices'.
            request: What they are to answer.
            parameters: A student for those that have none. It is left out where devices start from their
                packages' instead (`start_from`).
            replace_student: Whether `parameters` replace the devices' own students, too.
            soft_targets: What the devices learn.
            start: How devices make the student that they start from; there are no parameters then.
        """
        if start is None and not replace_student and self.start_from != TASK:
            parameters, start = {}, StartPlan(source=StartSource.OWN)
        return RoundTask(
            run=self.config.run,
            round=round_number,
            family=family,
            training=self.training,
            request=self._with_noise(request),
            parameters=parameters,
            replace_student=replace_student,
            soft_targets=soft_targets,
            start=start,
            mixed_rows=self._bound.mixed_rows,
            generation=self.config.generation,
        )

    @property
    def on_server(self) -> ServerTraining:
        """How teacher and students of the fleet learn here; what it returns imports torch."""
        return training_of(self.config)

    def _softness(self, temperature: float | None) -> float:
        return self.training.temperature if temperature is None else temperature

    def teacher_says(
        self, state: FleetState, x: FloatArray, *, temperature: float | None = None
    ) -> FloatArray:
        """The teacher's soft labels [n, classes] of x [n, *shape], at the plan's temperature unless told."""
        server, softness = self.on_server, self._softness(temperature)
        teacher = server.teacher(state.teacher)
        said: FloatArray = server.soft_labels(teacher, Examples(x), temperature=softness)
        return said

    def student_says(
        self, family: str, parameters: Parameters, x: FloatArray, *, temperature: float | None = None
    ) -> FloatArray:
        """The same of a student of `family` with these parameters."""
        server, softness = self.on_server, self._softness(temperature)
        student = server.student(family, parameters)
        said: FloatArray = server.soft_labels(student, Examples(x), temperature=softness)
        return said

    def teacher_learns(
        self, state: FleetState, x: FloatArray, soft_labels: FloatArray, *, round_number: int
    ) -> FleetState:
        """The teacher learns the soft labels [n, classes] of x [n, *shape], softened as the plan says."""
        teacher = self.on_server.teacher_learns(
            state.teacher, Examples(x), soft_labels, round_number=round_number
        )
        return state.replace(teacher=teacher)

    def students_learn(
        self,
        state: FleetState,
        x: FloatArray,
        soft_labels: FloatArray,
        *,
        round_number: int,
        input_noise: float = 0.0,
    ) -> FleetState:
        """The students that devices start from do; input_noise: standard deviation, in units of x."""
        server = self.on_server
        students = {
            family: server.student_learns(
                family,
                student,
                Examples(x),
                soft_labels,
                round_number=round_number,
                input_noise=input_noise,
            )
            for family, student in state.students.items()
        }
        return state.replace(students=students)

    def all_learn(
        self, state: FleetState, x: FloatArray, soft_labels: FloatArray, *, round_number: int
    ) -> FleetState:
        """Teacher and starting students do."""
        state = self.teacher_learns(state, x, soft_labels, round_number=round_number)
        return self.students_learn(state, x, soft_labels, round_number=round_number)

    def _with_noise(self, request: SummaryRequest) -> SummaryRequest:
        """The same, noised on the device or summed unseen where that is the run's rule."""
        rule, summing = self.config.privacy, self.config.summing
        if rule is None or request.kind is SummaryKind.NONE:
            return request
        if rule.mode == "central" and summing is None:
            return request
        relative = request.kind is SummaryKind.PUBLIC_SET
        return SummaryRequest(
            request.kind,
            public_rows=request.public_rows,
            relative=relative,
            noising=rule.noising,
            summing=summing,
        )
