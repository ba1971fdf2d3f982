"""What an adversary sees of a device in a round, as one vector of numbers.

Without privacy it is the answer, field by field. With --privacy local it is the noised vector that the device
sends. With --privacy central it is what the server releases, for an adversary who knows what all other
devices answered and subtracts it: the device's own clipped vector, and the noise of the whole sum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from fedstill_proto.arrays import Float64Array
from fedstill_proto.messages import PrivateStatistics, RoundTask, SoftLabelSummary, SummaryKind
from fedstill_proto.privacy.vectors import moved_vector
from fedstill_server.methods import build_method
from fedstill_server.methods.interface import Method
from fedstill_server.privacy.rule import PrivacyRule
from fedstill_server.rounds.gate import Answer
from fedstill_server.rounds.private_fold import PrivateFold
from fedstill_server.tasks import load_public

from fedstill_sim.audit.observed_run import ObservedRound, ObservedRun

_LEAST = 0.5 / 255  # half of the smallest step of a uint8 soft label: below it, nobody can tell


@dataclass(frozen=True, kw_only=True)
class SeenVectors:
    """Turns answers into what is seen of them.

    Attributes:
        observed: The run whose tasks are answered.
        method: The run's method.
    """

    observed: ObservedRun
    method: Method

    @classmethod
    def of(cls, observed: ObservedRun) -> SeenVectors:
        """Those of a run."""
        fleet = observed.config.fleet
        return cls(observed=observed, method=build_method(fleet, load_public(observed.folder, fleet)))

    @property
    def rule(self) -> PrivacyRule | None:
        """The run's promise to its devices."""
        return self.observed.config.fleet.privacy

    def seen(
        self, one: ObservedRound, summary: SoftLabelSummary, *, noise_seed: int, noiseless: bool = False
    ) -> Float64Array:
        """What is seen [d] of an answer.

        Args:
            one: The round.
            summary: The answer, decoded.
            noise_seed: Seed of the server's noise, where the server adds it.
            noiseless: Whether nobody adds any.
        """
        rule = self.rule
        if rule is None:
            return answer_vector(summary, one.decoded, self.observed.config.fleet.classes, one)
        noising = rule.noising
        if summary.statistics.noised is not None:
            return noising.values(summary.statistics.noised)
        if noiseless:
            read = self.method.released_vector(one.state, round_number=summary.round)
            return noising.values(noising.on_grid(read(summary)))
        fold = PrivateFold(self.method, replace(rule, noise_seed=noise_seed))
        means = fold.noised_means(
            [Answer("shadow", summary, summary.round)],
            one.state,
            asked={summary.family: 1},
            round_number=summary.round,
        )
        return np.concatenate([mean.vector for _, mean in sorted(means.items())])


def answer_vector(
    summary: SoftLabelSummary, task: RoundTask, classes: int, one: ObservedRound
) -> Float64Array:
    """All numbers of an answer without noise, each in a place of its own whatever the device left out."""
    statistics, request = summary.statistics, task.request
    parts: list[Float64Array] = []
    if request.kind is SummaryKind.PUBLIC_SET:
        asked = np.arange(len(request.public_rows))
        places = asked if statistics.answered is None else np.flatnonzero(statistics.answered)
        parts += _rows_in_place(statistics, places, len(asked), classes)
    elif request.kind in (SummaryKind.CLASS_MEANS, SummaryKind.CLASS_PROTOTYPES):
        parts += _rows_in_place(statistics, statistics.present_classes, classes, classes)
    elif request.kind is SummaryKind.PARAMETERS:
        given = task.parameters or one.state.students[summary.family]
        parts.append(moved_vector(statistics.parameters, given))
        parts.append(np.array([float(statistics.examples)]))
    counts = np.zeros(classes)
    counts[statistics.present_classes] = statistics.class_examples if len(statistics.class_examples) else 1
    parts.append(np.log1p(counts))
    return np.concatenate(parts)


def _rows_in_place(
    statistics: PrivateStatistics, places: np.ndarray, rows: int, classes: int
) -> list[Float64Array]:
    """Centred log soft labels [rows, classes], which rows there are, and features, each flat."""
    present = np.zeros(rows)
    present[places] = 1
    parts = [present]
    if statistics.soft_labels is not None:
        logs = np.zeros((rows, classes))
        told = np.log(np.maximum(statistics.soft_labels.dense(), _LEAST))
        logs[places] = told - told.mean(axis=1, keepdims=True)
        parts.append(logs.reshape(-1))
    if statistics.features is not None:
        features = np.zeros((rows, statistics.features.shape[1]))
        features[places] = statistics.features
        parts.append(features.reshape(-1))
    return parts
