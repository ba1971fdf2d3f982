"""FedProto (Tan et al. 2021, arXiv 2105.00243): devices share what their classes look like, not what they
answer.

A device sends the mean features of each of its classes, its prototypes; the server takes their mean, and a
device adds lambda ||f(x) - g_y||^2 to its loss, so that its features gather about the global prototype of
their label:

    g_c = mean_i h_ic,    h_ic = mean of r(x) over device i's examples of c

What differs, and why:

- Devices count once: the paper's weight, the examples behind h_ic, is what a device says itself.
- Features r are relative ones (client: relative_features.py), cosines with a few public rows. The paper's
  mean needs features of one width and one meaning; those of mixed families have neither.
- A training step on a device has no input for features, so the pull is put into words that it has. The paper
  wants f(x) at g_y; a classifier of prototypes there would say softmax_c(-d(g_y, g_c)), which is the same
  for all examples of a class. That is the soft label of class y, and enters as T^2 KL, which is at least 0:

      q_y = softmax_c(-sharpness ||g_y - g_c||^2 / (mean squared distance) / T)

  So a student learns which classes are alike in the fleet's eyes. It is not moved towards g_y itself.

The server learns prototypes and nothing else: teacher and starting students stay as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from fedstill_proto.arrays import Float64Array, FloatArray, IntArray
from fedstill_proto.messages import ClassSoftLabels, RoundTask, SoftLabelSummary, SummaryKind, SummaryRequest
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels

from fedstill_server.config.options import option
from fedstill_server.consensus.aggregation import RowSums, Statistics
from fedstill_server.consensus.weighting import softened
from fedstill_server.methods.anchored import Anchored
from fedstill_server.methods.interface import SoftLabelUse
from fedstill_server.state import FleetState

PROTOTYPES, SEEN = "prototypes", "class_seen"


class FedProto(Anchored):
    line = "mean features of each class (Tan et al. 2021, arXiv 2105.00243)"
    soft_labels = SoftLabelUse.PRIVATE_ROWS
    answers = SummaryKind.CLASS_PROTOTYPES
    sharpness: float = option(
        8.0,
        "How fast soft labels fall with the distance of prototypes: logits, for the mean squared distance.",
        above=0,
        most=1000,
    )

    def start(self, state: FleetState) -> FleetState:
        """Nothing is known of any class."""
        classes, width = self.config.classes, self.width
        arrays = {PROTOTYPES: np.zeros((classes, width), np.float32), SEEN: np.zeros(classes, np.uint8)}
        return state.replace(arrays=arrays)

    def task(self, state: FleetState, *, round_number: int, family: str, newcomer: bool) -> RoundTask:
        return self.asking(
            round_number=round_number,
            family=family,
            request=self.request,
            parameters=state.students[family] if newcomer else {},
            soft_targets=self.targets(state),
        )

    @property
    def request(self) -> SummaryRequest:
        return SummaryRequest(SummaryKind.CLASS_PROTOTYPES, anchor_rows=self.anchor_rows)

    def zero(self, *, round_number: int) -> Statistics:
        return RowSums.zero(self.config.classes, self.width)

    def contribution(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[SoftLabelSummary], Statistics]:
        return lambda summary: RowSums.of_prototypes(summary.statistics, classes=self.config.classes)

    def learn(self, state: FleetState, consensus: Any, *, round_number: int) -> FleetState:
        """Prototypes of the classes that somebody has examples of; the others stay."""
        return self.remember(state, consensus.result(), consensus.weights > 0)

    def remember(self, state: FleetState, prototypes: Float64Array, answered: np.ndarray) -> FleetState:
        """`prototypes` [classes, W] of the classes `answered` [classes] take the place of those before."""
        new = np.where(answered[:, None], prototypes, state.arrays[PROTOTYPES]).astype(np.float32)
        seen = (state.arrays[SEEN].astype(bool) | answered).astype(np.uint8)
        return state.replace(arrays={**state.arrays, PROTOTYPES: new, SEEN: seen})

    def targets(self, state: FleetState) -> ClassSoftLabels | None:
        """A soft label for each class that has a prototype."""
        present = np.flatnonzero(state.arrays[SEEN]).astype(np.int64)
        if len(present) == 0:
            return None
        return ClassSoftLabels(present, DenseSoftLabels(self.taught(state, present)))

    def taught(self, state: FleetState, present: IntArray) -> FloatArray:
        """Soft labels [m, classes] of the classes `present` [m]."""
        prototypes = state.arrays[PROTOTYPES][present].astype(np.float64)
        alike = likeness(prototypes, sharpness=self.sharpness)
        labels = np.zeros((len(present), self.config.classes))
        labels[:, present] = softened(alike, self.training.temperature)
        return labels.astype(np.float32)


def likeness(prototypes: Float64Array, *, sharpness: float) -> Float64Array:
    """softmax over classes [m, m] of -sharpness times squared distances, in units of their mean."""
    differences = prototypes[:, None] - prototypes
    squared = (differences * differences).sum(axis=-1)
    apart = squared[~np.eye(len(squared), dtype=bool)]
    scaled = squared / (apart.mean() if apart.any() else 1.0)
    powers = np.exp(-sharpness * scaled)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
