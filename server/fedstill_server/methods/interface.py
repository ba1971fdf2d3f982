"""What a method is: which task a device gets, what of its answer is summed, what the server learns from it.

A device does what its task describes, whatever the method: methods live on the server only.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from fedstill_proto.arrays import Float64Array, Parameters
from fedstill_proto.messages import (
    RoundTask,
    SoftLabelSummary,
    SoftTargets,
    SummaryKind,
    SummaryRequest,
    TrainingPlan,
)
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec

from fedstill_server.config.fleet import ConfigError, FleetConfig
from fedstill_server.consensus.aggregation import Statistics
from fedstill_server.consensus.noised_mean import NoisedMean
from fedstill_server.data.examples import Examples
from fedstill_server.state import FleetState


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

    def passes(self, *, labelled: bool) -> int:
        """round_epochs, as the public set's labels are used or not."""
        if labelled or self.unlabelled_round_epochs is None:
            return self.round_epochs
        return self.unlabelled_round_epochs


class Method(Protocol):
    """One round is: task, contribution of each summary, zero + contributions, learn."""

    line: ClassVar[str]  # what it does, and where it is from
    soft_labels: ClassVar[SoftLabelUse]
    features: ClassVar[bool]  # whether devices say something of their students' features
    reads_arrays: ClassVar[bool]  # whether its students may be classifiers of arrays
    reads_text: ClassVar[bool]  # whether they may be of text
    defaults: ClassVar[MethodDefaults]
    usual_clip: ClassVar[float | None]  # of a device's released vector; None: its answers cannot be noised

    def start(self, state: FleetState) -> FleetState:
        """`state` with what the method remembers before the first round."""
        ...

    def task(self, state: FleetState, *, round_number: int, family: str, newcomer: bool) -> RoundTask:
        """What a device of `family` is asked; a newcomer has no student of its own yet."""
        ...

    def evaluation(self, state: FleetState, *, round_number: int, family: str, newcomer: bool) -> RoundTask:
        """Which student a device of `family` is to be measured with."""
        ...

    def zero(self, *, round_number: int) -> Statistics:
        """The sum over no devices."""
        ...

    def contribution(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[SoftLabelSummary], Statistics]:
        """How a summary of the round is turned into what it adds to the sum."""
        ...

    def learn(self, state: FleetState, consensus: Any, *, round_number: int) -> FleetState:
        """The state after learning from the sum over at least one device."""
        ...

    def released_parts(self, state: FleetState, *, round_number: int) -> Mapping[str, int]:
        """Where answers are noised: numbers in a vector, by family, or of ALL_FAMILIES in one."""
        ...

    def released_vector(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[SoftLabelSummary], Float64Array]:
        """How an answer without noise is turned into its vector (see fedstill_proto.privacy.vectors)."""
        ...

    def consensus_of(
        self, means: Mapping[str, NoisedMean], state: FleetState, *, round_number: int
    ) -> Statistics:
        """What `learn` takes, of the noised means by family."""
        ...


class MethodClass(Protocol):
    """A method before it knows its fleet: all that others need to know of methods by name."""

    @property
    def line(self) -> str: ...

    @property
    def soft_labels(self) -> SoftLabelUse: ...

    @property
    def features(self) -> bool: ...

    @property
    def reads_arrays(self) -> bool: ...

    @property
    def reads_text(self) -> bool: ...

    @property
    def defaults(self) -> MethodDefaults: ...

    @property
    def usual_clip(self) -> float | None: ...

    def __call__(self, config: FleetConfig, public: Examples) -> Method: ...


@dataclass(frozen=True, eq=False)
class ServerSide:
    """What every method knows, and what most do: devices keep their own students."""

    line: ClassVar[str]
    soft_labels: ClassVar[SoftLabelUse] = SoftLabelUse.NONE
    features: ClassVar[bool] = False
    reads_arrays: ClassVar[bool] = True
    reads_text: ClassVar[bool] = False
    defaults: ClassVar[MethodDefaults] = MethodDefaults()
    usual_clip: ClassVar[float | None] = None
    config: FleetConfig
    public: Examples

    def start(self, state: FleetState) -> FleetState:
        return state

    def evaluation(self, state: FleetState, *, round_number: int, family: str, newcomer: bool) -> RoundTask:
        """The device's own student; a newcomer's is the one it would start from."""
        return self.asking(
            round_number=round_number,
            family=family,
            request=SummaryRequest(SummaryKind.NONE),
            parameters=state.students[family] if newcomer else {},
        )

    def asking(
        self,
        *,
        round_number: int,
        family: str,
        request: SummaryRequest,
        parameters: Parameters,
        replace_student: bool = False,
        soft_targets: SoftTargets | None = None,
    ) -> RoundTask:
        return RoundTask(
            run=self.config.run,
            round=round_number,
            family=family,
            training=self.training,
            request=self._with_noise(request),
            parameters=parameters,
            replace_student=replace_student,
            soft_targets=soft_targets,
        )

    def _with_noise(self, request: SummaryRequest) -> SummaryRequest:
        """The same, noised on the device where that is the run's rule."""
        rule = self.config.privacy
        if rule is None or rule.mode != "local" or request.kind is SummaryKind.NONE:
            return request
        relative = request.kind is SummaryKind.PUBLIC_SET
        return SummaryRequest(
            request.kind, public_rows=request.public_rows, relative=relative, noising=rule.noising
        )

    @property
    def training(self) -> TrainingPlan:
        return self.config.training

    def released_parts(self, state: FleetState, *, round_number: int) -> Mapping[str, int]:
        return {}

    def released_vector(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[SoftLabelSummary], Float64Array]:
        raise ConfigError(f"method: {self.config.method!r} has no noised answers")

    def consensus_of(
        self, means: Mapping[str, NoisedMean], state: FleetState, *, round_number: int
    ) -> Statistics:
        raise ConfigError(f"method: {self.config.method!r} has no noised answers")
