"""Federated distillation of next words over public sentences (FedMD: Li and Wang 2019, arXiv 1910.03581).

The server holds a soft label c of each place of each public row: the k likeliest next words and a rest
bucket. Devices learn from their own texts and from c, keep the students that come of it, and answer with the
k likeliest next words p_i, and their rest bucket, at each place of a batch of public rows. For each place,

    c <- (1 - server_step) c + server_step mean_i p_i,    of which the k likeliest words stay

What a device does not name counts as nothing there, and is in the rest bucket: the mean of a word that few
devices name is a lower bound. Teacher and starting students then learn c and the rows' own next words.

A sum over all words of the list would take a thousand times the room: what is summed are the cells (place,
word) that somebody named. With drawn tails (fedstill_proto.soft_labels.drawn) there is no rest bucket: the
sum says on average all that devices mean, and what stays of it is drawn again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from fedstill_proto.arrays import IntArray
from fedstill_proto.messages import PublicSoftLabels, RoundTask, SoftLabelSummary, SummaryKind, SummaryRequest
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_proto.soft_labels.label_arrays import TopKSoftLabels

from fedstill_server.config.options import option
from fedstill_server.data.forms import Labels
from fedstill_server.methods.interface import Method, MethodDefaults, SoftLabelUse
from fedstill_server.methods.public_schedule import answered_rows, taught_rows
from fedstill_server.methods.word_sums import WordSums
from fedstill_server.randomness import derived_seed
from fedstill_server.state import FleetState

_NOT_WORTH_IT = (
    "rounds of next-words add nothing to what reading its owner's texts brings a device; rounds of fedadam, "
    "whose devices send weights, do (docs/keyboard.md)"
)

WORDS, CHANCES = "next_words", "next_word_chances"  # [places of the public set, k]


class NextWords(Method):
    line = "mean of the likeliest next words of public sentences (after FedMD, of text)"
    soft_labels = SoftLabelUse.PUBLIC_ROWS
    label_places = (Labels.EACH_PLACE,)
    defaults = MethodDefaults(
        temperature=1.0, public_batch=32, uplink=parse_codec("topk16,6bit,log,entropy"), round_epochs=1
    )
    server_step: float = option(
        0.5,
        "How far a round moves the fleet's soft labels towards the devices', as a share of the way.",
        least=0,
        most=1,
    )

    def start(self, state: FleetState) -> FleetState:
        """The teacher's next words."""
        server, temperature = self.on_server, self.training.temperature
        labels = server.soft_labels(server.teacher(state.teacher), self.public, temperature=temperature)
        return state.replace(arrays=arrays_of(labels))

    def task(self, state: FleetState, *, round_number: int, family: str, newcomer: bool) -> RoundTask:
        taught = taught_rows(self.config, len(self.public), round_number)
        labels = self._labels(state, self._places(taught))
        return self.asking(
            round_number=round_number,
            family=family,
            request=SummaryRequest(
                SummaryKind.PUBLIC_SET, self.config.uplink, self.answered_rows(round_number)
            ),
            parameters=state.students[family] if newcomer else {},
            soft_targets=PublicSoftLabels(taught, labels),
        )

    def notice(self, state: FleetState, *, round_number: int) -> str:
        """That these rounds are hardly worth it, after the first."""
        return _NOT_WORTH_IT if round_number == 1 else ""

    def zero(self, *, round_number: int) -> WordSums:
        return WordSums.zero(places=self.public.x.size, words=self.config.classes)

    def contribution(self, state: FleetState, *, round_number: int) -> Callable[[SoftLabelSummary], WordSums]:
        """The words that a device named at the places it was asked."""
        places = self._places(self.answered_rows(round_number))

        def named(summary: SoftLabelSummary) -> WordSums:
            labels = summary.statistics.soft_labels
            assert isinstance(labels, TopKSoftLabels)  # the gate lets no other through
            return WordSums.of(labels, places, of=self.public.x.size)

        return named

    def learn(self, state: FleetState, consensus: WordSums, *, round_number: int) -> FleetState:
        """Move towards what the devices said; teacher and starting students learn it."""
        server, step = self.on_server, self.server_step * consensus.freshness
        state = state.replace(arrays=arrays_of(self._stepped(state, consensus, step, round_number)))
        labels = self._labels(state)
        teacher = server.teacher_learns(state.teacher, self.public, labels, round_number=round_number)
        students = {
            family: server.student_learns(family, student, self.public, labels, round_number=round_number)
            for family, student in state.students.items()
        }
        return state.replace(teacher=teacher, students=students)

    def answered_rows(self, round_number: int) -> IntArray:
        """The public rows that the devices answer in a round, increasing."""
        return answered_rows(self.config, len(self.public), round_number)

    def _stepped(
        self, state: FleetState, consensus: WordSums, step: float, round_number: int
    ) -> TopKSoftLabels:
        labels, drawn = self._labels(state), self.config.downlink.drawn
        if not drawn:
            return consensus.stepped(labels, step=step)
        seed = derived_seed(self.config.seed, round_number, "words of the consensus")
        return consensus.stepped_and_drawn(labels, step=step, drawn=drawn, seed=seed)

    def _places(self, rows: IntArray) -> IntArray:
        """The places of these rows, among those of all rows."""
        places = int(self.public.x[0].size)
        of_rows: IntArray = (rows[:, None] * places + np.arange(places)).reshape(-1)
        return of_rows

    def _labels(self, state: FleetState, places: IntArray | None = None) -> TopKSoftLabels:
        words, chances = state.arrays[WORDS], state.arrays[CHANCES]
        if places is not None:
            words, chances = words[places], chances[places]
        return TopKSoftLabels(words.astype(np.int64), chances, self.config.classes)


def arrays_of(labels: TopKSoftLabels) -> dict[str, np.ndarray]:
    return {WORDS: labels.indices.astype(np.int32), CHANCES: labels.probabilities}
