"""What public-logits and fedstill share: the server follows how far devices move from what it told them.

The server keeps one soft label for each public example, as centred logits z. In a round, all devices start
from their family's student s, learn from their private labels and from softmax(z), and answer for a batch of
public rows. What is summed is the *shift* of a device's logits away from the student that it was given:

    shift = mean_i (log p_i - log p_s), less its mean over the classes and over the rows
    way = K(all, batch) (K(batch, batch) + I)^-1 shift

- The mean over the rows says how often devices see a class: the skew of their own labels, not knowledge of
  the examples (compare logit adjustment, Menon et al. 2020, arXiv 2007.07314).
- Only a batch of rows is answered in a round. A Gaussian kernel K carries shifts to the rows nearby: the mean
  of a Gaussian process with unit noise (Rasmussen and Williams 2006, eq. 2.25).

How far the server goes along the way is each method's own. Teacher and students then learn softmax(z), as
devices are told it: where tasks are coded against earlier ones, that is in codes of which few are new (see
told_levels.py). The server goes on from z itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from fedstill_proto.arrays import Float64Array, FloatArray, IntArray
from fedstill_proto.messages import (
    MAX_START_EPOCHS,
    PublicSoftLabels,
    RoundTask,
    SoftLabelSummary,
    StartPlan,
    StartSource,
    SummaryKind,
    SummaryRequest,
)
from fedstill_proto.mixed_rows import MOST_MIXED_ROWS
from fedstill_proto.soft_labels.codec import SoftLabelCodec
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_proto.soft_labels.gaussian import GaussianSoftLabels
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels, SoftLabels
from fedstill_proto.soft_labels.levels import Grid, Levels

from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.config.many_classes import spreads_rest
from fedstill_server.config.options import option
from fedstill_server.consensus.aggregation import RowSums
from fedstill_server.consensus.coordinates import Coordinates
from fedstill_server.consensus.folds import AnswerKind
from fedstill_server.consensus.folds.clipping import (
    clipped_rows,
    clipped_stack,
    stack_without_prior,
    without_prior,
)
from fedstill_server.consensus.folds.norms import Norms
from fedstill_server.consensus.noised_mean import ALL_FAMILIES, NoisedMean
from fedstill_server.consensus.row_stack import Parts, RowStack
from fedstill_server.methods.folded import Folded, fold_option
from fedstill_server.methods.interface import TASK, SoftLabelUse
from fedstill_server.methods.noised_shift import way_through_noise
from fedstill_server.methods.public_schedule import answered_rows, taught_rows
from fedstill_server.methods.row_kernel import kernel_of
from fedstill_server.methods.told_levels import root_mean_square, told_levels
from fedstill_server.state import FleetState

LOGITS, TOLD = "public_logits", "public_told"
_COARSE = parse_codec("dense,4bit,log,entropy,delta")


class PublicShift(Folded):
    soft_labels = SoftLabelUse.PUBLIC_ROWS
    answer_kind = AnswerKind.SHIFTS
    default_clip: ClassVar[float | None] = 10.0
    makes_starts = True
    start_from: str = option(
        StartSource.INSTALLED.value,
        "Where a device's student of a round is from: installed, that of the device's signed package; own, "
        "the device's of its last round; both learn the round's soft labels of public examples first. Or "
        "task, the server's weights, which come with the task, and which a hostile server can make traps of.",
        choices=(TASK, *(source.value for source in StartSource)),
    )
    start_epochs: int = option(
        60,
        "Unless the student comes with the task: passes over the public examples in which it learns them; of "
        "utterances 10.",
        least=0,
        most=MAX_START_EPOCHS,
    )
    start_rate: float = option(
        1.0,
        "The learning rate that those passes begin with, as a multiple of that on private examples.",
        above=0,
        most=100,
    )
    fold: str = fold_option("clipped, trust, vetted, nearest, trimmed, median or mean")
    sharpen: float = option(
        0.0,
        "Temperature that sharpens what all learn (entropy reduction, DS-FL); 0 takes it as it is.",
        least=0,
        most=1,
    )
    fewest_rows: int = option(
        800,
        "Public examples that a fleet has at least: where there are fewer, the rest are mixed of those, by "
        "every device alike, so that none is sent; 0 mixes none.",
        least=0,
        most=MOST_MIXED_ROWS,
        of_amounts=True,
    )
    told_tolerance: float = option(
        0.03,
        "Where tasks are coded against earlier ones: how much the codes of a public example's soft label may "
        "add to its divergence by staying what they were, in nats; 0 tells the nearest codes.",
        least=0,
        most=1,
    )
    propagation_width: float = option(
        1 / 3,
        "How far what is learned of a public example reaches its neighbours, in median distances; 0 is off.",
        least=0,
        most=100,
        of_amounts=True,
    )

    def rows_of(self, public_rows: int) -> int:
        return max(public_rows, self.fewest_rows)

    def start(self, state: FleetState) -> FleetState:
        """The teacher's soft labels are the first consensus."""
        return self.moved(state, self.coordinates.of(self.teacher_says(state, self.public.x), least=1e-6))

    @property
    def coordinates(self) -> Coordinates:
        """What the server holds of a public row."""
        return Coordinates(self.config.target, self.config.classes)

    def moved(self, state: FleetState, logits: Float64Array) -> FleetState:
        """The state with other logits [P, width], and what devices are told of them."""
        before = state.arrays.get(LOGITS, np.zeros(logits.shape, np.float32))
        state = state.replace(arrays={**state.arrays, LOGITS: logits.astype(np.float32)})
        codec = self.config.downlink
        if not codec.delta or codec.grid is not Grid.LOG or codec.kept(self.config.classes):
            return state
        levels = told_levels(
            self._softened(state),
            self._told(state),
            codec,
            move=root_mean_square(logits - before) / (self.sharpen or 1),
            tolerance=self.told_tolerance,
        )
        return state.replace(arrays={**state.arrays, TOLD: levels.codes})

    def task(self, state: FleetState, *, round_number: int, family: str, newcomer: bool) -> RoundTask:
        rows = taught_rows(self.config, len(self.public), round_number)
        answers = self.answered_rows(round_number)
        levels, taught = self._told(state), self.taught(state)
        soft_labels = self.as_soft_labels(taught.reshape(len(self.public), -1, self.config.classes)[rows])
        targets = PublicSoftLabels(rows, soft_labels, None if levels is None else levels.of_rows(rows))
        weights = self.start_from == TASK
        return self.asking(
            round_number=round_number,
            family=family,
            request=SummaryRequest(
                SummaryKind.PUBLIC_SET, self.config.uplink, answers, relative=self.relative
            ),
            parameters=state.students[family] if weights else {},
            replace_student=weights,
            soft_targets=targets,
            start=self.start_plan,
        )

    @property
    def relative(self) -> bool:
        """Whether devices answer how far they went; they must where the server does not know their start."""
        return self.start_from != TASK

    @property
    def start_plan(self) -> StartPlan | None:
        if self.start_from == TASK:
            return None
        return StartPlan(
            source=StartSource(self.start_from),
            epochs=self.start_epochs,
            learning_rate=self.start_rate * self.training.learning_rate,
            input_noise=self.input_noise,
        )

    @property
    def goes_on(self) -> bool:
        return False  # each round starts from the device's package, or from the server's weights

    @property
    def usual_downlink(self) -> SoftLabelCodec | None:
        """Coarse where soft labels are all that comes down; beside weights they are the smaller part."""
        return None if self.start_from == TASK else _COARSE

    @property
    def shares_starts(self) -> bool:
        return self.start_from == StartSource.INSTALLED.value and self.start_epochs > 0

    @property
    def input_noise(self) -> float:
        """Of what students learn of public examples: standard deviation, in units of x."""
        return 0.0

    def zero(self, *, round_number: int) -> RowSums:
        return RowSums.zero(len(self.public), self.coordinates.summed_width)

    def norms(self, part: RowSums) -> Norms:
        return Norms.of_rows(self._comparable(part))

    def clipped(self, part: RowSums, norms: Norms) -> RowSums:
        return clipped_rows(self._comparable(part), norms)

    def stacked_norms(self, parts: Parts) -> Norms:
        if not isinstance(parts, RowStack):
            return super().stacked_norms(parts)
        return Norms.of_stack(self._stack_comparable(parts))

    def stacked_clipped(self, stack: RowStack, norms: Norms) -> Parts:
        return clipped_stack(self._stack_comparable(stack), norms)

    def _stack_comparable(self, stack: RowStack) -> RowStack:
        return stack if self.config.target.is_regression else stack_without_prior(stack)

    def _comparable(self, part: RowSums) -> RowSums:
        return part if self.config.target.is_regression else without_prior(part)

    def check(self, config: FleetConfig) -> None:
        super().check(config)
        if config.target.is_single:
            return
        fold, usual = self.fold, ("auto", "clipped", "trimmed", "median", "mean")
        if fold not in usual:
            needed = f"one of {', '.join(usual)}: the others compare answers with classes"
            raise ConfigError(
                f"method.fold: {fold!r} is not {needed}, and the target is {config.target.kind.value}"
            )
        if self.start_from == TASK:
            raise ConfigError(
                f"method.start_from: {TASK!r} is not installed or own, from where a device of target "
                f"{config.target.kind.value} answers how far it went"
            )
        if config.privacy is not None and config.target.is_regression:
            raise ConfigError(
                "privacy: this method has no noised answers of numbers, since its bound is one of classes; "
                "use fedavg, whose answers are weights, or leave --privacy out"
            )

    def auto_fold(self) -> str:
        """By labels, if the server knows any. Without, nothing is safe that costs little on skewed data."""
        labels = self.known_labels
        if labels is None:
            return "clipped"
        return "vetted" if labels.learned and self.config.mode == "rounds" else "trust"

    def contribution(self, state: FleetState, *, round_number: int) -> Callable[[SoftLabelSummary], RowSums]:
        """The shift of a device's logits away from the student it started from, which is what it answers."""
        rows, least = self.answered_rows(round_number), self.config.uplink.least
        coordinates = self.coordinates

        def shift(summary: SoftLabelSummary) -> RowSums:
            assert summary.statistics.soft_labels is not None  # the gate lets no other through
            moved = coordinates.summed(summary.statistics.soft_labels.dense(), least=least)
            return RowSums.at_places(moved, rows, of=len(self.public))

        return shift

    def stacked_contribution(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[Sequence[SoftLabelSummary]], Parts]:
        if self.config.target.is_regression:
            return super().stacked_contribution(state, round_number=round_number)
        rows, least = self.answered_rows(round_number), self.config.uplink.least
        coordinates = self.coordinates

        def shifts(summaries: Sequence[SoftLabelSummary]) -> Parts:
            said = [summary.statistics.soft_labels for summary in summaries]
            dense = np.stack([one.dense() for one in said if one is not None])
            return RowStack(coordinates.summed_stack(dense, least=least), rows, len(self.public))

        return shifts

    def way_of(self, state: FleetState, consensus: RowSums) -> tuple[Float64Array, float]:
        """Where devices went (see Coordinates.way), carried to all rows [P, width], and how far to trust it.

        The second is 1 where no noise was added.
        """
        rows, width = np.flatnonzero(consensus.weights), self.propagation_width
        shift = self.coordinates.way(consensus.result()[rows], state.arrays[LOGITS][rows])
        if consensus.noise == 0:
            return propagated(shift, self.public.x, rows, width=width), 1.0
        way, share = way_through_noise(shift, self.public.x, rows, noise=consensus.noise, width=width)
        return way, float(np.sqrt(share))

    def released_parts(self, state: FleetState, *, round_number: int) -> Mapping[str, int]:
        return {ALL_FAMILIES: len(self.answered_rows(round_number)) * self.coordinates.width}

    def released_vector(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[SoftLabelSummary], Float64Array]:
        """The shifts of the answered rows, one after the other."""
        contribution = self.contribution(state, round_number=round_number)
        rows = self.answered_rows(round_number)
        return lambda summary: contribution(summary).totals[rows].reshape(-1)

    def consensus_of(
        self, means: Mapping[str, NoisedMean], state: FleetState, *, round_number: int
    ) -> RowSums:
        if ALL_FAMILIES not in means:
            return self.zero(round_number=round_number)
        mean, rows = means[ALL_FAMILIES], self.answered_rows(round_number)
        cells = mean.vector.reshape(-1, self.config.classes)
        # The noise has a mean over the classes; shifts have not.
        cells = cells - cells.mean(axis=1, keepdims=True)
        sums = RowSums.at_places(cells.reshape(len(rows), -1), rows, of=len(self.public))
        return replace(sums, devices=mean.devices, noise=mean.noise)

    def answered_rows(self, round_number: int) -> IntArray:
        """The public rows that the devices answer in a round, increasing."""
        return answered_rows(self.config, len(self.public), round_number)

    def taught(self, state: FleetState) -> FloatArray:
        """The soft labels [P * places, classes] that everybody learns: the consensus as it is told."""
        told = self._told(state)
        if told is not None:
            return told.soft_labels().dense()
        soft, codec = self._softened(state), self.config.downlink
        return codec.rounded(soft).dense() if spreads_rest(codec, self.config.classes) else soft

    def _told(self, state: FleetState) -> Levels | None:
        """What devices are told, in codes; None where these are made for each task by itself."""
        if TOLD not in state.arrays:
            return None
        codec = self.config.downlink
        return Levels(state.arrays[TOLD], self.config.classes, codec.bits, codec.grid)

    def _softened(self, state: FleetState) -> FloatArray:
        """The soft labels of the consensus [P * places, classes], sharpened."""
        return self.coordinates.softened(state.arrays[LOGITS], sharpen=self.sharpen or 1)

    def as_soft_labels(self, taught: FloatArray) -> SoftLabels:
        """Soft labels [n, places, classes] as they are sent."""
        flat = taught.reshape(-1, taught.shape[-1])
        return GaussianSoftLabels(flat) if self.config.target.is_regression else DenseSoftLabels(flat)


def propagated(shift: Float64Array, x: FloatArray, rows: IntArray, *, width: float) -> Float64Array:
    """The shifts [n, classes] of the rows `rows` [n] of x [P, *shape], carried to all rows [P, classes].

    width: of the Gaussian kernel, as a share of the rows' median distance; 0 moves no other row.
    """
    if width == 0 or len(rows) < 2:
        everywhere = np.zeros((len(x), shift.shape[1]))
        everywhere[rows] = shift
        return everywhere
    kernel = kernel_of(x, rows, width=width)
    carried: Float64Array = kernel @ np.linalg.solve(kernel[rows] + np.eye(len(rows)), shift)
    return carried
