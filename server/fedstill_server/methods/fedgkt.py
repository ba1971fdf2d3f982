"""After FedGKT (He et al. 2020, arXiv 2007.14513): knowledge both ways, over the features of small students.

In the paper a device sends, for each private example, its features, soft label and label; a large network on
the server learns from them, and sends its own soft label of each example back. Features of private examples
are as good as the examples, and a soft label for each makes every task another. Here both ways lead over the
public set:

- Up: of each public row that the round asks for, a device's soft label p and its relative features r
  (client: relative_features.py), which students of any family have in common.
- The server's network G, with the teacher's layers, never sees an example, only the mean features of a row:

      T^2 KL(mean_i p_i || softmax(G(mean_i r_i) / T)), and CE(y) with the same weight where y may be used

- Down: softmax(G / T) of all rows whose features are known, from which devices distil as in FedMD
  (fedmd.py).

So what is exchanged grows with the public set instead of the private ones, and labels stay where they are.
All terms are at least 0. Whether G helps depends on what features add to soft labels; compare with fedmd.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from fedstill_proto.arrays import FloatArray
from fedstill_proto.messages import SoftLabelSummary, SummaryKind, SummaryRequest
from fedstill_proto.readers.classes import UNLABELLED

from fedstill_server.consensus.aggregation import Both, RowSums, VoteSums
from fedstill_server.methods.anchored import Anchored
from fedstill_server.methods.folded import FirstFolded, fold_option
from fedstill_server.methods.public_consensus import CONSENSUS, PublicConsensus
from fedstill_server.randomness import derived_seed
from fedstill_server.state import FleetState

if TYPE_CHECKING:
    from torch import nn

FEATURES, FEATURED, SAID = "public_features", "public_featured", "server_said"
_NETWORK = "server_network/"


class FedGkt(Anchored, FirstFolded, PublicConsensus):
    fold: str = fold_option("mean, trust, nearest, trimmed or median, of soft labels")
    line = "features and soft labels of public examples, both ways (FedGKT: He et al. 2020, arXiv 2007.14513)"

    def start(self, state: FleetState) -> FleetState:
        state, rows = super().start(state), len(self.public)
        arrays = {
            FEATURES: np.zeros((rows, self.width), np.float32),
            FEATURED: np.zeros(rows, np.uint8),
            SAID: state.arrays[CONSENSUS].copy(),
        }
        return state.replace(arrays={**state.arrays, **arrays})

    def request(self, state: FleetState, round_number: int) -> SummaryRequest:
        request = super().request(state, round_number)
        return request if request.kind is SummaryKind.NONE else replace(request, anchor_rows=self.anchor_rows)

    def zero(self, *, round_number: int) -> Both[VoteSums, RowSums]:
        votes = super().zero(round_number=round_number)
        return Both(votes, RowSums.zero(len(self.public), self.width))

    def contribution(
        self, state: FleetState, *, round_number: int
    ) -> Callable[[SoftLabelSummary], Both[VoteSums, RowSums]]:
        votes = super().contribution(state, round_number=round_number)
        asked, public = self.asked_rows(state, round_number), len(self.public)

        def sums(summary: SoftLabelSummary) -> Both[VoteSums, RowSums]:
            features = summary.statistics.features
            assert features is not None  # the gate lets no other answers through
            return Both(votes(summary), RowSums.at_places(features, asked, of=public))

        return sums

    def learn(
        self, state: FleetState, consensus: Both[VoteSums, RowSums], *, round_number: int
    ) -> FleetState:
        """The server's network learns from the devices; then all others learn what it says."""
        answered = consensus.second.weights > 0
        features = np.where(answered[:, None], consensus.second.result(), state.arrays[FEATURES])
        featured = (state.arrays[FEATURED] > 0) | answered
        arrays = {FEATURES: features.astype(np.float32), FEATURED: featured.astype(np.uint8)}
        state = self.remember(state, consensus.first, round_number=round_number)
        state = self._network_learns(
            state.replace(arrays={**state.arrays, **arrays}), round_number=round_number
        )
        return self.learn_taught(state, round_number=round_number)

    def taught(self, state: FleetState) -> FloatArray:
        return state.arrays[SAID]

    def _network_learns(self, state: FleetState, *, round_number: int) -> FleetState:
        # torch takes a second to import, which options and their errors do not need.
        from fedstill_server.training.fitting import FitPlan, fit
        from fedstill_server.training.networks import parameters_of, soft_labels_of

        rows = np.flatnonzero(state.arrays[FEATURED])
        if len(rows) == 0:
            return state
        network, teacher = self._network(state), self.config.teacher
        labels = self.public.y[rows] if self.public.y is not None and self.config.use_public_labels else None
        if labels is not None and UNLABELLED in labels:
            labels = None
        plan = FitPlan(
            epochs=teacher.round_epochs,
            batch_size=teacher.round_batch_size,
            learning_rate=teacher.learning_rate,
            weight_decay=teacher.weight_decay,
            temperature=self.training.temperature,
            hard_weight=0.5 if labels is not None else 0.0,
        )
        x, soft = state.arrays[FEATURES][rows], state.arrays[CONSENSUS][rows]
        fit(
            network,
            x,
            soft,
            plan=plan,
            seed=derived_seed(self.config.seed, round_number, "fedgkt"),
            labels=labels,
        )
        said = state.arrays[SAID].copy()
        said[rows] = soft_labels_of(network, x, temperature=self.training.temperature)
        kept = {f"{_NETWORK}{name}": array for name, array in parameters_of(network).items()}
        return state.replace(arrays={**state.arrays, SAID: said, **kept})

    def _network(self, state: FleetState) -> nn.Module:
        import torch

        from fedstill_server.families.sized import DeepPerceptron
        from fedstill_server.training.networks import load_parameters

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.config.seed, 0, "fedgkt"))
            hidden = self.config.teacher.hidden
            network = DeepPerceptron((self.width,), self.config.classes, hidden=hidden)
        kept = {n.removeprefix(_NETWORK): a for n, a in state.arrays.items() if n.startswith(_NETWORK)}
        if kept:
            load_parameters(network, kept)
        return network
