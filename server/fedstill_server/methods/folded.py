"""What methods share whose answers are folded robustly: which fold it is, and what it does with an answer.

A fold is one file of consensus/folds. `auto` is the strongest that the fleet has what it takes for, as
`auto_fold` of each kind of method says; noised answers, which nobody may look at one by one, have none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from fedstill_proto.arrays import Float64Array
from fedstill_proto.readers.classes import UNLABELLED

from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.config.options import option
from fedstill_server.consensus.aggregation import Both, Statistics
from fedstill_server.consensus.folds import FOLDS, AnswerKind, Fold, RowLabels
from fedstill_server.consensus.folds.norms import Norms
from fedstill_server.consensus.row_stack import Parts, RowStack, stacks
from fedstill_server.methods.interface import Method
from fedstill_server.state import FleetState

AUTO = "auto"


def folds_of(kind: AnswerKind) -> tuple[str, ...]:
    """The names of the folds that there are for answers of a kind."""
    return tuple(name for name in FOLDS if kind in FOLDS.load(name).kinds)


def fold_option(folds: str) -> Any:
    """The option that names the fold; folds: those that there are, in words."""
    return option(
        AUTO, f"How answers become one although some may lie: {folds}; auto is what suits the fleet."
    )


class Folded(Method):
    answer_kind: ClassVar[AnswerKind]
    fold: str = fold_option("a fold")

    def auto_fold(self) -> str:
        """The fold of a bound method where nobody names one."""
        return "clipped"

    @property
    def fold_name(self) -> str:
        """The fold of this fleet; `mean` where only the sum of answers may be looked at."""
        if self.fold != AUTO:
            return self.fold
        return "mean" if _only_sums(self.config) else self.auto_fold()

    def check(self, config: FleetConfig) -> None:
        super().check(config)
        if self.fold == AUTO:
            return
        fold, kind = FOLDS.load(self.fold, where="method.fold"), self.answer_kind
        if kind not in fold.kinds:
            raise _refused(self.fold, f"a fold of {kind.value}: {', '.join((AUTO, *folds_of(kind)))}")
        if _only_sums(config) and self.fold != "mean":
            needed = "mean or auto, the folds of answers that are noised or summed unseen"
            raise _refused(self.fold, needed)
        if fold.buffers and config.mode == "async":
            raise _refused(self.fold, "a fold of mode async, whose answers are of different rounds")
        if fold.needs_labels and not (config.use_public_labels or config.secret_labels):
            raise _refused(self.fold, "a fold of a fleet whose server knows no label of a public example")

    @property
    def known_labels(self) -> RowLabels | None:
        """The labels of public rows that the server knows, where they are classes."""
        if secret := self.config.secret_labels:
            rows, labels = np.array([int(row) for row in secret]), np.array([*secret.values()])
            return RowLabels(rows, labels, learned=False)
        if self.public.y is None or not (self.config.use_public_labels and self.config.target.is_single):
            return None
        rows = np.flatnonzero(self.public.y != UNLABELLED)
        return RowLabels(rows, self.public.y[rows])

    @property
    def robust(self) -> Fold:
        """The fold of this fleet."""
        found = FOLDS.load(self.fold_name, where="method.fold")
        labels = self.known_labels
        if found.needs_labels and labels is None:
            raise _refused(self.fold, "a fold of a public set without labels")
        return found(labels)

    @property
    def compares(self) -> bool:
        return self.robust.clips

    def clipped(self, part: Any, norms: Norms) -> Any:
        """One device's contribution, no longer than the limit of the round."""
        return part

    def before(self, state: FleetState) -> Float64Array | None:
        """The soft labels of all rows that the fleet had before the round, if it has any."""
        return None

    def bounded(self, norms: Norms, state: FleetState, *, round_number: int) -> Callable[[Any], Statistics]:
        fold, before = self.robust, self.before(state)

        def part(said: Any) -> Statistics:
            return fold.part(self.clipped(said, norms) if fold.clips else said, before=before)

        return part

    def stacked_clipped(self, stack: RowStack, norms: Norms) -> Parts:
        """`clipped` of several contributions."""
        return [self.clipped(part, norms) for part in stack]

    def stacked_bounded(
        self, norms: Norms, state: FleetState, *, round_number: int
    ) -> Callable[[Parts], Parts]:
        fold, before = self.robust, self.before(state)
        each = super().stacked_bounded(norms, state, round_number=round_number)
        clips_stacks = not fold.clips or stacks(type(self), "stacked_clipped", "clipped")
        if not (clips_stacks and stacks(type(fold), "stacked_part", "part")):
            return each

        def parts(said: Parts) -> Parts:
            clipped = self.stacked_clipped(said, norms) if fold.clips and isinstance(said, RowStack) else said
            return fold.stacked_part(clipped, before=before) if isinstance(clipped, RowStack) else each(said)

        return parts

    def bounded_zero(self, *, round_number: int) -> Statistics:
        return self.robust.zero(self.zero(round_number=round_number))

    def settled(self, total: Any, *, round_number: int) -> Any:
        return self.robust.result(total, zero=self.zero(round_number=round_number))


class FirstFolded(Folded):
    """Of contributions that are Both of two sums it folds the first; the second, bounded anyhow, adds up."""

    def bounded_zero(self, *, round_number: int) -> Statistics:
        none: Any = self.zero(round_number=round_number)
        return Both(self.robust.zero(none.first), none.second)

    def bounded(self, norms: Norms, state: FleetState, *, round_number: int) -> Callable[[Any], Statistics]:
        first = super().bounded(norms, state, round_number=round_number)
        return lambda said: Both(first(said.first), said.second)

    def settled(self, total: Any, *, round_number: int) -> Any:
        none: Any = self.zero(round_number=round_number)
        return Both(self.robust.result(total.first, zero=none.first), total.second)


def _only_sums(config: FleetConfig) -> bool:
    return config.privacy is not None or config.secure_sums is not None


def _refused(name: str, needed: str) -> ConfigError:
    return ConfigError(f"method.fold: {name!r} is not {needed}")
